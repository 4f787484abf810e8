//! What must never happen, checked at every step; and what must have happened at least once over all seeds.

use std::collections::{BTreeMap, BTreeSet};

use relay::{
    outbox::memory::MemoryOutbox,
    publisher::Outcome,
    row::{KeyHash, Seq},
};

/// Everything known from outside the relays: what producers committed, and what the broker did.
#[derive(Debug, Default)]
pub struct Checker {
    /// Whether first deliveries of a key must come in seq order.
    pub ordered: bool,
    /// Whether a second delivery is a violation: nothing in this run may cause one.
    pub calm: bool,
    pub committed: BTreeMap<Seq, KeyHash>,
    /// Rows that take their place when they are due: they have no order.
    pub scheduled: BTreeSet<Seq>,
    /// Rows that were declared dead: their successors may go first.
    out_of_order: BTreeSet<Seq>,
    pub confirmed: BTreeSet<Seq>,
    pub letters: BTreeSet<Seq>,
    pub charges: BTreeMap<Seq, u32>,
    delivered: BTreeMap<Seq, usize>,
    of_key: BTreeMap<KeyHash, BTreeSet<Seq>>,
    replayed: BTreeSet<Seq>,
    pub violation: Option<String>,
    pub seen: BTreeMap<&'static str, u64>,
}

impl Checker {
    pub fn new(ordered: bool, calm: bool) -> Self {
        Self { ordered, calm, ..Self::default() }
    }

    /// Notes that something rare happened.
    pub fn seen(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// The first violation is the one that counts.
    pub fn violated(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    pub fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violated(what);
        }
    }

    /// A message reached its queue.
    pub fn deliver(&mut self, seq: Seq) {
        let Some(key) = self.committed.get(&seq).copied() else {
            return self.violated(|| format!("phantom: row {seq} was delivered and never committed"));
        };
        let times = self.delivered.entry(seq).or_default();
        *times += 1;
        let times = *times;
        if times > 1 {
            self.seen("duplicate");
            let excused = !self.calm || self.replayed.contains(&seq);
            return self.require(excused, || format!("row {seq} was delivered twice without any fault"));
        }
        if self.scheduled.contains(&seq) {
            return;
        }
        let of_key = self.of_key.entry(key).or_default();
        let behind = of_key.range(seq..).next().copied();
        of_key.insert(seq);
        if let Some(behind) = behind
            && self.ordered
            && !self.out_of_order.contains(&seq)
        {
            self.violated(|| format!("order: row {seq} of {key:?} was first delivered after row {behind}"));
        }
    }

    pub fn was_delivered(&self, seq: Seq) -> bool {
        self.delivered.contains_key(&seq)
    }

    /// A relay is told what became of a row.
    pub fn told(&mut self, seq: Seq, outcome: &Outcome) {
        match outcome {
            Outcome::Confirmed => {
                self.confirmed.insert(seq);
            }
            Outcome::Returned { .. } => {
                self.seen("returned");
                *self.charges.entry(seq).or_default() += 1;
            }
            Outcome::Refused { .. } => {
                self.seen("refused");
                *self.charges.entry(seq).or_default() += 1;
            }
            Outcome::Nacked => self.seen("nacked"),
            Outcome::Paused(_) => self.seen("not sent, for a pause"),
            Outcome::Unknown => {
                let delivered = self.was_delivered(seq);
                self.seen(if delivered { "unknown, delivered" } else { "unknown, not delivered" });
            }
        }
    }

    /// A dead letter is confirmed: the key may go on without the row.
    pub fn buried(&mut self, seq: Seq) {
        self.letters.insert(seq);
        self.out_of_order.insert(seq);
    }

    pub fn replayed(&mut self, seq: Seq) {
        self.replayed.insert(seq);
        self.seen("replayed");
    }

    /// The table itself, after a change.
    pub fn table(&mut self, outbox: &MemoryOutbox<()>) {
        for (seq, row) in outbox.rows() {
            if row.published_at.is_some() && !self.confirmed.contains(seq) {
                self.violated(|| {
                    format!("false mark: row {seq} is marked published and was never confirmed")
                });
            }
            if row.published_at.is_some() && !self.delivered.contains_key(seq) {
                self.violated(|| format!("loss: row {seq} is marked published and was never delivered"));
            }
            if row.dead_at.is_some() && !(self.letters.contains(seq) && row.dead_reason.is_some()) {
                self.violated(|| format!("row {seq} is dead without a confirmed letter and a reason"));
            }
            let charged = self.charges.get(seq).copied().unwrap_or(0);
            if row.attempts > charged {
                self.violated(|| format!("row {seq} was charged {} attempts of {charged}", row.attempts));
            }
        }
    }
}
