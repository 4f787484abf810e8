//! What the carrier has done: entries of the ledger, and the state they add up to. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One line of the ledger. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A shipment was created. It costs nothing.
    Created {
        /// When.
        at: u64,
        /// Its id.
        id: String,
        /// The customer's reference.
        reference: Option<String>,
        /// What was asked for: addresses and parcel.
        request: Value,
        /// What it may be bought for.
        rates: Vec<Offer>,
    },
    /// A label was sold.
    Bought {
        /// When.
        at: u64,
        /// The shipment.
        id: String,
        /// The rate.
        rate_id: String,
        /// The number on the label.
        tracking_code: String,
        /// The tracker.
        tracker_id: String,
    },
    /// A refund was asked for.
    RefundAsked {
        /// When.
        at: u64,
        /// The shipment.
        id: String,
        /// Its id.
        refund_id: String,
        /// When it will be decided; none when it was at once.
        due: Option<u64>,
        /// How it will end, or ended.
        outcome: RefundOutcome,
    },
    /// A refund was decided.
    RefundSettled {
        /// When.
        at: u64,
        /// The shipment.
        id: String,
    },
    /// A parcel moved.
    Moved {
        /// When.
        at: u64,
        /// The shipment.
        id: String,
        /// Where to, as a tracker's status.
        status: String,
    },
}

/// A rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its id.
    pub id: String,
    /// The service.
    pub service: String,
    /// US cents.
    pub cents: u64,
}

/// How a refund ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundOutcome {
    /// The money goes back.
    #[default]
    Refunded,
    /// It does not.
    Rejected,
    /// There is nothing to refund; said at once.
    NotApplicable,
}

impl RefundOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Refunded => "refunded",
            Self::Rejected => "rejected",
            Self::NotApplicable => "not_applicable",
        }
    }
}

/// A shipment as it stands.
#[derive(Debug, Clone)]
pub struct Shipment {
    /// Its id.
    pub id: String,
    /// The customer's reference.
    pub reference: Option<String>,
    /// When it was created.
    pub created: u64,
    /// When it last changed.
    pub changed: u64,
    /// Addresses and parcel.
    pub request: Value,
    /// What it may be bought for.
    pub rates: Vec<Offer>,
    /// The label, if it was bought.
    pub sale: Option<Sale>,
    /// The refund, if one was asked for.
    pub refund: Option<Refund>,
}

/// A label that was sold.
#[derive(Debug, Clone)]
pub struct Sale {
    /// When.
    pub at: u64,
    /// For what.
    pub offer: Offer,
    /// The number on it.
    pub tracking_code: String,
    /// The tracker.
    pub tracker_id: String,
    /// Where the parcel is.
    pub status: String,
}

/// A refund.
#[derive(Debug, Clone)]
pub struct Refund {
    /// When it was asked for.
    pub at: u64,
    /// Its id.
    pub id: String,
    /// When it will be decided.
    pub due: Option<u64>,
    /// How.
    pub outcome: RefundOutcome,
}

impl Refund {
    /// What the API says of it.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.due.is_some() { "submitted" } else { self.outcome.as_str() }
    }
}

/// An entry that can't follow those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Contradiction(String);

/// All shipments.
#[derive(Debug, Default)]
pub struct Book {
    shipments: BTreeMap<String, Shipment>,
    /// Ids, oldest first.
    order: Vec<String>,
}

