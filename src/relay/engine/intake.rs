//! Rows coming in: which scan comes next, and where its rows go.

use std::time::{Duration, Instant};

use super::{Circuit, Engine, KINDS, Kind, REACH, RELEASE_PAUSE, UnderWay};
use crate::{
    relay::{
        input::{Command, Death, Fence, Found, Keys, Scan, ScanRequest, Write},
        keys::{Admission, Ordering},
    },
    row::{KeyHash, Row, Seq, lane_mask},
};

impl<B> Engine<B> {
    pub(super) fn scanned(&mut self, now: Instant, found: Found<B>, commands: &mut Vec<Command<B>>) {
        let under_way = std::mem::replace(&mut self.under_way, UnderWay::Nothing);
        let UnderWay::Scan { kind, stale: false } = under_way else { return };
        if self.lease.is_none() {
            return;
        }
        let last = found.rows.last().map(|row| row.seq);
        let count = found.rows.len();
        let before = self.known.len();
        let rows = self.take_in(found.rows);
        if kind == Kind::New && self.settings.ordering != Ordering::None {
            self.fresh = rows;
            self.fresh_from = self.cursor;
        } else {
            self.admit(rows);
        }
        let taken = self.known.len().saturating_sub(before);
        if count > 0 {
            self.wake(commands);
        }
        match kind {
            Kind::New => {
                self.cursor = last.unwrap_or(self.cursor).max(self.cursor);
                self.caught_up |= !found.cut || self.cursor >= self.ready_until;
                self.pace.found(now, count, found.cut);
                if !self.fresh.is_empty() {
                    self.pace.next_look = now;
                }
            }
            Kind::Late => {
                self.late = match (self.late, last) {
                    (Some((_, until)), Some(last)) if found.cut => Some((last, until)),
                    (Some((_, until)), _) if !self.fresh.is_empty() && self.fresh_from < until => {
                        Some((self.fresh_from, until))
                    }
                    _ => None,
                };
                if self.late.is_some() {
                    self.pace.next_look = now;
                }
                self.admit_fresh();
            }
            Kind::Due => {
                let next = if found.cut { Some(Duration::ZERO) } else { found.next_due };
                self.pace.due(now, count, next);
                if self.moved_meanwhile {
                    self.pace.next_due = now;
                }
            }
            Kind::Released => {
                let keys = found.keys.unwrap_or(Keys { held: true, releasing: false });
                let current = self.writes.is_idle() && !self.moved_meanwhile;
                if current {
                    self.keys_held = keys.held;
                }
                self.pace.next_released = match (keys.releasing, taken) {
                    (false, _) if !current => now + RELEASE_PAUSE,
                    (false, _) => now + self.settings.poll,
                    (true, 0) => now + RELEASE_PAUSE,
                    (true, _) => now,
                };
            }
            Kind::Look => {
                if let Some((last_value, writers)) = found.look {
                    self.looks = self.looks.saturating_add(1);
                    if self.looks <= 2 {
                        self.ready_until = last_value;
                    }
                    let mut low = self.stragglers.look(last_value, writers);
                    if now >= self.pace.next_sweep {
                        self.pace.swept(now);
                        low = 0;
                    }
                    self.late_proven = true;
                    if low < self.cursor || self.late.is_some() {
                        // A scan sees more than the look before it: both a row of a writer that was still open and
                        // its successor. So it begins in front of the open ones, but for those of long ago.
                        let open = self.stragglers.open(self.cursor.saturating_sub(REACH));
                        let low = open.map_or(low, |open| open.min(low));
                        let after = self.late.map_or(low, |(after, _)| after.min(low));
                        self.late = Some((after, self.cursor));
                        self.pace.next_late = now;
                    }
                    self.admit_fresh();
                }
                self.pace.looked(now);
                if self.looks < 2 {
                    // Nothing is scanned before the second: see `Stragglers`.
                    self.pace.next_look = now;
                }
            }
        }
    }

    /// Counts rows as being in memory, but for those that are already or are not ours.
    pub(super) fn take_in(&mut self, mut rows: Vec<Row<B>>) -> Vec<Row<B>> {
        let mask = self.lease.as_ref().map_or(0, |lease| lease.mask);
        rows.retain(|row| {
            let new = mask & lane_mask([row.lane]) != 0 && !self.known.contains_key(&row.seq);
            if new {
                self.row_bytes = (self.row_bytes * 15 + row.bytes) / 16 + 1;
                self.known.insert(row.seq, row.bytes);
                self.bytes += row.bytes;
            }
            new
        });
        rows
    }

    /// Lets the new rows go on, once every late row in front of them is in.
    pub(super) fn admit_fresh(&mut self) {
        if self.late.is_none_or(|(after, _)| after >= self.fresh_from) {
            let rows = std::mem::take(&mut self.fresh);
            self.admit(rows);
        }
    }

