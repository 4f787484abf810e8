//! The engine: a synchronous state machine that decides everything and does nothing.
//!
//! `handle(now, input)` takes what happened and returns what to do. Time and randomness come in from outside, so the
//! same transitions run in production, and in a seeded simulation that crashes at every command.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustc_hash::FxHashMap;

use super::{
    flood::FloodGuard,
    input::{Burial, Command, Death, Fence, Found, Input, Reschedule, Scan, ScanRequest, Write},
    keys::{Admission, Keys, Ordering},
    pace::Pace,
    stragglers::Stragglers,
    writes::Writes,
};
use crate::{
    publisher::{ChannelFailure, Outcome},
    reason::{DeadReason, RetryReason},
    retry::RetryPolicy,
    row::{KeyHash, Lane, Origin, Row, Seq, Token, lane_mask},
};

/// How much of the first batch after an outage is risked before the broker has confirmed anything.
const PROBE_ROWS: usize = 16;
/// How long a nacked row waits at most, whatever `retry.cap` says: its destination is full, not the row bad.
const NACK_CAP: Duration = Duration::from_secs(30);
/// How the error of a row begins that closed its channel; by it such a row is known again.
pub const REFUSED: &str = "refused by the broker";
/// How far before the cursor the seqs of an open writer may lie for every scan for late rows to begin there.
const REACH: Seq = 10_000;
/// Between two scans for released rows while some are still under way.
const RELEASE_PAUSE: Duration = Duration::from_millis(20);

/// What the engine needs to know of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How strictly the rows of a key follow each other.
    pub ordering: Ordering,
    /// Whether a dead row holds the rest of its key (`on_dead = "park"`).
    pub park: bool,
    /// Publisher tasks; keys hash to them.
    pub publishers: usize,
    /// Rows in one batch at most.
    pub batch_rows: usize,
    /// Rows in memory at most: fetched, in flight, or confirmed and not yet marked.
    pub max_rows: usize,
    /// Their bytes at most, but for the last row fetched.
    pub max_bytes: usize,
    /// Rows fetched by one scan at most.
    pub scan_rows: usize,
    /// When failed rows are tried again.
    pub retry: RetryPolicy,
    /// Deaths a minute at most; 0 for no limit.
    pub flood_limit: usize,
    /// The longest time between two scans.
    pub poll: Duration,
}

/// Whether the broker takes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// Messages flow.
    Closed,
    /// A session is up, and a small batch is under way to prove it.
    HalfOpen,
    /// Nothing is sent.
    Open,
}

#[derive(Debug)]
struct Lease {
    fence: Fence,
    mask: i32,
    until: Instant,
}