impl Book {
    /// One shipment.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Shipment> {
        self.shipments.get(id)
    }

    /// All, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Shipment> {
        self.order.iter().rev().filter_map(|id| self.shipments.get(id))
    }

    /// The shipment with this tracker.
    #[must_use]
    pub fn by_tracker(&self, tracker: &str) -> Option<&Shipment> {
        self.newest_first()
            .find(|shipment| shipment.sale.as_ref().is_some_and(|sale| sale.tracker_id == tracker))
    }

    /// Ids of shipments whose refund is to be decided by now.
    #[must_use]
    pub fn due(&self, now: u64) -> Vec<String> {
        let due = |shipment: &&Shipment| {
            shipment.refund.as_ref().and_then(|refund| refund.due).is_some_and(|due| due <= now)
        };
        self.shipments.values().filter(due).map(|shipment| shipment.id.clone()).collect()
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// When it can't follow those before it: a second sale of one shipment, say. Nothing changes then.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Contradiction> {
        let wrong = |what: String| Err(Contradiction(what));
        if let Entry::Created { at, id, reference, request, rates } = entry {
            if self.shipments.contains_key(id) {
                return wrong(format!("{id} exists already"));
            }
            let shipment = Shipment {
                id: id.clone(),
                reference: reference.clone(),
                created: *at,
                changed: *at,
                request: request.clone(),
                rates: rates.clone(),
                sale: None,
                refund: None,
            };
            self.shipments.insert(id.clone(), shipment);
            self.order.push(id.clone());
            return Ok(());
        }
        let (Entry::Created { at, id, .. }
        | Entry::Bought { at, id, .. }
        | Entry::RefundAsked { at, id, .. }
        | Entry::RefundSettled { at, id }
        | Entry::Moved { at, id, .. }) = entry;
        let Some(shipment) = self.shipments.get_mut(id) else {
            return wrong(format!("there is no {id}"));
        };
        match (entry, &mut shipment.sale, &mut shipment.refund) {
            (Entry::Created { .. }, ..) => {}
            (Entry::Bought { rate_id, tracking_code, tracker_id, .. }, sale @ None, _) => {
                let Some(offer) = shipment.rates.iter().find(|offer| offer.id == *rate_id) else {
                    return wrong(format!("{id} has no rate {rate_id}"));
                };
                *sale = Some(Sale {
                    at: *at,
                    offer: offer.clone(),
                    tracking_code: tracking_code.clone(),
                    tracker_id: tracker_id.clone(),
                    status: "unknown".to_owned(),
                });
            }
            (Entry::RefundAsked { refund_id, due, outcome, .. }, Some(_), refund) => {
                *refund = Some(Refund { at: *at, id: refund_id.clone(), due: *due, outcome: *outcome });
            }
            (Entry::RefundSettled { .. }, _, Some(refund)) => refund.due = None,
            (Entry::Moved { status, .. }, Some(sale), _) => sale.status.clone_from(status),
            _ => return wrong(format!("{entry:?} does not fit {id}")),
        }
        shipment.changed = *at;
        Ok(())
    }

    /// What tests and the demo judge by.
    #[must_use]
    pub fn summary(&self) -> Value {
        let mut references: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
        let mut counts: BTreeMap<String, u64> =
            ["created", "bought", "refund_submitted", "refund_refunded", "refund_rejected"]
                .map(|name| (name.to_owned(), 0))
                .into();
        let (mut labels, mut refunds) = (vec![], vec![]);
        for id in &self.order {
            let Some(shipment) = self.shipments.get(id) else { continue };
            let status = shipment.refund.as_ref().map(Refund::status);
            let reference = references.entry(shipment.reference.as_deref().unwrap_or("")).or_default();
            let flags = [true, shipment.sale.is_some(), status == Some("refunded")];
            reference.iter_mut().zip(flags).for_each(|(count, flag)| *count += u64::from(flag));
            let mut count = |name: String| *counts.entry(name).or_default() += 1;
            count("created".to_owned());
            if let Some(sale) = &shipment.sale {
                count("bought".to_owned());
                labels.push(json!({
                    "shipment_id": id, "reference": shipment.reference, "tracking_code": sale.tracking_code,
                    "service": sale.offer.service, "cents": sale.offer.cents, "bought_at": sale.at,
                    "status": sale.status, "refund": status,
                }));
            }
            if let (Some(refund), Some(status)) = (&shipment.refund, status) {
                count(format!("refund_{status}"));
                refunds.push(json!({
                    "shipment_id": id, "reference": shipment.reference, "status": status, "asked_at": refund.at,
                }));
            }
        }
        let references: BTreeMap<&str, Value> = references
            .into_iter()
            .map(|(name, [created, bought, refunded])| {
                (name, json!({"created": created, "bought": bought, "refunded": refunded}))
            })
            .collect();
        json!({"counts": counts, "references": references, "labels": labels, "refunds": refunds})
    }
}
