//! Scripted changes of lanes, too rare for chance to find: one relay, whose lane another has for a while.

use std::time::{Duration, Instant};

use relay::{
    outbox::memory::{Holding, MemoryOutbox, NewRow, State},
    publisher::Outcome,
    reason::RetryReason,
    relay::{
        engine::{Engine, Settings},
        input::{Command, Fence, Input, Reschedule, Write},
        keys::Ordering,
    },
    retry::RetryPolicy,
    row::{KeyHash, Row, Seq},
};

const LEASE: Duration = Duration::from_secs(10);
const KEY: KeyHash = KeyHash(1);

struct Bench {
    engine: Engine<()>,
    outbox: MemoryOutbox<()>,
    now: Instant,
    sent: Vec<Row<()>>,
    writes: Vec<Write>,
}

impl Bench {
    /// A relay with all lanes and one row in flight.
    fn with_row_in_flight() -> Self {
        let second = Duration::from_secs(1);
        let settings = Settings {
            ordering: Ordering::Strict,
            park: false,
            publishers: 1,
            batch_rows: 8,
            max_rows: 64,
            max_bytes: 1 << 20,
            scan_rows: 8,
            retry: RetryPolicy { max_attempts: 8, floor: second, cap: second },
            flood_limit: 0,
            poll: second,
        };
        let now = Instant::now();
        let engine = Engine::new(now, settings, 1);
        let mut bench = Self { engine, outbox: MemoryOutbox::default(), now, sent: vec![], writes: vec![] };
        bench.produce(KEY);
        let fence = bench.lease(1);
        bench.handle(Input::BrokerUp);
        bench.leased(fence);
        assert_eq!(bench.seqs_sent(), [1]);
        bench
    }

    fn produce(&mut self, key: KeyHash) {
        let writer = self.outbox.begin();
        let row = NewRow { key, lane: 0, available_at: None, bytes: 100, poison: None, body: () };
        self.outbox.insert(writer, row);
        self.outbox.commit(writer);
    }

    /// Whatever lanes are free go to this relay.
    fn lease(&mut self, owner: u64) -> Fence {
        self.outbox.acquire(owner, LEASE, usize::MAX);
        self.outbox.leases(owner)
    }

    fn leased(&mut self, fence: Fence) {
        self.handle(Input::Leased { fence, until: self.now + LEASE });
    }

    /// Answers scans at once; keeps batches and writes.
    fn handle(&mut self, input: Input<()>) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut commands = vec![];
            self.engine.handle(self.now, input, &mut commands);
            for command in commands {
                match command {
                    Command::Scan(request) => inputs.push(Input::Scanned(self.outbox.scan(&request))),
                    Command::Publish { rows, .. } => self.sent.extend(rows),
                    Command::Write(write) => self.writes.push(write),
                    other => panic!("not expected: {other:?}"),
                }
            }
        }
    }

    fn seqs_sent(&self) -> Vec<Seq> {
        self.sent.iter().map(|row| row.seq).collect()
    }

    fn answer(&mut self, outcome: Outcome) {
        let rows = self.sent.drain(..).map(|row| (row, outcome.clone())).collect();
        self.handle(Input::Published { publisher: 0, rows, failure: None });
    }
}

#[test]
fn a_confirm_that_comes_after_the_next_owner_failed_the_row_lets_the_key_go() {
    let mut bench = Bench::with_row_in_flight();
    bench.outbox.release(1, |_| true);
    let theirs = bench.lease(2);
    bench.leased(Fence::default());
    let failed = Reschedule {
        seq: 1,
        generation: 0,
        reason: RetryReason::Nacked,
        attempts: 0,
        delay: LEASE,
        error: String::new(),
    };
    bench.outbox.write(2, &Write::Reschedule(theirs, vec![failed]), true, false);
    assert_eq!(bench.outbox.held_keys()[&KEY].reason, Holding::Retrying);

    bench.answer(Outcome::Confirmed);
    let mark = bench.writes.remove(0);
    bench.outbox.write(1, &mark, true, false);
    assert!(bench.outbox.rows()[&1].published_at.is_some(), "a fact needs no lease");
    assert_eq!(bench.outbox.held_keys()[&KEY].reason, Holding::Releasing, "nothing else ever would");
}

#[test]
fn a_row_whose_reschedule_came_too_late_is_found_again() {
    let mut bench = Bench::with_row_in_flight();
    bench.answer(Outcome::Returned { code: 312, text: "NO_ROUTE".to_owned() });
    let late = bench.writes.remove(0);
    // The lease ran out before it was carried out, and was taken anew.
    bench.outbox.release(1, |_| true);
    // The new scan passes it by on its way to this one.
    bench.produce(KeyHash(2));
    let fence = bench.lease(1);
    bench.leased(fence);
    assert_eq!(bench.outbox.write(1, &late, true, false), 0, "its token is no longer ours");
    assert_eq!(bench.outbox.rows()[&1].state, State::Ready);
    bench.now += Duration::from_secs(1);
    bench.handle(Input::Written);
    bench.handle(Input::Tick);
    assert_eq!(bench.seqs_sent(), [1, 2]);
}
