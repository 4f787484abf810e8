//! What goes from the broker and from the inbox to the workers.

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    delivery::{Delivery, Garbage},
    inbox::Claimed,
};

/// Something for a worker to do.
#[derive(Debug)]
pub(super) enum Item {
    /// A message that the broker delivered.
    Fresh(Fresh),
    /// A message that the inbox owns, and a place among those that are claimed ahead.
    Stored(Claimed, OwnedSemaphorePermit),
}

/// A message that the broker still has.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) delivery: Delivery,
    pub(super) ticket: Ticket,
}

/// Something that is no message, and that the broker still has.
#[derive(Debug)]
pub(super) struct Trash {
    pub(super) garbage: Box<Garbage>,
    pub(super) ticket: Ticket,
}

/// What is to become of a message at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settle {
    /// Which subscription delivered it: another one knows no such tag.
    pub(super) epoch: u64,
    pub(super) tag: u64,
    pub(super) ack: bool,
}

/// The right to decide that, once. Dropped without a decision, the message goes back to its queue.
#[derive(Debug)]
pub(super) struct Ticket {
    settle: Settle,
    settles: mpsc::UnboundedSender<Settle>,
}

impl Ticket {
    pub(super) fn new(epoch: u64, tag: u64, settles: mpsc::UnboundedSender<Settle>) -> Self {
        Self { settle: Settle { epoch, tag, ack: false }, settles }
    }

    /// The broker may forget it: it is done, or the inbox owns it.
    pub(super) fn ack(mut self) {
        self.settle.ack = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Nobody listens any more once the session is closed, and then the broker has it back already.
        let _ = self.settles.send(self.settle);
    }
}