    /// Finds each row its place within its key.
    pub(super) fn admit(&mut self, rows: Vec<Row<B>>) {
        let (mut hold, mut held_keys, mut defer) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            if !row.due {
                defer.push(row.seq);
                continue;
            }
            match self.keys.admit(row) {
                Admission::Go(row) => self.send(row),
                Admission::Queued => {}
                Admission::Hold(row) => {
                    hold.push(row.seq);
                    held_keys.push(row.key);
                }
                Admission::Drop(row) => self.forget(row.seq),
            }
        }
        self.hold(hold, held_keys);
        if !defer.is_empty() {
            self.fenced(|fence| Write::Defer(fence, defer), Vec::new());
        }
    }

    pub(super) fn hold(&mut self, seqs: Vec<Seq>, mut keys: Vec<KeyHash>) {
        if seqs.is_empty() {
            return;
        }
        keys.sort_unstable();
        keys.dedup();
        self.fenced(|fence| Write::Hold(fence, seqs), keys);
    }

    /// Queues a write that only a lane's owner may make.
    pub(super) fn fenced(&mut self, write: impl FnOnce(Fence) -> Write, keys: Vec<KeyHash>) {
        let fence = self.lease.as_ref().map(|lease| lease.fence.clone()).unwrap_or_default();
        for key in &keys {
            self.keys.writing(*key);
        }
        self.keys_held |= !keys.is_empty();
        self.moved_meanwhile |= !keys.is_empty();
        self.writes.push(write(fence), keys);
    }

    /// Hands a row on whose turn has come.
    pub(super) fn send(&mut self, row: Row<B>) {
        if let Some(poison) = &row.poison {
            let death = Death { reason: poison.reason, error: poison.error.clone(), charge: 0 };
            self.to_bury.push((row, death));
            return;
        }
        if row.suspect {
            self.to_quarantine.push(row);
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a hash is as good truncated")]
        let publisher = row.key.0 as usize % self.publishers.len();
        self.publishers[publisher].queue.push_back(row);
    }

    pub(super) fn may_scan(&self) -> bool {
        self.lease.is_some()
            && !self.draining
            && self.circuit != Circuit::Open
            && !self.blocked
            && self.under_way == UnderWay::Nothing
    }

    pub(super) fn has_room(&self) -> bool {
        self.known.len() + self.settings.max_rows / 8 < self.settings.max_rows
            && self.bytes < self.settings.max_bytes
    }

    /// When a scan of this kind is wanted; `None` if it isn't at all for now.
    pub(super) fn wanted_at(&self, kind: Kind) -> Option<Instant> {
        if kind == Kind::Look {
            return Some(self.pace.next_look);
        }
        // The first looks come before the first scan: see `Stragglers`. New rows that wait for late ones leave them room
        // when there is nothing else that would make some.
        let waiting = !self.fresh.is_empty();
        let room = self.has_room() || kind == Kind::Late && waiting && self.known.len() == self.fresh.len();
        if self.looks < 2 || self.old_writes > 0 || !room {
            return None;
        }
        match kind {
            Kind::Look => None,
            Kind::Late => self.late.filter(|_| self.late_proven).map(|_| self.pace.next_late),
            Kind::Due => Some(self.pace.next_due),
            Kind::Released => {
                (self.keys_held && self.caught_up && !waiting).then_some(self.pace.next_released)
            }
            Kind::New => (!waiting).then_some(self.pace.next_ready),
        }
    }

    pub(super) fn proceed_scanning(&mut self, now: Instant, commands: &mut Vec<Command<B>>) {
        if !self.may_scan() {
            return;
        }
        let wanted = (1..=KINDS.len())
            .map(|step| (self.last_kind + step) % KINDS.len())
            .find(|index| self.wanted_at(KINDS[*index]).is_some_and(|at| now >= at));
        let Some(index) = wanted else {
            if self.known.is_empty() && self.pace.try_to_sleep(now) {
                let lanes = self.lease.as_ref().map(|lease| lease.fence.lanes.clone()).unwrap_or_default();
                commands.push(Command::Sleep(lanes));
            }
            return;
        };
        self.last_kind = index;
        let kind = KINDS[index];
        if self.fresh.is_empty() {
            // They were read by an earlier scan.
            self.keys.scan_begins();
        }
        let scan = match kind {
            Kind::Look => Scan::Look,
            Kind::Late => {
                self.late_proven = false;
                let (after, mut until) = self.late.unwrap_or_default();
                if !self.fresh.is_empty() {
                    until = until.min(self.fresh_from);
                }
                Scan::Ready { after, until: Some(until), keys_held: self.keys_held }
            }
            Kind::Due => Scan::Due,
            Kind::Released => Scan::Released,
            Kind::New => Scan::Ready { after: self.cursor, until: None, keys_held: self.keys_held },
        };
        let exclude = self.exclude(kind, &scan);
        let room = self.settings.max_rows.saturating_sub(self.known.len());
        let bytes = self.settings.max_bytes.saturating_sub(self.bytes).max(1);
        let rows = self.settings.scan_rows.min(room).min(bytes / self.row_bytes.max(1) + 1).max(1);
        let mask = self.lease.as_ref().map_or(0, |lease| lease.mask);
        self.under_way = UnderWay::Scan { kind, stale: false };
        self.moved_meanwhile = false;
        commands.push(Command::Scan(ScanRequest { scan, mask, exclude, rows, bytes }));
    }

    pub(super) fn exclude(&self, kind: Kind, scan: &Scan) -> Vec<Seq> {
        let known = self.known.keys().copied();
        match (kind, scan) {
            (Kind::Look, _) => Vec::new(),
            // Everything in memory has come through the cursor, but for what was there before the scan restarted.
            (Kind::New, _) if self.cursor >= self.known_until => Vec::new(),
            (_, Scan::Ready { after, until, .. }) => {
                known.filter(|seq| seq > after && until.is_none_or(|until| *seq <= until)).collect()
            }
            _ => known.collect(),
        }
    }
}
