//! Who was confirmed, once every confirm of a batch is in.
//!
//! RabbitMQ sends `basic.return` before the same message's confirm. lapin does not pair the two: it queues the
//! returns and hands the oldest to whichever confirm it processes next (measured: 8 of 16 runs of 2,000 pipelined
//! publishes called an unroutable message acknowledged). So a confirm's return says only that *somebody's* message
//! came back, and outcomes are computed when nothing is open any more:
//!
//! - A return belongs to the message whose id it carries. One that belongs to nobody in the batch leaves every
//!   acknowledged message in doubt.
//! - If every confirm arrived, every return did: each was queued before its own confirm was processed.
//! - If some did not, an acknowledgement that came without a return still proves its message was not returned
//!   unless we know so: lapin's queue was empty, so the message's own return, had there been one, is with an
//!   earlier confirm. An acknowledgement that came with another's return proves nothing: its own may have been
//!   left in the queue.

use std::collections::HashMap;

use crate::publisher::Outcome;

/// What is known of one message of the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// Never handed to lapin.
    Unsent,
    /// Never sent, because it cannot be.
    Invalid(String),
    /// Sent, no answer.
    Open,
    /// `basic.ack`; `laden` if it brought somebody's return.
    Acked { laden: bool },
    /// `basic.nack`.
    Nacked,
}

/// A batch's book: an entry for each message, and the returns.
#[derive(Debug)]
pub(super) struct Ledger<'a> {
    entries: Vec<Entry>,
    by_id: HashMap<&'a str, usize>,
    returns: HashMap<usize, (u16, String)>,
    stray_return: bool,
}

impl<'a> Ledger<'a> {
    pub(super) fn with_capacity(messages: usize) -> Self {
        Self {
            entries: Vec::with_capacity(messages),
            by_id: HashMap::with_capacity(messages),
            returns: HashMap::new(),
            stray_return: false,
        }
    }

    /// Enters the next message. False if one of the same id is in the batch: a return could not be told apart, so
    /// the later one must not be sent.
    pub(super) fn enter(&mut self, id: &'a str) -> bool {
        let index = self.entries.len();
        self.entries.push(Entry::Unsent);
        match self.by_id.entry(id) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(index);
                true
            }
        }
    }

    /// How many messages are entered.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn invalid(&mut self, index: usize, why: String) {
        self.set(index, Entry::Invalid(why));
    }

    pub(super) fn sent(&mut self, index: usize) {
        self.set(index, Entry::Open);
    }

    pub(super) fn acked(&mut self, index: usize, laden: bool) {
        self.set(index, Entry::Acked { laden });
    }

    pub(super) fn nacked(&mut self, index: usize) {
        self.set(index, Entry::Nacked);
    }

    /// Enters a return, whichever confirm brought it.
    pub(super) fn returned(&mut self, id: Option<&str>, code: u16, text: &str) {
        match id.and_then(|id| self.by_id.get(id)) {
            Some(index) => {
                self.returns.insert(*index, (code, text.to_owned()));
            }
            None => self.stray_return = true,
        }
    }

    /// Distrusts all that was acknowledged, as when the confirms could not be read to their end.
    pub(super) fn distrust(&mut self) {
        self.stray_return = true;
    }

    /// The one message that was sent and not answered, if there is exactly one.
    pub(super) fn only_open(&self) -> Option<usize> {
        let mut open = self.entries.iter().enumerate().filter(|(_, entry)| **entry == Entry::Open);
        match (open.next(), open.next()) {
            (Some((index, _)), None) => Some(index),
            _ => None,
        }
    }

    /// Closes the book.
    pub(super) fn settle(mut self) -> Vec<Outcome> {
        let complete = !self.entries.contains(&Entry::Open);
        let entries = std::mem::take(&mut self.entries);
        entries.into_iter().enumerate().map(|(index, entry)| self.outcome(index, entry, complete)).collect()
    }

    fn outcome(&mut self, index: usize, entry: Entry, complete: bool) -> Outcome {
        if !self.returns.is_empty()
            && let Some((code, text)) = self.returns.remove(&index)
        {
            return Outcome::Returned { code, text };
        }
        match entry {
            Entry::Acked { laden } if !self.stray_return && (complete || !laden) => Outcome::Confirmed,
            Entry::Acked { .. } | Entry::Unsent | Entry::Open => Outcome::Unknown,
            Entry::Nacked => Outcome::Nacked,
            Entry::Invalid(text) => Outcome::Refused { code: 0, text },
        }
    }

    fn set(&mut self, index: usize, entry: Entry) {
        if let Some(slot) = self.entries.get_mut(index) {
            *slot = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 3] = ["a", "b", "c"];

    fn sent() -> Ledger<'static> {
        let mut ledger = Ledger::with_capacity(3);
        for (index, id) in IDS.into_iter().enumerate() {
            assert!(ledger.enter(id));
            ledger.sent(index);
        }
        ledger
    }

    fn no_route() -> Outcome {
        Outcome::Returned { code: 312, text: "NO_ROUTE".to_owned() }
    }

    #[test]
    fn a_return_that_came_with_anothers_confirm_is_still_its_own() {
        let mut ledger = sent();
        ledger.acked(0, true);
        ledger.returned(Some("c"), 312, "NO_ROUTE");
        ledger.acked(1, false);
        ledger.acked(2, false);
        assert_eq!(ledger.settle(), [Outcome::Confirmed, Outcome::Confirmed, no_route()]);
    }

    #[test]
    fn a_return_of_nobody_here_leaves_every_acknowledged_message_in_doubt() {
        for stranger in [Some("z"), None] {
            let mut ledger = sent();
            ledger.acked(0, true);
            ledger.returned(stranger, 312, "NO_ROUTE");
            ledger.acked(1, false);
            ledger.nacked(2);
            assert_eq!(ledger.settle(), [Outcome::Unknown, Outcome::Unknown, Outcome::Nacked]);
        }
    }

    #[test]
    fn in_a_batch_cut_short_only_an_ack_that_brought_no_return_is_trusted() {
        let mut ledger = sent();
        ledger.acked(0, false);
        ledger.acked(1, true);
        ledger.returned(Some("c"), 312, "NO_ROUTE");
        assert_eq!(ledger.settle(), [Outcome::Confirmed, Outcome::Unknown, no_route()]);
    }

    #[test]
    fn what_has_no_answer_or_was_never_sent_is_unknown() {
        let mut ledger = Ledger::with_capacity(3);
        assert!(ledger.enter("a"));
        ledger.sent(0);
        assert!(ledger.enter("b"));
        assert!(!ledger.enter("a"), "a duplicate is not to be sent");
        assert_eq!(ledger.only_open(), Some(0));
        ledger.invalid(1, "too long".to_owned());
        let refused = Outcome::Refused { code: 0, text: "too long".to_owned() };
        assert_eq!(ledger.settle(), [Outcome::Unknown, refused, Outcome::Unknown]);
    }

    #[test]
    fn a_batch_of_which_two_are_open_has_no_single_offender() {
        let mut ledger = sent();
        ledger.acked(0, false);
        assert_eq!(ledger.only_open(), None);
        ledger.acked(1, false);
        assert_eq!(ledger.only_open(), Some(2));
    }

    #[test]
    fn distrust_confirms_nobody() {
        let mut ledger = sent();
        (0..3).for_each(|index| ledger.acked(index, false));
        ledger.distrust();
        assert_eq!(ledger.settle(), [Outcome::Unknown, Outcome::Unknown, Outcome::Unknown]);
    }
}
