//! The simulated broker: what it does to the messages of one batch, one after the other.

use std::collections::{BTreeMap, VecDeque};

use rand::{RngExt, rngs::StdRng};
use relay::{
    publisher::{ChannelFailure, Outcome},
    row::{Row, Seq},
};

use super::checker::Checker;

/// What is wrong with a message, as far as the broker is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Returned so many times more.
    Unroutable(u32),
    /// Closes its channel so many times more.
    Refused(u32),
}

/// The broker, and how it treats which row.
#[derive(Debug, Default)]
pub struct Broker {
    pub flaws: BTreeMap<Seq, Flaw>,
    pub nacks: f64,
    /// Whether a confirm may be lost with its channel.
    pub lossy: bool,
    /// Messages on their way without anybody waiting for them any more.
    pub adrift: Vec<Seq>,
}

/// A batch under way on a publisher's channel.
#[derive(Debug)]
pub struct Batch {
    pub rows: VecDeque<Row<()>>,
    pub answered: Vec<(Row<()>, Outcome)>,
    pub failure: Option<ChannelFailure>,
}

impl Batch {
    pub fn new(rows: Vec<Row<()>>) -> Self {
        Self { rows: rows.into(), answered: Vec::new(), failure: None }
    }

    pub fn is_over(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Broker {
    /// Publishes one message that is alone on its channel.
    pub fn alone(&mut self, random: &mut StdRng, checker: &mut Checker, seq: Seq) -> Outcome {
        if random.random_bool(self.nacks) {
            return Outcome::Nacked;
        }
        match self.flaws.get_mut(&seq) {
            Some(Flaw::Unroutable(times)) if *times > 0 => {
                *times = times.saturating_sub(1);
                Outcome::Returned { code: 312, text: "NO_ROUTE".to_owned() }
            }
            Some(Flaw::Refused(times)) if *times > 0 => {
                *times = times.saturating_sub(1);
                Outcome::Refused { code: 406, text: "PRECONDITION_FAILED".to_owned() }
            }
            _ => {
                checker.deliver(seq);
                Outcome::Confirmed
            }
        }
    }

    /// Treats the next message of a batch.
    pub fn step(&mut self, random: &mut StdRng, checker: &mut Checker, batch: &mut Batch) {
        let Some(row) = batch.rows.pop_front() else { return };
        let outcome = self.alone(random, checker, row.seq);
        let Outcome::Refused { code, text } = &outcome else {
            batch.answered.push((row, outcome));
            return;
        };
        batch.failure = Some(ChannelFailure::ChannelClosed { code: *code, text: text.clone() });
        // The client knows the offender only when nobody else is unanswered.
        if batch.rows.is_empty() && (!self.lossy || random.random_bool(0.5)) {
            batch.answered.push((row, outcome));
            return;
        }
        checker.seen("a channel closed with several rows on it");
        batch.answered.push((row, Outcome::Unknown));
        if self.lossy {
            Self::forget_answers(random, batch);
        }
        batch.answered.extend(batch.rows.drain(..).map(|row| (row, Outcome::Unknown)));
    }

    /// The connection breaks: what was not treated yet is lost, or arrives later, or had arrived.
    pub fn cut(&mut self, random: &mut StdRng, checker: &mut Checker, batch: &mut Batch) {
        if batch.is_over() {
            return;
        }
        Self::forget_answers(random, batch);
        let lost = ChannelFailure::ConnectionLost { reason: "cut".to_owned() };
        batch.failure = Some(lost);
        for row in batch.rows.drain(..) {
            self.leave(random, checker, row.seq);
            batch.answered.push((row, Outcome::Unknown));
        }
    }

    /// Nobody will hear what becomes of this message.
    pub fn leave(&mut self, random: &mut StdRng, checker: &mut Checker, seq: Seq) {
        let sound = !self.flaws.contains_key(&seq);
        match random.random_range(0..3) {
            0 if sound => checker.deliver(seq),
            1 if sound => self.adrift.push(seq),
            _ => {}
        }
    }

    fn forget_answers(random: &mut StdRng, batch: &mut Batch) {
        for (_, outcome) in &mut batch.answered {
            // That it was not sent does not depend on the broker.
            if !matches!(outcome, Outcome::Paused(_)) && random.random_bool(0.5) {
                *outcome = Outcome::Unknown;
            }
        }
    }
}
