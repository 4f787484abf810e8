//! The statements that change rows: the engine's writes, and what operators do.

use std::{collections::BTreeSet, time::Duration};

use super::{DbTime, HeldKey, Holding, MemoryOutbox, Owner, State, Stored};
use crate::{
    pause::PauseId,
    reason::DeadReason,
    relay::input::{Burial, Paused, Reschedule, Write},
    row::{KeyHash, Lane, Seq, micros},
};

/// As `repair.sql` has it.
const REPAIR_AFTER: Duration = Duration::from_secs(30);

impl<B: Clone> MemoryOutbox<B> {
    /// Carries out a write, as the writer does for a relay with these settings; returns how many rows it settled.
    pub fn write(&mut self, owner: Owner, write: &Write, ordered: bool, park: bool) -> usize {
        match write {
            Write::Mark { rows, heads } => {
                rows.iter().filter(|(seq, generation)| self.mark(*seq, *generation, *heads)).count()
            }
            Write::Reschedule(fence, rows) => {
                let lanes = self.fenced(owner, fence);
                rows.iter().filter(|row| self.reschedule(&lanes, row, ordered)).count()
            }
            Write::Pause(fence, rows) => {
                let lanes = self.fenced(owner, fence);
                rows.iter().filter(|row| self.hold_paused(&lanes, row)).count()
            }
            Write::Hold(fence, seqs) => self.hold(&self.fenced(owner, fence), seqs),
            Write::Defer(fence, seqs) => {
                let lanes = self.fenced(owner, fence);
                seqs.iter()
                    .filter(|seq| {
                        self.unfinished(**seq, Some(&lanes)).map(|row| row.state = State::Waiting).is_some()
                    })
                    .count()
            }
            Write::MarkDead(fence, rows) => {
                let lanes = self.fenced(owner, fence);
                rows.iter().filter(|row| self.mark_dead(&lanes, row, park)).count()
            }
        }
    }

    fn unfinished(&mut self, seq: Seq, lanes: Option<&BTreeSet<Lane>>) -> Option<&mut Stored<B>> {
        let row = self.rows.get_mut(&seq)?;
        (row.is_unfinished() && lanes.is_none_or(|lanes| lanes.contains(&row.row.lane))).then_some(row)
    }

    /// Lets the key go if this row heads it.
    fn let_go(&mut self, key: KeyHash, head: Seq) {
        if let Some(held) = self.held_keys.get_mut(&key)
            && held.head_seq == head
        {
            held.reason = Holding::Releasing;
            held.due_at = None;
        }
    }

    /// `insert into held_keys ... on conflict do update`.
    fn hold_key(&mut self, key: KeyHash, lane: Lane, head: Seq, reason: Holding, due_at: Option<DbTime>) {
        let since = self.now;
        let held = HeldKey { lane, head_seq: head, reason, due_at, since, paused_by: None };
        let held = self.held_keys.entry(key).or_insert(held);
        (held.head_seq, held.reason, held.due_at) = (head, reason, due_at);
    }

    fn mark(&mut self, seq: Seq, generation: i32, heads: bool) -> bool {
        let now = self.now;
        let Some(row) = self.unfinished(seq, None).filter(|row| row.generation == generation) else {
            return false;
        };
        row.published_at = Some(now);
        let key = row.row.key;
        if heads {
            self.let_go(key, seq);
        }
        true
    }

    fn reschedule(&mut self, lanes: &BTreeSet<Lane>, failed: &Reschedule, ordered: bool) -> bool {
        let now = self.now;
        let row = self.unfinished(failed.seq, Some(lanes));
        let Some(row) = row.filter(|row| row.generation == failed.generation) else { return false };
        row.state = State::Waiting;
        row.attempts = row.attempts.max(failed.attempts);
        row.available_at = now.saturating_add(micros(failed.delay));
        row.first_failed_at = row.first_failed_at.or(Some(now));
        row.last_error = Some(failed.error.clone());
        row.suspect = failed.suspect;
        let (key, lane, due_at) = (row.row.key, row.row.lane, row.available_at);
        if ordered {
            self.hold_key(key, lane, failed.seq, Holding::Retrying, Some(due_at));
        }
        true
    }

    /// As `pause.sql` treats one row. A statement of several rows of a key has its lowest for the head, as several of one
    /// row have.
    fn hold_paused(&mut self, lanes: &BTreeSet<Lane>, paused: &Paused) -> bool {
        let row = self.unfinished(paused.seq, Some(lanes));
        let Some(row) = row.filter(|row| row.generation == paused.generation) else { return false };
        row.state = State::Held;
        row.suspect = paused.suspect;
        let (key, lane, seq) = (row.row.key, row.row.lane, paused.seq);
        let waits = self.held_keys.get(&key).is_some_and(|held| match held.reason {
            Holding::Releasing => false,
            Holding::Retrying | Holding::Paused => held.head_seq < seq,
            Holding::Parked => true,
        });
        if !waits {
            let pause = self.pauses.get(&paused.pause).copied();
            let reason = if pause.is_some() { Holding::Paused } else { Holding::Releasing };
            self.hold_key(key, lane, seq, reason, None);
            if let Some(held) = self.held_keys.get_mut(&key) {
                held.paused_by = pause;
            }
        }
        true
    }

