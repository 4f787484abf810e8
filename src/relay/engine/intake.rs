//! Rows coming in: which scan comes next, and where its rows go.

use std::time::{Duration, Instant};

use super::{DUE_OVERLAP, Engine, Kind, Publisher, QUEUED_KEYS, RELEASE_PAUSE, TURNS, Turn, UnderWay};
use crate::{
    relay::{
        input::{Command, Death, Fence, Found, Keys, Look, Scan, ScanRequest, Write},
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
        if let Some((begun, _)) = self.sweeping.take() {
            self.pace.swept(now, begun);
        }
        let last = found.rows.last().map(|row| row.seq);
        let count = found.rows.len();
        let before = self.known.len();
        let rows = self.take_in(found.rows);
        if count > 0 {
            self.wake(commands);
        }
        match kind {
            Kind::Ready { after, until } => {
                self.pace.found(now, count, found.cut);
                // So far it has seen everything.
                let end = if found.cut { last.unwrap_or(after) } else { until.unwrap_or(Seq::MAX) };
                self.cursor = self.cursor.max(last.unwrap_or(0));
                self.more = found.cut || self.span.is_some();
                if self.more {
                    self.pace.next_ready = now;
                }
                self.fresh.extend(rows);
                self.looked(now, after, end, found.look, commands);
                let until_all = until.is_none() && !found.cut;
                self.caught_up |= until_all || self.ready_until.is_some_and(|until| self.cursor >= until);
            }
            Kind::Due { begun } => {
                let whole = self.pace.whole_due.end(now);
                if !found.cut {
                    self.due_since = Some(begun);
                } else if whole {
                    // There may be a million, all put in front of where the others look: until one finds all, each looks there.
                    self.due_since = None;
                }
                self.admit(rows);
                let next = if found.cut { Some(Duration::ZERO) } else { found.next_due };
                self.pace.due(now, count, next);
                if self.moved_meanwhile {
                    self.pace.next_due = now;
                }
            }
            Kind::Released => {
                self.pace.whole_released.end(now);
                self.admit(rows);
                let taken = self.known.len().saturating_sub(before);
                let keys = found.keys.unwrap_or(Keys { held: true, releasing: false });
                let current = self.writes.moves_nothing() && !self.moved_meanwhile;
                if current {
                    self.keys_held = keys.held;
                }
                let pause = self.release_pause;
                self.release_pause = match taken {
                    0 => (pause * 2).min(self.settings.poll.max(RELEASE_PAUSE)),
                    _ => RELEASE_PAUSE,
                };
                self.pace.next_released = match (keys.releasing, taken) {
                    (false, _) if !current => now + RELEASE_PAUSE,
                    (false, _) => now + self.settings.poll,
                    (true, 0) => now + pause,
                    (true, _) => now,
                };
            }
        }
    }

    /// After a scan for ready rows from `after`, which is complete up to `end`: lets its rows go on if nothing in front of
    /// them can be missing.
    ///
    /// What could be missing is a row at or below `after` that the scan would have seen, had it begun further down: one
    /// that appeared between the look before the scan and its snapshot. The look after it says from where on there can
    /// be such.
    fn looked(
        &mut self,
        now: Instant,
        after: Seq,
        end: Seq,
        look: Option<Look>,
        commands: &mut Vec<Command<B>>,
    ) {
        let Some(look) = look else {
            // There was no need for one, unless rows came in all the same.
            if !self.fresh.is_empty() {
                self.settled = after;
                self.pace.next_ready = now;
                self.pace.next_look = now;
            }
            return;
        };
        self.pace.looked(now);
        let again = look.last_value < self.stragglers.last_value() || look.numbering != self.floors.numbering;
        if again && self.floors.void(look.numbering) {
            commands.push(Command::Floors(self.floors.clone()));
        }
        let low = self.stragglers.look(look);
        self.ready_until.get_or_insert(self.stragglers.last_value());
        self.settled = low.min(end);
        self.ceiling = self.settled.min(self.stragglers.closed());
        if self.pace.tell(now) {
            self.raise_floors(commands);
        }
        if low >= after || self.settings.ordering == Ordering::None {
            self.reach = self.settings.reach.max(self.reach - self.reach / 8);
            self.fresh.sort_unstable_by_key(|row| row.seq);
            let rest = self.fresh.split_off(self.fresh.partition_point(|row| row.seq <= end));
            let rows = std::mem::replace(&mut self.fresh, rest);
            self.admit(rows);
        } else {
            // A writer that was not reckoned with has ended. So others may: the scan that fetches its rows had better begin
            // in front of those as well.
            self.reach = self.reach.saturating_mul(8);
            self.pace.next_ready = now;
        }
        if !self.fresh.is_empty() {
            self.pace.next_ready = now;
            self.pace.next_look = now;
        }
    }

    /// Counts rows as being in memory, but for those that are already or are not ours.
    pub(super) fn take_in(&mut self, mut rows: Vec<Row<B>>) -> Vec<Row<B>> {
        let mask = self.fed();
        rows.retain(|row| {
            let new = mask & lane_mask([row.lane]) != 0 && self.known.add(row);
            if new {
                self.row_bytes = (self.row_bytes * 15 + row.bytes) / 16 + 1;
            }
            new
        });
        rows
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
            self.apart.dying.push_back((row, death));
            return;
        }
        if row.suspect {
            self.apart.suspects.push_back(row);
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a hash is as good truncated")]
        let publisher = row.key.0 as usize % self.publishers.len();
        self.publishers[publisher].queue.push_back(row);
    }

    pub(super) fn may_scan(&self) -> bool {
        self.lease.is_some() && !self.draining && !self.stands_still() && self.under_way == UnderWay::Nothing
    }

    pub(super) fn has_room(&self) -> bool {
        self.known.len() + self.settings.max_rows / 8 < self.settings.max_rows
            && self.known.bytes() < self.settings.max_bytes
    }

    /// Whether rows are about to leave memory. What somebody else has locked is not, nor is what is published apart: nobody
    /// knows when.
    fn makes_room(&self) -> bool {
        let publishing = |publisher: &Publisher<B>| publisher.busy || !publisher.queue.is_empty();
        self.writes.statements() > 0 || self.publishers.iter().any(publishing)
    }

    /// When a scan of this kind is wanted; `None` if it isn't at all for now.
    pub(super) fn wanted_at(&self, turn: Turn) -> Option<Instant> {
        // Rows that wait for late ones have them let in when nothing else would make room.
        let waiting = !self.fresh.is_empty();
        let alone = turn == Turn::Ready && waiting && !self.makes_room();
        if self.old_writes > 0 || !(self.has_room() || alone) {
            return None;
        }
        match turn {
            Turn::Ready => Some(self.pace.next_ready),
            Turn::Due => Some(self.pace.next_due),
            Turn::Released => {
                (self.keys_held && self.caught_up && !waiting).then_some(self.pace.next_released)
            }
        }
    }

    pub(super) fn proceed_scanning(&mut self, now: Instant, commands: &mut Vec<Command<B>>) {
        if !self.may_scan() {
            return;
        }
        let wanted = (1..=TURNS.len())
            .map(|step| (self.last_turn + step) % TURNS.len())
            .find(|index| self.wanted_at(TURNS[*index]).is_some_and(|at| now >= at));
        let Some(index) = wanted else {
            if self.known.is_empty() && self.pace.try_to_sleep(now) {
                let lanes = self.lease.as_ref().map(|lease| lease.fence.lanes.clone()).unwrap_or_default();
                commands.push(Command::Sleep(lanes));
            }
            return;
        };
        self.last_turn = index;
        if self.fresh.is_empty() {
            // They were read by an earlier scan.
            self.keys.scan_begins();
        }
        let (kind, scan) = match TURNS[index] {
            Turn::Ready => self.scan_ready(now),
            Turn::Due => {
                let whole = self.pace.whole_due.begin(now);
                let since = self.due_since.filter(|_| !whole);
                let within = since.map(|since| now.saturating_duration_since(since) + DUE_OVERLAP);
                (Kind::Due { begun: now }, Scan::Due { within })
            }
            Turn::Released => (Kind::Released, Scan::Released { whole: self.pace.whole_released.begin(now) }),
        };
        let exclude = self.exclude(kind);
        let room = self.settings.max_rows.saturating_sub(self.known.len());
        let bytes = self.settings.max_bytes.saturating_sub(self.known.bytes()).max(1);
        let rows = self.settings.scan_rows.min(room).min(bytes / self.row_bytes.max(1) + 1).max(1);
        let mask = self.fed();
        self.under_way = UnderWay::Scan { kind, stale: false };
        self.moved_meanwhile = false;
        let (behind, queued) = match kind {
            Kind::Released => {
                let many = self.settings.max_rows.div_ceil(QUEUED_KEYS).max(1);
                (self.apart.seqs().collect(), self.keys.queued(many).collect())
            }
            Kind::Ready { .. } | Kind::Due { .. } => Default::default(),
        };
        commands.push(Command::Scan(ScanRequest { scan, mask, exclude, behind, queued, rows, bytes }));
    }

    /// From below the rows that may have committed late, and of those yet to come the ones of recent writers.
    fn scan_ready(&mut self, now: Instant) -> (Kind, Scan) {
        if now >= self.pace.next_sweep && self.span.is_none() {
            self.sweeping = Some((now, std::mem::take(&mut self.settled)));
            // Keys are held by the owner of their lane, which knows. Or by hand.
            self.keys_held = true;
        }
        // Bit by bit, it would not get past an open writer.
        let open = match self.span {
            Some(_) => None,
            None => self.stragglers.open(self.cursor.max(self.settled).saturating_sub(self.reach)),
        };
        let after = self.settled.min(open.unwrap_or(Seq::MAX));
        // More rows would have to wait for the late ones, too.
        let mut until = (!self.fresh.is_empty()).then_some(self.cursor);
        if let Some(span) = self.span {
            let end = after.saturating_add(span);
            // The first look is what says how far there is to go.
            if self.ready_until.is_none() || end < self.stragglers.last_value() {
                until = Some(until.map_or(end, |until| until.min(end)));
            } else if until.is_none() {
                self.span = None;
            }
        }
        // Rows need a look. While the sequence stands still and nothing is left to fetch, there will be none.
        let idle = now < self.pace.next_look && !self.more;
        let unless_at = idle.then(|| self.stragglers.last_value());
        let keys_held = self.keys_held;
        (Kind::Ready { after, until }, Scan::Ready { after, until, keys_held, unless_at })
    }

    fn exclude(&self, kind: Kind) -> Vec<Seq> {
        let known = self.known.seqs();
        match kind {
            // Everything in memory has come through the cursor, but for what was there before the scan restarted.
            Kind::Ready { after, .. } if after >= self.cursor.max(self.known_until) => Vec::new(),
            Kind::Ready { after, until } => {
                known.filter(|seq| *seq > after && until.is_none_or(|until| *seq <= until)).collect()
            }
            Kind::Due { .. } | Kind::Released => known.collect(),
        }
    }
}
