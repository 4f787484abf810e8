//! A shipment as the saga sees it: its ledger, and the state that follows from it.

use uuid::Uuid;

use super::{
    entry::{Entry, Failure, State},
    step::{Key, Step, Subject},
};
use crate::named::named;

named! {
    /// The state of a shipment. Stored for whoever asks, but always what [`Shipment::derived`] says.
    Standing, "state of a shipment" {
        /// Taken on; its address is being checked.
        Accepted = "accepted",
        /// Labels are being bought, and what follows from them.
        Shipping = "shipping",
        /// The order's quantities are shipped. Notifications may still be on their way.
        Shipped = "shipped",
        /// Cancelled, and being undone.
        Cancelling = "cancelling",
        /// Cancelled: everything is undone. Final.
        Cancelled = "cancelled",
        /// It can't succeed, and is being undone.
        Failing = "failing",
        /// It did not succeed; everything is undone. Final.
        Failed = "failed",
        /// Nothing more happens by itself: an operator has to retry, to say what happened, or to cancel.
        NeedsAttention = "needs_attention",
    }
}

impl Standing {
    /// Whether nothing moves it on but an operator or a cancellation: a visible state to rest in.
    #[must_use]
    pub const fn rests(self) -> bool {
        matches!(self, Self::Shipped | Self::Cancelled | Self::Failed | Self::NeedsAttention)
    }

    /// Whether nothing at all moves it on.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Cancelled | Self::Failed)
    }
}

/// Which state of a shipment follows which.
pub const STANDINGS: &[(Standing, Standing)] = &[
    (Standing::Accepted, Standing::Shipping),
    (Standing::Accepted, Standing::Cancelling),
    (Standing::Accepted, Standing::Failing),
    (Standing::Shipping, Standing::Shipped),
    (Standing::Shipping, Standing::Cancelling),
    (Standing::Shipping, Standing::Failing),
    (Standing::Shipping, Standing::NeedsAttention),
    (Standing::Shipped, Standing::Cancelling),
    (Standing::Cancelling, Standing::Cancelled),
    (Standing::Cancelling, Standing::NeedsAttention),
    (Standing::Failing, Standing::Failed),
    (Standing::Failing, Standing::NeedsAttention),
    (Standing::NeedsAttention, Standing::Shipping),
    (Standing::NeedsAttention, Standing::Cancelling),
    (Standing::NeedsAttention, Standing::Cancelled),
    (Standing::NeedsAttention, Standing::Failing),
    (Standing::NeedsAttention, Standing::Failed),
];

named! {
    /// Why a shipment is undone. Decided once and never taken back: half undone, nothing can go forward.
    Undo, "reason to undo" {
        /// Somebody cancelled it.
        Cancelled = "cancelled",
        /// A step was refused for good, or failed before anything was bought.
        Failed = "failed",
    }
}

impl Undo {
    /// The state of a shipment from that moment on.
    #[must_use]
    pub const fn standing(self) -> Standing {
        match self {
            Self::Cancelled => Standing::Cancelling,
            Self::Failed => Standing::Failing,
        }
    }
}

named! {
    /// Where the shipment's share of the order's quantities is.
    Quantities, "state of quantities" {
        /// Taken out of what others may ship.
        Reserved = "reserved",
        /// Shipped.
        Fulfilled = "fulfilled",
        /// Given back; nothing of the shipment counts any more.
        Released = "released",
    }
}

impl Quantities {
    /// Whether they may pass from here to there. Released is the end.
    #[must_use]
    pub const fn leads_to(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Reserved, Self::Fulfilled | Self::Released) | (Self::Fulfilled, Self::Reserved)
        )
    }
}

/// What `decide` knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    /// Which.
    pub shipment_id: Uuid,
    /// Of which order.
    pub order_id: String,
    /// The state that is stored.
    pub standing: Standing,
    /// Whether and why it is undone.
    pub undo: Option<Undo>,
    /// Where its quantities are.
    pub quantities: Quantities,
    /// Whether the carrier has a parcel of it: then it can't be cancelled.
    pub collected: bool,
    /// The ledger, by key.
    pub entries: Vec<Entry>,
}