#[derive(Debug)]
struct Publisher<B> {
    queue: VecDeque<Row<B>>,
    busy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnderWay {
    Nothing,
    /// A scan, and whether its rows still count: a lease gained meanwhile makes them stale.
    Scan {
        kind: Kind,
        stale: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Look,
    Late,
    Due,
    Released,
    New,
}

const KINDS: [Kind; 5] = [Kind::Look, Kind::Late, Kind::Due, Kind::Released, Kind::New];

/// See the module's documentation.
#[derive(Debug)]
pub struct Engine<B> {
    settings: Settings,
    random: StdRng,
    lease: Option<Lease>,
    circuit: Circuit,
    blocked: bool,
    /// Rows in memory and what they weigh.
    known: FxHashMap<Seq, usize>,
    bytes: usize,
    /// A row's average weight, for how many to fetch.
    row_bytes: usize,
    publishers: Vec<Publisher<B>>,
    /// Rows in quarantine or being buried.
    aside: usize,
    keys: Keys<B>,
    writes: Writes,
    /// Writes from before the lanes changed hands: they may change nothing any more, so their rows are to be read anew,
    /// and are in memory until then.
    old_writes: usize,
    pace: Pace,
    flood: FloodGuard,
    /// New rows have a seq above this.
    cursor: Seq,
    /// After a restart of the scan, rows up to here may be in memory already.
    known_until: Seq,
    stragglers: Stragglers,
    /// New rows that came in, until it is known that no row in front of them committed late: a producer that waited for
    /// another's commit has the higher seq and may be seen first, since the cursor has passed the other's.
    fresh: Vec<Row<B>>,
    /// Where the cursor stood when they were read: they came in order, and only rows up to here are in question.
    fresh_from: Seq,
    /// Ready rows in this range are to be scanned for late ones.
    late: Option<(Seq, Seq)>,
    /// Whether no such scan was made since the last look: each must begin where that says.
    late_proven: bool,
    /// Held rows are let in only when the cursor has passed what was ready when the lanes came to us: a key may have
    /// ready rows in front of its held ones, if whoever had them in memory is gone.
    caught_up: bool,
    /// The sequence's value at the last look before the first scan.
    ready_until: Seq,
    keys_held: bool,
    /// Whether a write held a key, let one go or set a row waiting since the scan under way began: it may not know.
    moved_meanwhile: bool,
    under_way: UnderWay,
    last_kind: usize,
    looks: u32,
    draining: bool,
    stopped: bool,
    to_quarantine: Vec<Row<B>>,
    to_bury: Vec<(Row<B>, Death)>,
}

impl<B> Engine<B> {
    /// An engine that owns nothing yet and knows of no broker.
    #[must_use]
    pub fn new(now: Instant, settings: Settings, seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            lease: None,
            circuit: Circuit::Open,
            blocked: false,
            known: FxHashMap::default(),
            bytes: 0,
            row_bytes: 1024,
            publishers: (0..settings.publishers.max(1))
                .map(|_| Publisher { queue: VecDeque::new(), busy: false })
                .collect(),
            aside: 0,
            keys: Keys::new(settings.ordering, (settings.max_rows / 4).max(1)),
            writes: Writes::default(),
            old_writes: 0,
            pace: Pace::new(now, settings.poll),
            flood: FloodGuard::new(settings.flood_limit),
            cursor: 0,
            known_until: 0,
            stragglers: Stragglers::default(),
            fresh: Vec::new(),
            fresh_from: 0,
            late: None,
            late_proven: false,
            caught_up: false,
            ready_until: 0,
            keys_held: true,
            moved_meanwhile: false,
            under_way: UnderWay::Nothing,
            last_kind: 0,
            looks: 0,
            draining: false,
            stopped: false,
            to_quarantine: Vec::new(),
            to_bury: Vec::new(),
            settings,
        }
    }

    /// Takes one thing that happened; appends what is to be done to `commands`, in order.
    pub fn handle(&mut self, now: Instant, input: Input<B>, commands: &mut Vec<Command<B>>) {
        if self.lease.as_ref().is_some_and(|lease| now >= lease.until) {
            // Nobody said so, but by our own clock another relay may own the lanes from now on.
            self.lost();
            self.wake(commands);
        }
        match input {
            Input::Leased { fence, until } => self.leased(now, fence, until, commands),
            Input::Woken => {
                self.wake(commands);
                self.pace.woken(now);
            }
            Input::Scanned(found) => self.scanned(now, found, commands),
            Input::ScanFailed { retry } => {
                self.under_way = UnderWay::Nothing;
                let later = now + retry;
                for timer in [
                    &mut self.pace.next_ready,
                    &mut self.pace.next_look,
                    &mut self.pace.next_late,
                    &mut self.pace.next_due,
                    &mut self.pace.next_released,
                ] {
                    *timer = later.max(*timer);
                }
            }
            Input::Published { publisher, rows, failure } => {
                self.published(publisher, rows, failure.as_ref())
            }
            Input::Quarantined(row, outcome) => {
                self.aside -= 1;
                self.quarantined(row, outcome);
            }
            Input::Buried(row, death, outcome) => {
                self.aside -= 1;
                self.buried(row, death, &outcome);
            }
            Input::Written => self.written(now, &[]),
            Input::WrittenInPart { left, heads } => {
                self.written(now, &left);
                // Behind everything else: whoever holds the lock holds up nobody but these rows.
                self.writes.push(Write::Mark { rows: left, heads }, Vec::new());
            }
            Input::BrokerUp => {
                self.circuit = if self.circuit == Circuit::Open { Circuit::HalfOpen } else { self.circuit };
                self.blocked = false;
                self.pace.woken(now);
            }
            Input::BrokerDown => {
                self.circuit = Circuit::Open;
                self.wake(commands);
            }
            Input::BrokerBlocked(blocked) => {
                self.blocked = blocked;
                if blocked {
                    self.wake(commands);
                } else {
                    self.pace.woken(now);
                }
            }
            Input::Asleep(asleep) => {
                if self.pace.asleep(now, asleep) {
                    commands.push(Command::Wake);
                }
            }
            Input::Wakeable(wakeable) => self.pace.wakeable(now, wakeable),
            Input::Tick => {}
            Input::Drain => {
                self.draining = true;
                self.wake(commands);
                self.drop_queued();
            }
        }
        self.proceed(now, commands);
    }

    /// When [`Input::Tick`] is wanted next, if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let lease = self.lease.as_ref()?;
        let mut next = lease.until;
        if self.may_scan() {
            for kind in KINDS {
                if let Some(at) = self.wanted_at(kind) {
                    next = next.min(at);
                }
            }
            if let Some(at) = self.pace.next_sleep()
                && self.known.is_empty()
            {
                next = next.min(at);
            }
        }
        Some(next)
    }

