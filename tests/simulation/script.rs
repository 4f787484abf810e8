//! One relay under a script, for what chance finds too rarely: scans are answered at once, batches and writes are kept.

use std::time::{Duration, Instant};

use relay::{
    outbox::memory::{DbTime, MemoryOutbox, NewRow, Writer},
    publisher::{ChannelFailure, Outcome},
    reason::DeadReason,
    relay::{
        engine::{Engine, Settings},
        input::{Command, Fence, Input, Scan, Write},
        keys::Ordering,
    },
    retry::RetryPolicy,
    row::{KeyHash, Lane, Poison, Row, Seq, Token, micros},
};

pub const LEASE: Duration = Duration::from_secs(10);
pub const KEY: KeyHash = KeyHash(1);

pub struct Script {
    pub engine: Engine<()>,
    pub relay: u64,
    ordered: bool,
    park: bool,
    pub outbox: MemoryOutbox<()>,
    pub now: Instant,
    pub clock: DbTime,
    pub sent: Vec<Row<()>>,
    pub writes: Vec<Write>,
    pub scans: Vec<Scan>,
    /// With which rows the last scan for released ones was told to begin; a whole one is not.
    pub queued: Vec<Seq>,
    /// Scans from the very first row take longer than a statement may: half a lease.
    pub no_scan_from_the_first: bool,
    /// A scan for ready rows that goes through more seqs than this takes longer than a statement may.
    pub longest_scan: Option<Seq>,
    /// A row that somebody else has locked: it is never marked.
    pub locked: Option<Seq>,
    /// How often rows were put off or failed.
    pub rescheduled: usize,
    /// Dead letters under way. They are not answered.
    pub letters: Vec<Row<()>>,
    /// Lanes it let go of, which the outbox does not know yet, and their tokens.
    pub released: Vec<(Lane, Token)>,
    /// Suspects under way.
    pub suspects: Vec<Row<()>>,
    /// Every row ever sent, and its key.
    pub history: Vec<(Seq, KeyHash)>,
}

pub fn settings() -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        ordering: Ordering::Strict,
        park: false,
        publishers: 1,
        batch_rows: 8,
        max_rows: 64,
        max_bytes: 1 << 20,
        scan_rows: 8,
        retry: RetryPolicy { max_attempts: 8, floor: second, cap: second },
        flood_limit: 0,
        reach: 0,
        poll: second,
    }
}

impl Script {
    /// A relay with all lanes and one row in flight.
    pub fn with_row_in_flight() -> Self {
        Self::under(|_| ())
    }

    /// The same under other settings.
    pub fn under(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let (ordered, park) = (settings.ordering != Ordering::None, settings.park);
        let now = Instant::now();
        let engine = Engine::new(now, settings, 1);
        let outbox = MemoryOutbox::default();
        let (sent, writes, scans, queued, letters, released, suspects, history) = Default::default();
        let mut script = Self {
            engine,
            relay: 1,
            ordered,
            park,
            outbox,
            now,
            clock: 0,
            sent,
            writes,
            scans,
            queued,
            no_scan_from_the_first: false,
            longest_scan: None,
            locked: None,
            rescheduled: 0,
            letters,
            released,
            suspects,
            history,
        };
        script.produce(KEY);
        let fence = script.lease(1);
        script.handle(Input::BrokerUp);
        script.leased(fence);
        assert_eq!(script.seqs_sent(), [1]);
        script
    }

    pub fn produce(&mut self, key: KeyHash) {
        let writer = self.outbox.begin();
        self.insert(writer, key);
        self.outbox.commit(writer);
    }

    pub fn produce_bytes(&mut self, key: KeyHash, bytes: usize) {
        let writer = self.outbox.begin();
        self.insert_bytes(writer, key, bytes);
        self.outbox.commit(writer);
    }

    pub fn insert(&mut self, writer: Writer, key: KeyHash) {
        self.insert_bytes(writer, key, 100);
    }

    pub fn insert_bytes(&mut self, writer: Writer, key: KeyHash, bytes: usize) {
        let row = NewRow { key, lane: 0, available_at: None, bytes, poison: None, body: () };
        self.outbox.insert(writer, row);
    }

    /// A row that is not due before so much time has gone by.
    pub fn produce_for_later(&mut self, key: KeyHash, after: Duration) {
        let writer = self.outbox.begin();
        let available_at = Some(self.clock + micros(after));
        let row = NewRow { key, lane: 0, available_at, bytes: 100, poison: None, body: () };
        self.outbox.insert(writer, row);
        self.outbox.commit(writer);
    }

    /// A row that dies as soon as it is read.
    pub fn produce_poison(&mut self, key: KeyHash) {
        self.produce_poison_bytes(key, 100);
    }

    pub fn produce_poison_bytes(&mut self, key: KeyHash, bytes: usize) {
        let writer = self.outbox.begin();
        let poison = Poison { reason: DeadReason::InvalidName, error: "no name".to_owned() };
        let row = NewRow { key, lane: 0, available_at: None, bytes, poison: Some(poison), body: () };
        self.outbox.insert(writer, row);
        self.outbox.commit(writer);
    }

    /// Time for a scan, whatever the last one found. The lease is renewed.
    pub fn poll(&mut self) {
        self.tick_after(Duration::from_secs(1));
    }

