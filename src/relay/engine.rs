//! The engine: a synchronous state machine that decides everything and does nothing.
//!
//! `handle(now, input)` takes what happened and returns what to do. Time and randomness come in from outside, so the
//! same transitions run in production, and in a seeded simulation that crashes at every command.

mod apart;
mod intake;
mod ownership;
mod settlement;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use self::{apart::Apart, ownership::ALL};
use super::{
    floors::Floors,
    input::{Command, Fence, Input},
    keys::{Keys, Ordering, Weight},
    known::Known,
    pace::Pace,
    stragglers::Stragglers,
    writes::Writes,
};
use crate::{
    retry::RetryPolicy,
    row::{Lane, Row, Seq, Token},
};
use rand::{SeedableRng, rngs::StdRng};

/// How much of the first batch after an outage is risked before the broker has confirmed anything.
const PROBE_ROWS: usize = 16;
/// How long a nacked row waits at most, whatever `retry.cap` says: its destination is full, not the row bad.
const NACK_CAP: Duration = Duration::from_secs(30);
/// The usual [`Settings::reach`]: what a scan passes over for it, dead index entries at worst, takes it well under a
/// millisecond.
pub const REACH: Seq = 1_000;
/// How many seqs a scan for ready rows goes through at most once one without a bound has failed: where it may have stepped
/// over millions of dead index entries for longer than a statement may, this takes a fraction of a second.
const SPAN: Seq = 100_000;
/// Each time a scan of so many fails too, the next takes a quarter of them, and no fewer than this.
const LEAST_SPAN: Seq = 1_000;
/// A scan for due rows looks back before the last one that found all: a row may be written that is due at once, and come to
/// light when the write is over.
const DUE_OVERLAP: Duration = Duration::from_secs(5);
/// Of so many keys at most a scan for released rows is told where to begin: those of which the most rows are in memory.
const QUEUED_KEYS: usize = 512;
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
    /// How many seqs before the cursor a writer's rows may lie for a scan to begin in front of them while it is open yet.
    pub reach: Seq,
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
    /// Lanes that are to go to other relays as soon as none of their rows is in memory: nothing new of theirs is sent.
    giving: i32,
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
    /// Ready rows with `after < seq <= until`.
    Ready {
        after: Seq,
        until: Option<Seq>,
    },
    /// Rows that came due, as of then.
    Due {
        begun: Instant,
    },
    Released,
}

impl Kind {
    fn turn(self) -> Turn {
        match self {
            Self::Ready { .. } => Turn::Ready,
            Self::Due { .. } => Turn::Due,
            Self::Released => Turn::Released,
        }
    }
}

/// The kinds of scan take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Ready,
    Due,
    Released,
}

const TURNS: [Turn; 3] = [Turn::Ready, Turn::Due, Turn::Released];

/// See the module's documentation.
#[derive(Debug)]
pub struct Engine<B> {
    settings: Settings,
    random: StdRng,
    lease: Option<Lease>,
    /// Under which tokens lanes were given away: an answer from before that may still speak of them as ours.
    given: BTreeMap<Lane, Token>,
    circuit: Circuit,
    blocked: bool,
    paused: bool,
    known: Known,
    /// A row's average weight, for how many to fetch.
    row_bytes: usize,
    publishers: Vec<Publisher<B>>,
    keys: Keys<B>,
    writes: Writes,
    /// Writes from before the lanes changed hands: they may change nothing any more, so their rows are to be read anew,
    /// and are in memory until then.
    old_writes: usize,
    pace: Pace,
    /// The highest seq seen.
    cursor: Seq,
    /// Whether the last scan for ready rows was cut short: the next one will find some.
    more: bool,
    /// Ready rows up to here are in memory, or done. Those between here and the cursor need not be: they may have
    /// committed late.
    settled: Seq,
    /// After a scan for ready rows that failed: how many seqs each goes through, until they have caught up.
    span: Option<Seq>,
    /// When the sweep under way began, and what was settled before it.
    sweeping: Option<(Instant, Seq)>,
    /// After a restart of the scan, rows up to here may be in memory already.
    known_until: Seq,
    stragglers: Stragglers,
    /// At the last look, everything ready up to here was in memory, and nothing more could appear; 0 if there was none yet.
    ceiling: Seq,
    floors: Floors,
    /// Ready rows that came in, until it is known that every row in front of them is in as well: a producer that waited
    /// for another's commit has the higher seq, and may be seen while the other's row lies below where the scan began.
    fresh: Vec<Row<B>>,
    /// How many seqs before the cursor open writers are reckoned with just now: [`Settings::reach`], and more for a while
    /// when writers further back have ended.
    reach: Seq,
    /// Held rows are let in only when the cursor has passed what was ready when the lanes came to us: a key may have
    /// ready rows in front of its held ones, if whoever had them in memory is gone.
    caught_up: bool,
    /// The sequence's value at the first look since then.
    ready_until: Option<Seq>,
    /// When the last scan for due rows began that found all there were: they are in memory, or done.
    due_since: Option<Instant>,
    keys_held: bool,
    /// How long to wait after a scan for released rows that brought none; longer each time.
    release_pause: Duration,
    /// Whether a write held a key, let one go or set a row waiting since the scan under way began: it may not know.
    moved_meanwhile: bool,
    under_way: UnderWay,
    last_turn: usize,
    draining: bool,
    stopped: bool,
    apart: Apart<B>,
}

