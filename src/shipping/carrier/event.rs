//! The carrier's webhooks, once their signature is known to be good. Pure.

use std::time::SystemTime;

use serde::Deserialize;

use super::{
    shipment::RefundStatus,
    tracking::TrackingStatus,
    verdict::NotUnderstood,
    wire::{WireTracker, is_id, time},
};

/// An event. It comes at least once: dedupe by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarrierEvent {
    /// The carrier's id of it.
    pub id: String,
    /// What it says.
    pub kind: EventKind,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A parcel moved.
    Tracking(TrackingUpdate),
    /// A refund was decided.
    Refund(RefundUpdate),
    /// Something that concerns nobody here, by its name.
    Other(String),
}

/// A parcel's news. Tracking codes are used again after months, so go by the ids where there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackingUpdate {
    /// The tracker.
    pub tracker_id: String,
    /// The shipment, if it was bought there.
    pub shipment_id: Option<String>,
    /// The number on the label.
    pub tracking_code: String,
    /// Where it is.
    pub status: TrackingStatus,
    /// When the tracker changed, by the carrier's clock. For people: order goes by the status.
    pub updated_at: Option<SystemTime>,
}

/// A refund's news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundUpdate {
    /// The shipment whose label it is.
    pub shipment_id: String,
    /// The number on the label.
    pub tracking_code: Option<String>,
    /// What was decided.
    pub status: RefundStatus,
}

#[derive(Deserialize)]
struct Wire {
    id: Option<String>,
    description: Option<String>,
    #[serde(default)]
    result: serde_json::Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireRefund {
    shipment_id: Option<String>,
    tracking_code: Option<String>,
    status: Option<String>,
}

/// Reads an event.
///
/// # Errors
/// When it is none, or lacks what its kind must have.
pub fn parse(body: &[u8]) -> Result<CarrierEvent, NotUnderstood> {
    let not_understood = |error: serde_json::Error| NotUnderstood(error.to_string());
    let missing = |what: &str| NotUnderstood(format!("{what} is missing or not usable"));
    let wire: Wire = serde_json::from_slice(body).map_err(not_understood)?;
    let id = wire.id.filter(|id| is_id(id)).ok_or_else(|| missing("the event's id"))?;
    let name = wire.description.ok_or_else(|| missing("the event's description"))?;
    let result = wire.result;
    let kind = match name.as_str() {
        "tracker.created" | "tracker.updated" => {
            let tracker: WireTracker = serde_json::from_value(result).map_err(not_understood)?;
            EventKind::Tracking(TrackingUpdate {
                tracker_id: tracker.id.filter(|id| is_id(id)).ok_or_else(|| missing("the tracker's id"))?,
                shipment_id: tracker.shipment_id.filter(|id| is_id(id)),
                tracking_code: tracker.tracking_code.ok_or_else(|| missing("the tracking code"))?,
                status: tracker.status.as_deref().map_or(TrackingStatus::Unknown, TrackingStatus::parse),
                updated_at: tracker.updated_at.as_deref().and_then(time),
            })
        }
        // Only success is announced so far; the status is what counts.
        _ if name.starts_with("refund.") => {
            let refund: WireRefund = serde_json::from_value(result).map_err(not_understood)?;
            EventKind::Refund(RefundUpdate {
                shipment_id: refund
                    .shipment_id
                    .filter(|id| is_id(id))
                    .ok_or_else(|| missing("the refund's shipment"))?,
                tracking_code: refund.tracking_code,
                status: RefundStatus::parse(&refund.status.ok_or_else(|| missing("the refund's status"))?),
            })
        }
        _ => EventKind::Other(name.chars().take(100).collect()),
    };
    Ok(CarrierEvent { id, kind })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(value: &serde_json::Value) -> Result<CarrierEvent, NotUnderstood> {
        parse(value.to_string().as_bytes())
    }

    #[test]
    fn tracking_and_refunds_are_read_and_all_else_is_named() {
        let tracking = json!({
            "id": "evt_1", "object": "Event", "description": "tracker.updated", "mode": "test",
            "previous_attributes": {"status": "pre_transit"}, "completed_urls": [],
            "result": {"id": "trk_1", "status": "in_transit", "tracking_code": "9400", "shipment_id": "shp_1",
                "updated_at": "2026-03-01T10:00:00Z", "tracking_details": []}
        });
        let EventKind::Tracking(update) = read(&tracking).expect("whole").kind else { panic!() };
        assert_eq!(
            (update.status, update.shipment_id.as_deref()),
            (TrackingStatus::InTransit, Some("shp_1"))
        );
        let refund = json!({"id": "evt_2", "description": "refund.successful",
            "result": {"id": "rfnd_1", "shipment_id": "shp_1", "tracking_code": "9400", "status": "refunded"}});
        let EventKind::Refund(update) = read(&refund).expect("whole").kind else { panic!() };
        assert_eq!(update.status, RefundStatus::Refunded);
        let other = json!({"id": "evt_3", "description": "batch.created", "result": {"anything": [1, 2]}});
        assert_eq!(read(&other).expect("whole").kind, EventKind::Other("batch.created".into()));
    }

    #[test]
    fn an_event_without_what_it_must_have_is_not_understood() {
        for value in [
            json!(null),
            json!([]),
            json!({"description": "batch.created"}),
            json!({"id": "evt_1"}),
            json!({"id": "evt_1", "description": "tracker.updated"}),
            json!({"id": "evt_1", "description": "tracker.updated", "result": {"id": "trk_1"}}),
            json!({"id": "evt_1", "description": "refund.successful", "result": {"shipment_id": "shp_1"}}),
        ] {
            assert!(read(&value).is_err(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body);
        }
    }
}