    /// Confirms and marks, as time goes by, whenever the engine wants a tick.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let least = self.now + Duration::from_millis(1);
            let next = self.engine.next_deadline().unwrap_or(end).clamp(least, end.max(least));
            self.tick_after(next - self.now);
            self.settle();
        }
    }

    /// A moment goes by; then what was sent is confirmed, and what was to be written is.
    pub fn step(&mut self) {
        self.tick_after(Duration::from_millis(20));
        self.answer(Outcome::Confirmed);
        self.write_all();
    }

    fn tick_after(&mut self, time: Duration) {
        self.now += time;
        self.clock += micros(time);
        self.outbox.renew(self.relay, LEASE);
        self.outbox.set_clock(self.clock);
        let fence = self.outbox.leases(self.relay);
        if !fence.lanes.is_empty() {
            self.leased(fence);
        }
        self.handle(Input::Tick);
    }

    /// Whatever lanes are free go to this relay.
    pub fn lease(&mut self, owner: u64) -> Fence {
        self.outbox.acquire(owner, LEASE, usize::MAX);
        self.outbox.leases(owner)
    }

    pub fn leased(&mut self, fence: Fence) {
        self.leased_but(fence, vec![]);
    }

    /// Another relay takes over all that this one gives back, and knows what the outbox knows.
    pub fn succeeded_by(&mut self, relay: u64, settings: Settings) {
        self.outbox.release(self.relay, |_, _| true);
        (self.relay, self.engine) = (relay, Engine::new(self.now, settings, relay));
        self.scans.clear();
        let fence = self.lease(relay);
        self.handle(Input::BrokerUp);
        self.leased(fence);
    }

    /// From where the first scan for ready rows began.
    pub fn began_after(&self) -> Option<Seq> {
        self.scans.iter().find_map(|scan| match scan {
            Scan::Ready { after, .. } => Some(*after),
            _ => None,
        })
    }

    /// Leases that are prolonged, some of whose lanes others are to have.
    pub fn leased_but(&mut self, fence: Fence, give: Vec<Lane>) {
        let floors = self.outbox.floors(self.relay);
        self.handle(Input::Leased { fence, give, floors, until: self.now + LEASE });
    }

    /// Answers scans at once; keeps batches and writes.
    pub fn handle(&mut self, input: Input<()>) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut commands = vec![];
            self.engine.handle(self.now, input, &mut commands);
            for command in commands {
                match command {
                    Command::Scan(request) => {
                        self.scans.push(request.scan.clone());
                        if matches!(request.scan, Scan::Released { whole: false }) {
                            self.queued.clone_from(&request.queued);
                        }
                        let from_the_first = matches!(request.scan, Scan::Ready { after: 0, .. });
                        let too_long = match request.scan {
                            Scan::Ready { after, until, .. } => {
                                let last = self.outbox.last_value();
                                let seqs = until.map_or(last, |until| until.min(last)) - after;
                                self.longest_scan.is_some_and(|most| seqs > most)
                            }
                            _ => false,
                        };
                        if from_the_first && self.no_scan_from_the_first || too_long {
                            self.now += LEASE / 2;
                            inputs.push(Input::ScanFailed { retry: Duration::from_secs(1), all: false });
                        } else {
                            inputs.push(Input::Scanned(self.outbox.scan(&request)));
                        }
                    }
                    Command::Publish { rows, .. } => {
                        self.history.extend(rows.iter().map(|row| (row.seq, row.key)));
                        self.sent.extend(rows);
                    }
                    Command::Write(write) => self.writes.push(write),
                    Command::Floors(floors) => self.outbox.leave_floors(self.relay, &floors),
                    Command::Release(fence) => self.released.extend(fence),
                    Command::Bury(row, _) => self.letters.push(row),
                    Command::Quarantine(row) => self.suspects.push(row),
                    other => panic!("not expected: {other:?}"),
                }
            }
        }
    }

    pub fn seqs_sent(&self) -> Vec<Seq> {
        self.sent.iter().map(|row| row.seq).collect()
    }

    pub fn seqs_ever_sent(&self, key: KeyHash) -> Vec<Seq> {
        self.history.iter().filter(|(_, other)| *other == key).map(|(seq, _)| *seq).collect()
    }

    /// Confirms and marks until nothing is under way.
    pub fn settle(&mut self) {
        while !(self.sent.is_empty() && self.writes.is_empty()) {
            self.answer(Outcome::Confirmed);
            self.write_all();
        }
    }

    pub fn write_all(&mut self) {
        for write in std::mem::take(&mut self.writes) {
            let done = self.write(write);
            self.handle(done);
        }
    }

    /// Carries a write out; a mark, around what is locked.
    fn write(&mut self, mut write: Write) -> Input<()> {
        let mut left = Vec::new();
        if let Write::Mark { rows, .. } = &mut write {
            left = rows.extract_if(.., |(seq, _)| Some(*seq) == self.locked).collect();
        }
        if let Write::Reschedule(_, rows) = &write {
            self.rescheduled += rows.len();
        }
        self.outbox.write(self.relay, &write, self.ordered, self.park);
        match write {
            Write::Mark { heads, .. } if !left.is_empty() => Input::WrittenInPart { left, heads },
            _ => Input::Written,
        }
    }

    pub fn answer(&mut self, outcome: Outcome) {
        self.answer_all(&outcome, None);
    }

    /// The channel of the batch under way closes, and nobody knows because of which row.
    pub fn close_channel(&mut self) {
        let text = "NOT_FOUND".to_owned();
        self.answer_all(&Outcome::Unknown, Some(ChannelFailure::ChannelClosed { code: 404, text }));
    }

    fn answer_all(&mut self, outcome: &Outcome, failure: Option<ChannelFailure>) {
        let rows = self.sent.drain(..).map(|row| (row, outcome.clone())).collect();
        self.handle(Input::Published { publisher: 0, rows, failure });
    }
}