    /// Rows in memory.
    #[must_use]
    pub fn rows_in_memory(&self) -> usize {
        self.known.len()
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes_in_memory(&self) -> usize {
        self.bytes
    }

    /// Lanes owned, as far as this relay knows.
    #[must_use]
    pub fn lanes_owned(&self) -> usize {
        self.lease.as_ref().map_or(0, |lease| lease.fence.lanes.len())
    }

    /// Whether the broker takes messages.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        self.circuit
    }

    // ---- leases -----------------------------------------------------------------------------------------------

    fn leased(&mut self, now: Instant, fence: Fence, until: Instant, commands: &mut Vec<Command<B>>) {
        let kept = self.lease.take().is_some_and(|lease| lease.fence == fence);
        if !kept {
            // The sleep locks are those of other lanes.
            self.wake(commands);
        }
        if fence.lanes.is_empty() {
            self.lost();
            return;
        }
        let mask = lane_mask(fence.lanes.iter().copied());
        self.lease = Some(Lease { fence, mask, until });
        if !kept {
            self.restart(now);
        }
    }

    fn lost(&mut self) {
        self.lease = None;
        self.drop_queued();
    }

    /// The lanes changed hands: what was fetched under the old lease is void, and the scan begins anew.
    fn restart(&mut self, now: Instant) {
        self.drop_queued();
        if let UnderWay::Scan { stale, .. } = &mut self.under_way {
            *stale = true;
        }
        self.known_until = self.known.keys().copied().max().unwrap_or(0);
        self.old_writes = self.writes.statements();
        self.cursor = 0;
        self.late = None;
        self.looks = 0;
        self.stragglers = Stragglers::default();
        self.caught_up = false;
        self.keys_held = true;
        self.pace.restart(now);
    }

    /// Forgets every row that was not handed to a publisher yet. They are still in the outbox.
    fn drop_queued(&mut self) {
        for row in self.keys.clear_pending().into_iter().chain(std::mem::take(&mut self.fresh)) {
            self.forget(row.seq);
        }
        let mut turned = std::mem::take(&mut self.to_quarantine);
        turned.extend(std::mem::take(&mut self.to_bury).into_iter().map(|(row, _)| row));
        for publisher in &mut self.publishers {
            turned.extend(publisher.queue.drain(..));
        }
        for row in turned {
            self.drop_row(&row);
        }
    }

    /// Forgets a row whose turn had come; nothing is behind it, or must be.
    fn drop_row(&mut self, row: &Row<B>) {
        for behind in self.keys.fail(row.key) {
            self.forget(behind.seq);
        }
        self.forget(row.seq);
    }

    fn forget(&mut self, seq: Seq) {
        if let Some(bytes) = self.known.remove(&seq) {
            self.bytes -= bytes;
        }
    }

    // ---- rows coming in ---------------------------------------------------------------------------------------