impl<B> Engine<B> {
    /// An engine that owns nothing yet and knows of no broker.
    #[must_use]
    pub fn new(now: Instant, settings: Settings, seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            lease: None,
            given: BTreeMap::new(),
            circuit: Circuit::Open,
            blocked: false,
            paused: false,
            known: Known::default(),
            row_bytes: 1024,
            publishers: (0..settings.publishers.max(1))
                .map(|_| Publisher { queue: VecDeque::new(), busy: false })
                .collect(),
            keys: Keys::new(
                settings.ordering,
                Weight { rows: (settings.max_rows / 4).max(1), bytes: settings.max_bytes / 4 },
            ),
            writes: Writes::default(),
            old_writes: 0,
            pace: Pace::new(now, settings.poll),
            cursor: 0,
            more: false,
            settled: 0,
            span: None,
            sweeping: None,
            known_until: 0,
            stragglers: Stragglers::default(),
            ceiling: 0,
            floors: Floors::default(),
            fresh: Vec::new(),
            reach: settings.reach,
            caught_up: false,
            ready_until: None,
            due_since: None,
            keys_held: true,
            release_pause: RELEASE_PAUSE,
            moved_meanwhile: false,
            under_way: UnderWay::Nothing,
            last_turn: 0,
            draining: false,
            stopped: false,
            apart: Apart::new(settings.flood_limit),
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
            Input::Leased { fence, give, floors, until } => {
                self.leased(now, fence, &give, &floors, until, commands);
            }
            Input::Woken => {
                self.wake(commands);
                self.pace.woken(now);
            }
            Input::Scanned(found) => self.scanned(now, found, commands),
            Input::ScanFailed { retry, all } => {
                let failed = std::mem::replace(&mut self.under_way, UnderWay::Nothing);
                let failed = match failed {
                    UnderWay::Scan { kind, .. } => Some(kind.turn()),
                    UnderWay::Nothing => None,
                };
                if let Some((begun, settled)) = self.sweeping.take() {
                    // It is for what nobody thought of. If it takes longer than a statement may, rows go on without it.
                    self.settled = settled;
                    self.pace.swept(now, begun);
                } else if !all && failed == Some(Turn::Ready) {
                    // It may take longer than a statement may, however often it is tried: bit by bit, then.
                    self.span = Some(self.span.map_or(SPAN, |span| (span / 4).max(LEAST_SPAN)));
                    self.reach = self.settings.reach;
                }
                self.pace.whole_due.end(now);
                self.pace.whole_released.end(now);
                let later = now + retry;
                for (turn, timer) in [
                    (Turn::Ready, &mut self.pace.next_ready),
                    (Turn::Due, &mut self.pace.next_due),
                    (Turn::Released, &mut self.pace.next_released),
                ] {
                    if all || failed == Some(turn) {
                        *timer = later.max(*timer);
                    }
                }
            }
            Input::Published { publisher, rows, failure } => {
                self.published(publisher, rows, failure.as_ref())
            }
            Input::Quarantined(row, outcome) => self.quarantined(row, outcome),
            Input::Buried(row, death, outcome) => self.buried(row, death, &outcome),
            Input::Written => self.written(now, &[]),
            Input::WrittenInPart { left, heads } => {
                self.written(now, &left);
                // Whoever holds the lock holds up nobody but these rows.
                self.writes.postpone(now, left, heads || self.lease.is_none());
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
            Input::Paused(paused) => {
                let over = self.paused && !paused;
                self.paused = paused;
                if paused {
                    self.wake(commands);
                } else if over {
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
                self.wake(commands);
                self.raise_floors(commands);
                self.draining = true;
                self.drop_queued(ALL);
                if let Some(lease) = &mut self.lease {
                    lease.giving = lease.mask;
                }
            }
        }
        self.proceed(now, commands);
    }

    /// When [`Input::Tick`] is wanted next, if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let writes = self.writes.next_at();
        let Some(lease) = &self.lease else { return writes };
        let mut next = writes.map_or(lease.until, |at| at.min(lease.until));
        if self.may_scan() {
            for turn in TURNS {
                if let Some(at) = self.wanted_at(turn) {
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
        self.known.bytes()
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

    // ---- what to do next --------------------------------------------------------------------------------------

    fn proceed(&mut self, now: Instant, commands: &mut Vec<Command<B>>) {
        if self.stopped {
            return;
        }
        if self.lease.as_ref().is_some_and(|lease| now >= lease.until) {
            self.lost();
        }
        self.proceed_apart(now, commands);
        self.proceed_publishing(commands);
        self.proceed_giving(commands);
        let giving = self.lease.as_ref().is_none_or(|lease| lease.giving != 0);
        let hurry = self.draining || giving || self.old_writes > 0 || !self.has_room();
        if let Some(write) = self.writes.next(now, hurry) {
            commands.push(Command::Write(write));
        }
        self.proceed_scanning(now, commands);
        let idle = self.apart.is_idle() && self.publishers.iter().all(|publisher| !publisher.busy);
        if self.draining && idle && self.writes.is_idle() {
            self.stopped = true;
            commands.push(Command::Stop);
        }
    }

    fn proceed_publishing(&mut self, commands: &mut Vec<Command<B>>) {
        if self.stands_still() || self.lease.is_none() || self.draining {
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

    /// Whether nothing may be sent, nor is anything read for it.
    fn stands_still(&self) -> bool {
        self.circuit == Circuit::Open || self.blocked || self.paused
    }

    fn wake(&mut self, commands: &mut Vec<Command<B>>) {
        if self.pace.wake() {
            commands.push(Command::Wake);
        }
    }
}
