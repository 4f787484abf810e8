//! What producers and operators do.

use rand::RngExt;
use relay::{
    outbox::memory::NewRow,
    reason::DeadReason,
    row::{KeyHash, LANES, Lane, Poison},
};

use super::{broker::Flaw, world::World};

impl World {
    pub fn insert(&mut self, index: usize) {
        let hash = KeyHash(self.random.random_range(0..self.plan.keys));
        let others = self.producers.iter().enumerate().filter(|(other, _)| *other != index);
        if self.plan.serialised && others.into_iter().any(|(_, other)| other.keys.contains(&hash)) {
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below 32")]
        let lane = (hash.0 * 7 % u64::from(LANES)) as Lane;
        let asleep = self.nodes.iter().any(|node| node.locks.contains(&lane));
        let now = i64::try_from(self.now).unwrap();
        let bad = self.random.random_bool(self.plan.bad);
        let times = [1, 2, u32::MAX][self.random.random_range(0..3)];
        let flaw = match self.random.random_range(0..3) {
            0 if bad => Some(Flaw::Unroutable(times)),
            1 if bad => Some(Flaw::Refused(times)),
            _ => None,
        };
        let poison = (bad && flaw.is_none())
            .then(|| Poison { reason: DeadReason::InvalidHeaders, error: "not an object".to_owned() });
        let scheduled = self.random.random_bool(self.plan.scheduled);
        let available_at = scheduled.then(|| now + self.random.random_range(1_000..2_000_000));
        let bytes = self.random.random_range(100..700);
        let producer = &mut self.producers[index];
        let row = NewRow { key: hash, lane, available_at, bytes, poison, body: () };
        let Some(seq) = self.outbox.insert(producer.writer, row) else { return };
        producer.keys.insert(hash);
        producer.rows.push((seq, hash, scheduled));
        if asleep {
            producer.notify = true;
        } else {
            producer.awake.insert(lane);
        }
        if let Some(flaw) = flaw {
            self.broker.flaws.insert(seq, flaw);
        }
        self.log(|| {
            format!("        row {seq} of {hash:?}, lane {lane}, flaw {flaw:?}, available {available_at:?}")
        });
    }

    pub fn commit(&mut self, index: usize) {
        let producer = &mut self.producers[index];
        producer.committed = true;
        self.outbox.commit(producer.writer);
        for (seq, key, scheduled) in &producer.rows {
            self.checker.committed.insert(*seq, *key);
            if *scheduled {
                self.checker.scheduled.insert(*seq);
            }
        }
    }

    pub fn operate(&mut self, replay: bool) {
        let dead: Vec<_> = self
            .outbox
            .rows()
            .iter()
            .filter(|(_, row)| row.dead_at.is_some() && row.resolved_at.is_none())
            .map(|(seq, _)| *seq)
            .collect();
        if dead.is_empty() {
            return;
        }
        let seq = dead[self.random.random_range(0..dead.len())];
        if replay && self.outbox.replay(seq) {
            self.checker.replayed(seq);
        } else if !replay && self.outbox.discard(seq) {
            self.checker.seen("discarded");
        }
        self.log(|| format!("        row {seq}"));
    }
}