impl Shipment {
    /// A new one, with the ledger of its cases and of the parties to notify.
    #[must_use]
    pub fn new(shipment_id: Uuid, order_id: &str, cases: i16, parties: &[Subject]) -> Self {
        let case = |number| Key { step: Step::BuyLabel, subject: Subject::Case(number) };
        let notify = |subject: &Subject| Key { step: Step::Notify, subject: *subject };
        let keys = [Key::whole(Step::ValidateAddress)]
            .into_iter()
            .chain((1..=cases).map(case))
            .chain([Step::RecordTracking, Step::CreateInvoice, Step::FulfilOrder].map(Key::whole))
            .chain(parties.iter().map(notify));
        Self {
            shipment_id,
            order_id: order_id.to_owned(),
            standing: Standing::Accepted,
            undo: None,
            quantities: Quantities::Reserved,
            collected: false,
            entries: keys.map(Entry::new).collect(),
        }
    }

    /// The entry of a key.
    #[must_use]
    pub fn entry(&self, key: Key) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The entries of a step.
    pub fn of(&self, step: Step) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.key.step == step)
    }

    /// Whether every entry of a step is done.
    #[must_use]
    pub fn is_done(&self, step: Step) -> bool {
        self.of(step).all(|entry| entry.state == State::Succeeded)
    }

    /// Whether a worker may begin a pending entry: nothing is being undone, every critical step before it is done, and
    /// no sibling has failed (a case whose label will not be bought makes the others' a waste of money).
    #[must_use]
    pub fn may_begin(&self, key: Key) -> bool {
        let before = |step: &&Step| **step < key.step && step.is_critical();
        self.undo.is_none()
            && Step::ALL.iter().filter(before).all(|step| self.is_done(*step))
            && (!key.step.is_critical() || self.of(key.step).all(|entry| entry.state != State::Failed))
    }

    /// Whether the shipment has to be undone although nobody cancelled it.
    ///
    /// What was refused for good can't go forward. What was merely tried often enough can, once an operator says so, if
    /// money was spent; before that, the shipment just fails. So before the label it has to be certain that none was or
    /// is being bought.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        let unspent = |entry: &Entry| matches!(entry.state, State::Pending | State::Failed | State::Skipped);
        let unbought = self.of(Step::BuyLabel).all(unspent);
        self.entries.iter().filter(|entry| entry.key.step.is_critical()).any(|entry| match entry.failure {
            Some(Failure::Refused) => true,
            Some(Failure::Exhausted) => unbought,
            None => false,
        })
    }

    /// Whether a critical entry waits for an operator.
    fn is_stuck(&self) -> bool {
        let mut critical = self.entries.iter().filter(|entry| entry.key.step.is_critical());
        let in_flight = self
            .of(Step::BuyLabel)
            .any(|entry| !entry.stalled && matches!(entry.state, State::Running | State::Unknown));
        critical
            .any(|entry| entry.stalled || (self.undo.is_none() && entry.state == State::Failed && !in_flight))
    }

    /// Whether a critical entry is through with undoing.
    pub(super) fn is_undone(entry: &Entry) -> bool {
        match entry.state {
            State::Skipped | State::Failed | State::Compensated => true,
            State::Succeeded => !entry.key.step.has_compensation(),
            _ => false,
        }
    }

    /// Whether everything critical is undone, so that the quantities may be given back.
    pub(super) fn is_all_undone(&self) -> bool {
        self.entries.iter().filter(|entry| entry.key.step.is_critical()).all(Self::is_undone)
    }

    /// The state that follows from the ledger.
    #[must_use]
    pub fn derived(&self) -> Standing {
        match self.undo {
            _ if self.is_stuck() => Standing::NeedsAttention,
            Some(undo) => match (undo, self.quantities == Quantities::Released && self.is_all_undone()) {
                (Undo::Cancelled, true) => Standing::Cancelled,
                (Undo::Cancelled, false) => Standing::Cancelling,
                (Undo::Failed, true) => Standing::Failed,
                (Undo::Failed, false) => Standing::Failing,
            },
            None if self.is_done(Step::FulfilOrder) => Standing::Shipped,
            None if self.is_done(Step::ValidateAddress) => Standing::Shipping,
            None => Standing::Accepted,
        }
    }
}
