//! The events of shipping: rows of the outbox, by which its parts hear of each other.
//!
//! Two kinds. Work orders say what is to be done, one message for one ledger entry; their type is the step's name, so
//! that a worker binds one key, such as `shipment.buy_label`. Facts say what has happened; their types are in the past
//! tense, such as `shipment.label_bought`. Nothing in shipping waits for a fact but the order's read model, so whoever
//! else wants to listen may.
//!
//! `aggregate_type` is `shipment` or `order`, `aggregate_id` the shipment's or the order's id.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    shipment::Standing,
    step::{Step, Subject},
};
use crate::named::named;

/// `aggregate_type` of a shipment's events.
pub const SHIPMENT: &str = "shipment";
/// `aggregate_type` of an order's events.
pub const ORDER: &str = "order";

named! {
    /// What has happened to a shipment. The payload is a [`ShipmentEvent`].
    Fact, "event of a shipment" {
        /// It was accepted.
        Requested = "requested",
        /// Its address exists.
        AddressValidated = "address_validated",
        /// The label of a case is bought.
        LabelBought = "label_bought",
        /// The tracking codes are on the shipment and its cases.
        Tracked = "tracked",
        /// The invoice exists.
        Invoiced = "invoiced",
        /// Its quantities are shipped.
        Shipped = "shipped",
        /// A party was told.
        Notified = "notified",
        /// Somebody cancelled it.
        CancelRequested = "cancel_requested",
        /// A party was told that it was cancelled.
        Corrected = "corrected",
        /// The order's quantities are no longer shipped.
        FulfilmentReverted = "fulfilment_reverted",
        /// The invoice is credited in full.
        Credited = "credited",
        /// The carrier refunded the label of a case.
        LabelVoided = "label_voided",
        /// It is cancelled, and everything undone.
        Cancelled = "cancelled",
        /// It failed, and everything is undone.
        Failed = "failed",
        /// It waits for an operator.
        NeedsAttention = "needs_attention",
    }
}

impl Fact {
    /// What to announce when a step is done.
    #[must_use]
    pub const fn done(step: Step) -> Option<Self> {
        match step {
            Step::ValidateAddress => Some(Self::AddressValidated),
            Step::BuyLabel => Some(Self::LabelBought),
            Step::RecordTracking => Some(Self::Tracked),
            Step::CreateInvoice => Some(Self::Invoiced),
            // The order says that itself, and the shipment becomes shipped.
            Step::FulfilOrder => None,
            Step::Notify => Some(Self::Notified),
        }
    }

    /// What to announce when a step is undone.
    #[must_use]
    pub const fn undone(step: Step) -> Option<Self> {
        match step {
            Step::ValidateAddress | Step::RecordTracking => None,
            Step::BuyLabel => Some(Self::LabelVoided),
            Step::CreateInvoice => Some(Self::Credited),
            Step::FulfilOrder => Some(Self::FulfilmentReverted),
            Step::Notify => Some(Self::Corrected),
        }
    }

    /// What to announce when a shipment's state changes.
    #[must_use]
    pub const fn became(standing: Standing) -> Option<Self> {
        match standing {
            Standing::Shipped => Some(Self::Shipped),
            Standing::Cancelled => Some(Self::Cancelled),
            Standing::Failed => Some(Self::Failed),
            Standing::NeedsAttention => Some(Self::NeedsAttention),
            Standing::Accepted | Standing::Shipping | Standing::Cancelling | Standing::Failing => None,
        }
    }
}

named! {
    /// What has happened to an order. The payload is an [`OrderEvent`].
    OrderFact, "event of an order" {
        /// It exists.
        Placed = "placed",
        /// Somebody changed it.
        Changed = "changed",
        /// A shipment shipped a part of it, and something is left.
        PartiallyFulfilled = "partially_fulfilled",
        /// A shipment shipped what was left of it.
        Fulfilled = "fulfilled",
        /// A shipment gave back what it had reserved, or no longer counts as shipped.
        Reopened = "reopened",
    }
}

/// Payload of a work order: do what this entry needs. What that is, the entry says when the order is taken up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkOrder {
    /// Of which shipment.
    pub shipment_id: Uuid,
    /// Which step.
    pub step: Step,
    /// About what.
    pub subject: Subject,
    /// The order's number, which rises; the entry knows the latest.
    pub task: i32,
}

/// Payload of a shipment's facts: the shipment as it stood then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShipmentEvent {
    /// Which.
    pub shipment_id: Uuid,
    /// Of which order.
    pub order_id: String,
    /// Rises with every change: a lower one than seen before is old news.
    pub version: i64,
    /// The shipment's state, as [`Standing`] names it.
    pub state: String,
    /// The case or party concerned, where it is about one.
    pub subject: Option<Subject>,
    /// Why, of what went wrong.
    pub reason: Option<String>,
    /// Its cases.
    pub cases: Vec<CaseEvent>,
}

/// A case in a [`ShipmentEvent`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseEvent {
    /// Its number in the shipment.
    pub case: i16,
    /// Who carries it, once a label is bought.
    pub carrier: Option<String>,
    /// By which code it is tracked, likewise.
    pub tracking_code: Option<String>,
    /// The carrier's latest word.
    pub tracking_status: Option<String>,
}

/// Payload of an order's facts: the order as it stood then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderEvent {
    /// Which.
    pub order_id: String,
    /// Rises with every change: a lower one than seen before is old news.
    pub version: i64,
    /// `open`, `partially_fulfilled` or `fulfilled`.
    pub state: String,
    /// The shipment that caused it, if one did.
    pub shipment_id: Option<Uuid>,
    /// Its lines, by number.
    pub lines: Vec<LineEvent>,
}

/// A line in an [`OrderEvent`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineEvent {
    /// Its number in the order.
    pub line: i16,
    /// What was ordered.
    pub sku: String,
    /// How many of it.
    pub ordered: i32,
    /// How many shipments have taken on.
    pub reserved: i32,
    /// How many are shipped.
    pub shipped: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_order_is_plain_json() {
        let order =
            WorkOrder { shipment_id: Uuid::nil(), step: Step::BuyLabel, subject: Subject::Case(2), task: 1 };
        let text = serde_json::to_string(&order).unwrap_or_default();
        assert_eq!(
            text,
            r#"{"shipment_id":"00000000-0000-0000-0000-000000000000","step":"buy_label","subject":"case/2","task":1}"#
        );
        assert_eq!(serde_json::from_str::<WorkOrder>(&text).ok(), Some(order));
        assert!(serde_json::from_str::<WorkOrder>(&text.replace("case/2", "case/0")).is_err());
    }

    #[test]
    fn no_fact_is_called_as_a_step_is() {
        for fact in Fact::ALL {
            assert!(fact.as_str().parse::<Step>().is_err(), "{fact} would reach a worker");
        }
    }
}