    fn hold(&mut self, lanes: &BTreeSet<Lane>, seqs: &[Seq]) -> usize {
        let mut seqs: Vec<Seq> = seqs.to_vec();
        seqs.sort_unstable();
        let since = self.now;
        let mut held = 0;
        for seq in seqs {
            let Some(row) = self.unfinished(seq, Some(lanes)) else { continue };
            row.state = State::Held;
            let (key, lane) = (row.row.key, row.row.lane);
            // By seq, so that a new entry gets the lowest one of the key.
            let reason = Holding::Releasing;
            let entry = HeldKey { lane, head_seq: seq, reason, due_at: None, since, paused_by: None };
            self.held_keys.entry(key).or_insert(entry);
            held += 1;
        }
        held
    }

    fn mark_dead(&mut self, lanes: &BTreeSet<Lane>, burial: &Burial, park: bool) -> bool {
        let now = self.now;
        let row = self.unfinished(burial.seq, Some(lanes));
        let Some(row) = row.filter(|row| row.generation == burial.generation) else { return false };
        row.dead_at = Some(now);
        row.dead_reason = Some(burial.death.reason);
        row.last_error = Some(burial.death.error.clone());
        row.suspect |= burial.death.reason == DeadReason::Refused;
        row.attempts = row.attempts.max(burial.attempts);
        row.first_failed_at = row.first_failed_at.or(Some(now));
        let (key, lane) = (row.row.key, row.row.lane);
        if park {
            self.hold_key(key, lane, burial.seq, Holding::Parked, None);
        } else {
            self.let_go(key, burial.seq);
        }
        true
    }

    // ---- operators --------------------------------------------------------------------------------------------

    /// Replays a dead row, under a new generation: it waits, due at once; or, if its key is parked, it is held, and if it
    /// heads the key, that is let go.
    pub fn replay(&mut self, seq: Seq) -> bool {
        let now = self.now;
        let dead = self.rows.get_mut(&seq).filter(|row| row.dead_at.is_some() && row.resolved_at.is_none());
        let Some(row) = dead else { return false };
        let key = self
            .held_keys
            .get_mut(&row.row.key)
            .filter(|key| matches!(key.reason, Holding::Parked | Holding::Paused));
        row.state = if key.is_some() { State::Held } else { State::Waiting };
        (row.dead_at, row.dead_reason) = (None, None);
        (row.available_at, row.attempts) = (now, 0);
        row.generation += 1;
        row.replays += 1;
        if let Some(key) = key.filter(|key| key.head_seq == seq) {
            (key.reason, key.due_at) = (Holding::Releasing, None);
        }
        true
    }

    /// What docs/operations.md says for a consumer that was restored: everything published waits anew, due since then.
    pub fn publish_again(&mut self, available_at: DbTime) {
        for row in self.rows.values_mut().filter(|row| row.published_at.is_some() && row.dead_at.is_none()) {
            (row.published_at, row.state, row.available_at) = (None, State::Waiting, available_at);
            row.generation += 1;
            row.replays += 1;
        }
    }

    /// `pauses/create.sql`.
    pub fn pause(&mut self) -> PauseId {
        self.last_pause += 1;
        self.pauses.insert(self.last_pause);
        self.last_pause
    }

    /// `pauses/resume.sql`: the keys that waited are let go later.
    pub fn resume(&mut self, pause: PauseId) -> bool {
        self.pauses.remove(&pause)
    }

    /// Whether a pause stands.
    #[must_use]
    pub fn is_paused_by(&self, pause: PauseId) -> bool {
        self.pauses.contains(&pause)
    }

    /// `held_keys/release_paused.sql`, for all pauses that are over.
    pub fn release_paused(&mut self) {
        for key in self.held_keys.values_mut() {
            let over = key.paused_by.is_none_or(|pause| !self.pauses.contains(&pause));
            if key.reason == Holding::Paused && over {
                (key.reason, key.due_at, key.paused_by) = (Holding::Releasing, None, None);
            }
        }
    }

    /// `held_keys/repair.sql`: lets keys go that are long overdue and whose head is done.
    pub fn repair(&mut self) {
        let (rows, now) = (&self.rows, self.now);
        for key in self.held_keys.values_mut() {
            let overdue = key.due_at.is_some_and(|due| due < now.saturating_sub(micros(REPAIR_AFTER)));
            let done = rows.get(&key.head_seq).is_none_or(|row| !row.is_unfinished());
            if key.reason == Holding::Retrying && overdue && done {
                (key.reason, key.due_at) = (Holding::Releasing, None);
            }
        }
    }

    /// Discards a dead row: it stays dead, and a key parked behind it goes on.
    pub fn discard(&mut self, seq: Seq) -> bool {
        let now = self.now;
        let dead = self.rows.get_mut(&seq).filter(|row| row.dead_at.is_some() && row.resolved_at.is_none());
        let Some(row) = dead else { return false };
        row.resolved_at = Some(now);
        let key = self.held_keys.get_mut(&row.row.key);
        if let Some(key) = key.filter(|key| key.reason == Holding::Parked && key.head_seq == seq) {
            (key.reason, key.due_at) = (Holding::Releasing, None);
        }
        true
    }
}
