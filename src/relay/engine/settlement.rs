//! What became of rows: outcomes, retries, deaths and writes.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::RngExt;

use super::{Circuit, Engine, NACK_CAP};
use crate::{
    pause::PauseId,
    publisher::{ChannelFailure, Outcome},
    reason::{DeadReason, RetryReason},
    relay::input::{Death, Paused, Reschedule, Write},
    retry::RetryPolicy,
    row::{KeyHash, Origin, Row, Seq, lane_mask},
};

impl<B> Engine<B> {
    pub(super) fn published(
        &mut self,
        publisher: usize,
        rows: Vec<(Row<B>, Outcome)>,
        failure: Option<&ChannelFailure>,
    ) {
        if let Some(publisher) = self.publishers.get_mut(publisher) {
            publisher.busy = false;
        }
        // Several rows were on a channel that the broker closed because of one of them: find out which, apart.
        let suspect = matches!(
            failure,
            Some(
                ChannelFailure::ChannelClosed { .. }
                    | ChannelFailure::ConnectionClosed { code: 501..=505, .. }
            )
        );
        // From the back, so that rows sent again keep their order at the front of the queue.
        let mut again = Vec::new();
        for (mut row, outcome) in rows {
            match outcome {
                Outcome::Unknown if suspect && self.feeds(&row) => {
                    row.suspect = true;
                    self.apart.suspects.push_back(row);
                }
                Outcome::Unknown => again.push(row),
                settled => self.settle(row, settled),
            }
        }
        for row in again.into_iter().rev() {
            self.send_again(publisher, row);
        }
    }

    /// Whether its lane is still ours; it may have gone to another relay while the row was in flight.
    pub(super) fn owns(&self, row: &Row<B>) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.mask & lane_mask([row.lane]) != 0)
    }

    /// Whether it may be sent: its lane is ours, and to stay.
    pub(super) fn feeds(&self, row: &Row<B>) -> bool {
        !self.draining && self.fed() & lane_mask([row.lane]) != 0
    }

    pub(super) fn send_again(&mut self, publisher: usize, row: Row<B>) {
        if !self.feeds(&row) {
            self.drop_row(&row);
        } else {
            self.publishers[publisher].queue.push_front(row);
        }
    }

    pub(super) fn settle(&mut self, mut row: Row<B>, outcome: Outcome) {
        self.answered(&outcome);
        row.suspect = match outcome {
            Outcome::Refused { .. } | Outcome::Unknown => true,
            Outcome::Paused(_) => row.suspect,
            _ => false,
        };
        match outcome {
            Outcome::Confirmed => {
                // Another owner of the lane may have made it the head of its key meanwhile.
                let doubtful = !self.owns(&row) || row.seq <= self.known_until;
                self.writes.mark(row.seq, row.generation, row.is_head() || doubtful);
                self.next_of(row.key);
            }
            Outcome::Returned { code, text } => {
                let error = format!("returned by the broker: {code} {text}");
                self.failed(row, RetryReason::Unroutable, DeadReason::Unroutable, error);
            }
            Outcome::Refused { code, text } => {
                let error = format!("refused by the broker: {code} {text}");
                self.failed(row, RetryReason::Refused, DeadReason::Refused, error);
            }
            Outcome::Nacked => {
                let cap = RetryPolicy { cap: self.settings.retry.cap.min(NACK_CAP), ..self.settings.retry };
                let delay = cap.delay(5, self.random.random());
                let error = "nacked by the broker: a queue bound for it is full or failed".to_owned();
                self.reschedule(row, RetryReason::Nacked, 0, delay, error);
            }
            Outcome::Unknown => self.apart.suspects.push_back(row),
            Outcome::Paused(pause) => self.pause(&row, pause),
        }
    }

    /// A broker that answers, whatever it says, is there.
    pub(super) fn answered(&mut self, outcome: &Outcome) {
        let answer = !matches!(outcome, Outcome::Unknown | Outcome::Paused(_));
        if self.circuit == Circuit::HalfOpen && answer {
            self.circuit = Circuit::Closed;
        }
    }

    pub(super) fn next_of(&mut self, key: KeyHash) {
        if let Some(next) = self.keys.done(key) {
            self.send(next);
        }
    }

    /// A failure of this very message: charged, tried again, and dead after the last attempt.
    pub(super) fn failed(&mut self, row: Row<B>, retry: RetryReason, dead: DeadReason, error: String) {
        let attempts = row.attempts + 1;
        if !self.feeds(&row) && attempts >= self.settings.retry.max_attempts {
            // Whoever has the lane next finds out as well.
            self.drop_row(&row);
        } else if attempts >= self.settings.retry.max_attempts {
            self.apart.dying.push_back((row, Death { reason: dead, error, charge: 1 }));
        } else {
            let delay = self.settings.retry.delay(attempts, self.random.random());
            self.reschedule(row, retry, 1, delay, error);
        }
    }

    pub(super) fn reschedule(
        &mut self,
        row: Row<B>,
        reason: RetryReason,
        charge: u32,
        delay: Duration,
        error: String,
    ) {
        if !self.owns(&row) {
            self.drop_row(&row);
            return;
        }
        let behind = self.keys.fail(row.key);
        let key = row.key;
        self.keys.failing(key);
        let failed = Reschedule {
            seq: row.seq,
            generation: row.generation,
            reason,
            attempts: row.attempts + charge,
            delay,
            error,
            suspect: row.suspect,
        };
        self.fenced(|fence| Write::Reschedule(fence, vec![failed]), vec![key]);
        self.hold_behind(key, behind);
    }

    /// An operator paused what this row is about: its key waits until that is over. Nobody is charged.
    fn pause(&mut self, row: &Row<B>, pause: PauseId) {
        if !self.owns(row) {
            self.drop_row(row);
            return;
        }
        let key = row.key;
        let behind = self.keys.fail(key);
        self.keys.failing(key);
        let paused = Paused { seq: row.seq, generation: row.generation, pause, suspect: row.suspect };
        self.fenced(|fence| Write::Pause(fence, vec![paused]), vec![key]);
        self.hold_behind(key, behind);
    }

    /// Rows behind a head that is held now: those from the held ones are where they belong already.
    pub(super) fn hold_behind(&mut self, key: KeyHash, behind: VecDeque<Row<B>>) {
        let mut seqs = Vec::new();
        for row in behind {
            if row.origin == Origin::Released {
                self.forget(row.seq);
            } else {
                seqs.push(row.seq);
            }
        }
        self.hold(seqs, vec![key]);
    }

    pub(super) fn written(&mut self, now: Instant, left: &[(Seq, i32)]) {
        self.old_writes = self.old_writes.saturating_sub(1);
        let written = self.writes.written();
        for seq in written.seqs {
            if !left.iter().any(|(other, _)| *other == seq) {
                self.forget(seq);
            }
        }
        for key in written.keys {
            self.keys.written(key);
        }
        if written.moved_rows {
            // Rows became waiting, or a key was let go: find out when, and what.
            self.keys_held = true;
            self.moved_meanwhile = true;
            self.pace.next_due = self.pace.next_due.min(now);
            self.pace.next_released = self.pace.next_released.min(now);
        }
    }
}