    fn scanned(&mut self, now: Instant, found: Found<B>, commands: &mut Vec<Command<B>>) {
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
                self.pace.due(now, next);
                if self.moved_meanwhile {
                    self.pace.next_due = now;
                }
            }
            Kind::Released => {
                let keys = found.keys.unwrap_or(super::input::Keys { held: true, releasing: false });
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
    fn take_in(&mut self, mut rows: Vec<Row<B>>) -> Vec<Row<B>> {
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
    fn admit_fresh(&mut self) {
        if self.late.is_none_or(|(after, _)| after >= self.fresh_from) {
            let rows = std::mem::take(&mut self.fresh);
            self.admit(rows);
        }
    }

    /// Finds each row its place within its key.
    fn admit(&mut self, rows: Vec<Row<B>>) {
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

    fn hold(&mut self, seqs: Vec<Seq>, mut keys: Vec<KeyHash>) {
        if seqs.is_empty() {
            return;
        }
        keys.sort_unstable();
        keys.dedup();
        self.fenced(|fence| Write::Hold(fence, seqs), keys);
    }

    /// Queues a write that only a lane's owner may make.
    fn fenced(&mut self, write: impl FnOnce(Fence) -> Write, keys: Vec<KeyHash>) {
        let fence = self.lease.as_ref().map(|lease| lease.fence.clone()).unwrap_or_default();
        for key in &keys {
            self.keys.writing(*key);
        }
        self.keys_held |= !keys.is_empty();
        self.moved_meanwhile |= !keys.is_empty();
        self.writes.push(write(fence), keys);
    }

    /// Hands a row on whose turn has come.
    fn send(&mut self, row: Row<B>) {
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

    // ---- what became of rows ----------------------------------------------------------------------------------

    fn published(
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
        for (row, outcome) in rows {
            match outcome {
                Outcome::Unknown if suspect && self.owns(&row) => self.to_quarantine.push(row),
                Outcome::Unknown => again.push(row),
                settled => {
                    // It answers, whatever it says.
                    self.circuit =
                        if self.circuit == Circuit::HalfOpen { Circuit::Closed } else { self.circuit };
                    self.settle(row, settled);
                }
            }
        }
        for row in again.into_iter().rev() {
            self.send_again(publisher, row);
        }
    }

    /// Whether its lane is still ours; it may have gone to another relay while the row was in flight.
    fn owns(&self, row: &Row<B>) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.mask & lane_mask([row.lane]) != 0)
    }

    fn send_again(&mut self, publisher: usize, row: Row<B>) {
        if !self.owns(&row) || self.draining {
            self.drop_row(&row);
        } else {
            self.publishers[publisher].queue.push_front(row);
        }
    }

    fn quarantined(&mut self, row: Row<B>, outcome: Outcome) {
        match outcome {
            Outcome::Unknown if !self.owns(&row) || self.draining => self.send_again(0, row),
            Outcome::Unknown => self.to_quarantine.push(row),
            settled => self.settle(row, settled),
        }
    }

    fn settle(&mut self, row: Row<B>, outcome: Outcome) {
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
                let error = format!("{REFUSED}: {code} {text}");
                self.failed(row, RetryReason::Refused, DeadReason::Refused, error);
            }
            Outcome::Nacked => {
                let cap = RetryPolicy { cap: self.settings.retry.cap.min(NACK_CAP), ..self.settings.retry };
                let delay = cap.delay(5, self.random.random());
                let error = "nacked by the broker: a queue bound for it is full or failed".to_owned();
                self.reschedule(row, RetryReason::Nacked, 0, delay, error);
            }
            Outcome::Unknown => self.to_quarantine.push(row),
        }
    }

    fn next_of(&mut self, key: KeyHash) {
        if let Some(next) = self.keys.done(key) {
            self.send(next);
        }
    }

    /// A failure of this very message: charged, tried again, and dead after the last attempt.
    fn failed(&mut self, row: Row<B>, retry: RetryReason, dead: DeadReason, error: String) {
        let attempts = row.attempts + 1;
        if !self.owns(&row) {
            self.drop_row(&row);
        } else if attempts >= self.settings.retry.max_attempts {
            self.to_bury.push((row, Death { reason: dead, error, charge: 1 }));
        } else {
            let delay = self.settings.retry.delay(attempts, self.random.random());
            self.reschedule(row, retry, 1, delay, error);
        }
    }

