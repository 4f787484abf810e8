//! What the carrier tells by webhook: the API has checked and stored it, here it is applied, once.

use std::sync::Arc;

use super::{calling::Lines, order::failed};
use crate::{
    consumer::{Delivery, Failure, Transactional},
    postgres::transaction::Tx,
    shipping::{
        carrier::{
            event::{EventKind, RefundUpdate, TrackingUpdate, parse},
            shipment::RefundStatus,
        },
        step::Step,
        store::{Store, StoreError},
    },
};

/// Applies them.
pub(super) struct CarrierEvents {
    pub(super) store: Store,
    pub(super) lines: Arc<Lines>,
}

impl Transactional for CarrierEvents {
    async fn handle(&self, delivery: &Delivery, tx: &Tx<'_>) -> Result<(), Failure> {
        let id = &delivery.aggregate_id;
        let Some(body) = self.store.carrier_event(tx, id).await.map_err(failed)? else { return Ok(()) };
        let result = match parse(&body).map(|event| event.kind) {
            Ok(EventKind::Tracking(update)) => self.track(tx, &update).await.map_err(failed)?.to_owned(),
            Ok(EventKind::Refund(update)) => self.refund(tx, &update).await.map_err(failed)?.to_owned(),
            Ok(EventKind::Other(name)) => format!("ignored: {name}"),
            // It was signed, so it is the carrier's; but nobody can do anything with it by trying again.
            Err(error) => {
                if self.lines.may_say((Step::RecordTracking, "no news of the carrier's")) {
                    tracing::warn!(event_id = id, "a webhook of the carrier's: {error}");
                }
                error.to_string()
            }
        };
        self.store.settle_event(tx, id, &result).await.map_err(failed)
    }
}

impl CarrierEvents {
    async fn track(&self, tx: &Tx<'_>, update: &TrackingUpdate) -> Result<&'static str, StoreError> {
        let Some(shipment) = &update.shipment_id else { return Ok("no shipment of ours") };
        let Some(case) = self.store.case_of_carrier(tx, shipment).await? else {
            return Ok("no shipment of ours");
        };
        self.store.touch(tx, case.0).await?;
        let news = self.store.keep_tracking(tx, case, update.status.as_str(), update.status.rank()).await?;
        Ok(if news { "applied" } else { "old news" })
    }

    async fn refund(&self, tx: &Tx<'_>, update: &RefundUpdate) -> Result<&'static str, StoreError> {
        let Some((id, case)) = self.store.case_of_carrier(tx, &update.shipment_id).await? else {
            return Ok("no shipment of ours");
        };
        let refund = match update.status {
            RefundStatus::Submitted => "submitted",
            RefundStatus::Refunded => "refunded",
            RefundStatus::Rejected => "rejected",
            RefundStatus::NotApplicable => "not_applicable",
            RefundStatus::Other(_) => return Ok("a status that means nothing here"),
        };
        // The label's worker, which asks for the refund, finds it here before it asks the carrier.
        self.store.touch(tx, id).await?;
        let news = self.store.keep_refund(tx, id, case, refund).await?;
        Ok(if news { "applied" } else { "old news" })
    }
}
