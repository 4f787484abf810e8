//! The saga's words: what is put to it, and what it answers.

use super::{
    entry::{Entry, Illegal, State},
    event::Fact,
    shipment::{Quantities, Shipment, Standing, Undo},
    step::{Key, Subject},
};
use crate::named::named;

/// What is put to the saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The shipment was just created.
    Accept,
    /// A worker took up a work order: the first time, again, or after another worker died over it.
    Begin(Key, i32),
    /// What became of what [`Plan::act`] told it to do under this work order.
    Report(Key, i32, Outcome),
    /// A work order is dead: what it stands for is not tried again by itself.
    Bury(Key, i32),
    /// A work order seems to be lost: another takes its place.
    Remind(Key),
    /// Somebody wants it cancelled.
    Cancel,
    /// An operator wants an entry tried again.
    Retry(Key),
    /// An operator found out what became of an entry that waits for one.
    Resolve(Key, Resolution),
}

named! {
    /// What became of one attempt.
    Outcome, "outcome" {
        /// Done, or found done. When undoing: undone.
        Done = "done",
        /// Certainly not done. What a lookup says that found nothing.
        NotDone = "not_done",
        /// No effect now, worth trying later. Charged as an attempt.
        Later = "later",
        /// Not even tried: the destination's breaker is open. Charged to nobody.
        Held = "held",
        /// Taken on and not through yet, such as a refund. Asked again; charged to nobody.
        Waiting = "waiting",
        /// Refused for good.
        Refused = "refused",
        /// It may have been done or not.
        Lost = "lost",
    }
}

named! {
    /// What an operator found out.
    Resolution, "resolution" {
        /// It is done (or undone, where that was the question).
        Done = "done",
        /// It is not done, and is to be tried again.
        NotDone = "not_done",
        /// It is not done and never will be.
        Never = "never",
    }
}

named! {
    /// What a worker is to do.
    Act, "act" {
        /// The step itself.
        Do = "do",
        /// Find out whether it was done.
        LookUp = "look_up",
        /// Undo it. An undoing that was begun before is looked up first where it is not harmless to repeat.
        Compensate = "compensate",
    }
}

/// One thing to store. All of a plan's are stored in one transaction, in order, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Put the entry into the ledger in place of what it was: a compare-and-set.
    Move {
        /// As it was seen.
        from: Entry,
        /// As it is to be.
        to: Entry,
    },
    /// Send a work order for the entry: `to.task` of the move before it.
    Order(Key, i32),
    /// Undo the shipment from now on, for this reason: its state becomes [`Undo::standing`].
    Undo(Undo),
    /// Move the shipment's share of the order's quantities.
    Quantities(Quantities),
    /// Store the shipment's state.
    Become(Standing),
    /// Tell everybody, about the case or party if it is about one.
    Announce(Fact, Option<Subject>),
}

/// When a work order is to be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// Whether the attempt counts. What does not count is tried for ever.
    pub charged: bool,
    /// What it will be about, as things stand.
    pub act: Act,
}

/// The answer to an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to store.
    pub decisions: Vec<Decision>,
    /// To `Begin`: what to do now. `None`: nothing; the work order is settled.
    pub act: Option<Act>,
    /// To `Report`: the work order is not settled, and to be brought again.
    pub again: Option<Again>,
    /// The shipment when all is stored.
    pub shipment: Shipment,
}

/// How often something is tried. Each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Attempts at a step.
    pub attempts: i32,
    /// Attempts to look it up, or to undo it.
    pub checks: i32,
}

impl Default for Limits {
    /// 8 attempts as relay's own, and more patience where money is at stake already.
    fn default() -> Self {
        Self { attempts: 8, checks: 20 }
    }
}

/// Why an input is refused. Nothing is to be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is being undone, or is undone.
    #[error("the shipment is {0} and can't be cancelled")]
    Undone(Standing),
    /// The carrier has a parcel of it.
    #[error("the carrier has the parcel already: the shipment can't be cancelled, only returned")]
    Collected,
    /// The shipment has no such entry.
    #[error("the shipment has no step {0}")]
    NoEntry(Key),
    /// An operator may act only on what waits for one.
    #[error("{0} is {1} and does not wait for an operator")]
    NotWaiting(Key, State),
    /// Trying again could do it twice, and nobody else can be asked.
    #[error("{0} may have been done: find out, and resolve it")]
    Unclear(Key),
    /// That can't be what happened to an entry in this state.
    #[error("{0} is {1}: it can't be resolved as {2}")]
    NoSense(Key, State, Resolution),
    /// A defect of this program.
    #[error(transparent)]
    Illegal(#[from] Illegal),
}