    fn reschedule(&mut self, row: Row<B>, reason: RetryReason, charge: u32, delay: Duration, error: String) {
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
        };
        self.fenced(|fence| Write::Reschedule(fence, vec![failed]), vec![key]);
        self.hold_behind(key, behind);
    }

    /// Rows behind a head that is held now: those from the held ones are where they belong already.
    fn hold_behind(&mut self, key: KeyHash, behind: VecDeque<Row<B>>) {
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

    fn buried(&mut self, row: Row<B>, death: Death, outcome: &Outcome) {
        match outcome {
            Outcome::Confirmed if self.owns(&row) => {
                let key = row.key;
                let attempts = row.attempts + death.charge;
                let burial = Burial { seq: row.seq, generation: row.generation, attempts, death };
                if self.settings.park {
                    let behind = self.keys.fail(key);
                    self.keys.failing(key);
                    self.fenced(|fence| Write::MarkDead(fence, vec![burial]), vec![key]);
                    self.hold_behind(key, behind);
                } else {
                    self.fenced(|fence| Write::MarkDead(fence, vec![burial]), Vec::new());
                    self.next_of(key);
                }
            }
            Outcome::Unknown if self.owns(&row) && !self.draining => self.to_bury.push((row, death)),
            other => {
                let why = match other {
                    Outcome::Returned { code, text } | Outcome::Refused { code, text } => {
                        format!("{code} {text}")
                    }
                    _ => "not confirmed".to_owned(),
                };
                let delay = self.settings.retry.delay(row.attempts + 1, self.random.random());
                let error = format!("{}; its dead letter could not be published: {why}", death.error);
                self.reschedule(row, RetryReason::DeadLetterFailed, death.charge, delay, error);
            }
        }
    }

    fn written(&mut self, now: Instant, left: &[(Seq, i32)]) {
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

    // ---- what to do next --------------------------------------------------------------------------------------

    fn proceed(&mut self, now: Instant, commands: &mut Vec<Command<B>>) {
        if self.stopped {
            return;
        }
        if self.lease.as_ref().is_some_and(|lease| now >= lease.until) {
            self.lost();
        }
        self.proceed_aside(now, commands);
        self.proceed_publishing(commands);
        if let Some(write) = self.writes.next() {
            commands.push(Command::Write(write));
        }
        self.proceed_scanning(now, commands);
        let idle = self.aside == 0 && self.publishers.iter().all(|publisher| !publisher.busy);
        if self.draining && idle && self.writes.is_idle() {
            self.stopped = true;
            commands.push(Command::Stop);
        }
    }

    fn proceed_aside(&mut self, now: Instant, commands: &mut Vec<Command<B>>) {
        if self.circuit == Circuit::Open || self.blocked || self.lease.is_none() || self.draining {
            if self.lease.is_none() || self.draining {
                let rows: Vec<_> = std::mem::take(&mut self.to_quarantine)
                    .into_iter()
                    .chain(std::mem::take(&mut self.to_bury).into_iter().map(|(row, _)| row))
                    .collect();
                for row in rows {
                    self.send_again(0, row);
                }
            }
            return;
        }
        if !self.to_quarantine.is_empty() {
            let rows = std::mem::take(&mut self.to_quarantine);
            self.aside += rows.len();
            commands.push(Command::Quarantine(rows));
        }
        let mut dying = Vec::new();
        for (row, death) in std::mem::take(&mut self.to_bury) {
            match self.flood.admit(now) {
                Ok(()) => dying.push((row, death)),
                Err(wait) => {
                    let delay = wait + self.settings.retry.delay(0, self.random.random());
                    let error =
                        format!("{}; too many rows died in the last minute, so it waits", death.error);
                    self.reschedule(row, RetryReason::FloodGuard, death.charge, delay, error);
                }
            }
        }
        if !dying.is_empty() {
            self.aside += dying.len();
            commands.push(Command::Bury(dying));
        }
    }

    fn proceed_publishing(&mut self, commands: &mut Vec<Command<B>>) {
        if self.circuit == Circuit::Open || self.blocked || self.lease.is_none() || self.draining {
            return;
        }
        let probing = self.circuit == Circuit::HalfOpen;
        if probing && self.publishers.iter().any(|publisher| publisher.busy) {
            return;
        }
        let limit = if probing { PROBE_ROWS.min(self.settings.batch_rows) } else { self.settings.batch_rows };
        for (index, publisher) in self.publishers.iter_mut().enumerate() {
            if publisher.busy || publisher.queue.is_empty() {
                continue;
            }
            let count = publisher.queue.len().min(limit);
            let rows = publisher.queue.drain(..count).collect();
            publisher.busy = true;
            commands.push(Command::Publish { publisher: index, rows });
            if probing {
                break;
            }
        }
    }

    fn may_scan(&self) -> bool {
        self.lease.is_some()
            && !self.draining
            && self.circuit != Circuit::Open
            && !self.blocked
            && self.under_way == UnderWay::Nothing
    }

    fn has_room(&self) -> bool {
        self.known.len() + self.settings.max_rows / 8 < self.settings.max_rows
            && self.bytes < self.settings.max_bytes
    }

    /// When a scan of this kind is wanted; `None` if it isn't at all for now.
    fn wanted_at(&self, kind: Kind) -> Option<Instant> {
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

    fn proceed_scanning(&mut self, now: Instant, commands: &mut Vec<Command<B>>) {
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

    fn exclude(&self, kind: Kind, scan: &Scan) -> Vec<Seq> {
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

    fn wake(&mut self, commands: &mut Vec<Command<B>>) {
        if self.pace.wake() {
            commands.push(Command::Wake);
        }
    }
}

/// Builds a fence from what the database returned.
#[must_use]
pub fn fence(lanes: impl IntoIterator<Item = (Lane, Token)>) -> Fence {
    let sorted: std::collections::BTreeMap<Lane, Token> =
        lanes.into_iter().collect::<HashMap<_, _>>().into_iter().collect();
    Fence { lanes: sorted.keys().copied().collect(), tokens: sorted.values().copied().collect() }
}
