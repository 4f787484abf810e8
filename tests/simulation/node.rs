//! One relay: a real engine, and the tasks around it as the daemon has them, reduced to what they have in hand.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use relay::{
    outbox::memory::Owner,
    pause::PauseId,
    publisher::Outcome,
    relay::{
        engine::{Circuit, Engine},
        floors::Floors,
        input::{Command, Death, Fence, Found, Input, ScanRequest, Write},
        keys::Ordering,
    },
    row::{KeyHash, Lane, Row, Seq, Token},
};

use super::{broker::Batch, checker::Checker, pauses::About, plan::Plan};

/// A scan under way: the question is asked, the answer computed some time, and delivered some time later.
#[derive(Debug)]
pub struct ScanJob {
    pub request: ScanRequest,
    /// What has been read so far.
    pub part: Option<Part>,
    pub found: Option<Found<()>>,
}

#[derive(Debug)]
pub enum Part {
    Rows(Found<()>),
    LastValue(Found<()>, Seq),
}

/// The leasing task.
#[derive(Debug, Default)]
pub struct Leasing {
    pub next: u64,
    pub asked: Option<u64>,
    /// What is held, and what of it others are to have.
    pub answer: Option<(Fence, Vec<Lane>, Floors)>,
    /// What was paused at that time.
    pub pauses: BTreeMap<PauseId, About>,
}

#[derive(Debug)]
pub struct Node {
    pub id: Owner,
    pub engine: Engine<()>,
    pub inbox: VecDeque<Input<()>>,
    pub frozen: bool,
    pub draining: bool,
    pub stopped: bool,
    pub database_away: bool,
    pub scan: Option<ScanJob>,
    pub write: Option<Write>,
    pub publishers: Vec<Option<Batch>>,
    pub suspect: Option<Row<()>>,
    pub suspect_from: u64,
    pub dying: Option<(Row<()>, Death)>,
    pub dying_from: u64,
    pub sleeps: VecDeque<Option<Vec<Lane>>>,
    pub locks: BTreeSet<Lane>,
    pub listening: bool,
    pub session: bool,
    pub blocked: bool,
    pub leasing: Leasing,
    /// What the engine was last told.
    pub lease: Option<(Fence, u64)>,
    /// What the engine let go of: all of it, and what the database does not know yet.
    pub gone: BTreeMap<Lane, Token>,
    pub given: Fence,
    /// What it leaves with its lanes.
    pub floors: Floors,
    /// A version that knows of no floors.
    pub old: bool,
    /// What is paused, as last seen.
    pub pauses: BTreeMap<PauseId, About>,
    told_blocked: bool,
    told_paused: bool,
    idle_ticks: u32,
    /// Scans since time last moved.
    scans: (u64, u32),
    /// No scan before this: the last one failed.
    scan_from: u64,
}

impl Node {
    pub fn new(id: Owner, now: Instant, plan: &Plan, seed: u64) -> Self {
        Self {
            id,
            engine: Engine::new(now, plan.settings.clone(), seed),
            inbox: VecDeque::new(),
            frozen: false,
            draining: false,
            stopped: false,
            database_away: false,
            scan: None,
            write: None,
            publishers: (0..plan.settings.publishers).map(|_| None).collect(),
            suspect: None,
            suspect_from: 0,
            dying: None,
            dying_from: 0,
            sleeps: VecDeque::new(),
            locks: BTreeSet::new(),
            listening: false,
            session: false,
            blocked: false,
            leasing: Leasing::default(),
            lease: None,
            gone: BTreeMap::new(),
            given: Fence::default(),
            floors: Floors::default(),
            old: seed.is_multiple_of(5),
            pauses: BTreeMap::new(),
            told_blocked: false,
            told_paused: false,
            idle_ticks: 0,
            scans: (0, 0),
            scan_from: 0,
        }
    }

    /// Rows handed out for publishing and not answered yet.
    fn in_flight(&self) -> impl Iterator<Item = &Row<()>> {
        let batches = self.publishers.iter().flatten();
        let rows =
            batches.flat_map(|batch| batch.rows.iter().chain(batch.answered.iter().map(|(row, _)| row)));
        rows.chain(&self.suspect).chain(self.dying.iter().map(|(row, _)| row))
    }

    /// Feeds the engine one input and takes its commands. `at` is the time as `now` means it.
    pub fn handle(
        &mut self,
        at: u64,
        now: Instant,
        input: Input<()>,
        traced: bool,
        plan: &Plan,
        checker: &mut Checker,
    ) -> String {
        let mut log = if traced { format!("relay {}: {input:?}", self.id) } else { String::new() };
        let tick = matches!(input, Input::Tick);
        match &input {
            Input::BrokerBlocked(blocked) => (self.told_blocked, self.scan_from) = (*blocked, 0),
            Input::Paused(paused) => (self.told_paused, self.scan_from) = (*paused, 0),
            Input::BrokerUp => (self.told_blocked, self.scan_from) = (false, 0),
            Input::ScanFailed { retry, all: true } => self.scan_from = at + retry.as_micros() as u64,
            Input::Woken | Input::Leased { .. } | Input::Written | Input::Wakeable(_) | Input::Asleep(_) => {
                self.scan_from = 0
            }
            _ => {}
        }
        let mut commands = Vec::new();
        self.engine.handle(now, input, &mut commands);
        if tick && commands.is_empty() && self.engine.next_deadline().is_some_and(|next| next <= now) {
            self.idle_ticks += 1;
            checker.require(self.idle_ticks < 3, || "the engine spins: ticks that do nothing".to_owned());
        } else {
            self.idle_ticks = 0;
        }
        let most = plan.settings.max_rows + plan.settings.scan_rows;
        let rows = self.engine.rows_in_memory();
        checker.require(rows <= most, || format!("{rows} rows in memory, more than {most}"));
        for command in commands {
            if traced {
                log += &format!("\n        -> {command:?}");
            }
            self.execute(at, command, plan, checker);
        }
        log
    }

    fn execute(&mut self, at: u64, command: Command<()>, plan: &Plan, checker: &mut Checker) {
        match command {
            Command::Scan(request) => {
                checker.require(self.scan.is_none(), || "two scans under way".to_owned());
                checker.require(at >= self.scan_from, || "a failed scan is repeated at once".to_owned());
                self.scans = if self.scans.0 == at { (at, self.scans.1 + 1) } else { (at, 1) };
                let scans = self.scans.1;
                checker.require(scans < 5_000, || format!("{scans} scans without a pause"));
                self.scan = Some(ScanJob { request, part: None, found: None });
            }
            Command::Write(write) => {
                checker.require(self.write.is_none(), || "two writes under way".to_owned());
                self.note_write(&write, checker);
                self.write = Some(write);
            }
            Command::Publish { publisher, rows } => {
                self.may_send(at, &rows, true, plan, checker);
                checker
                    .require(self.publishers[publisher].is_none(), || "two batches on a channel".to_owned());
                let mut batch = Batch::new(vec![]);
                for row in rows {
                    match self.pause_of(&row) {
                        Some(pause) => batch.answered.push((row, Outcome::Paused(pause))),
                        None => batch.rows.push_back(row),
                    }
                }
                self.publishers[publisher] = Some(batch);
            }
            Command::Quarantine(row) => {
                checker.seen("quarantine");
                self.may_send(at, std::slice::from_ref(&row), true, plan, checker);
                checker.require(self.suspect.is_none(), || "two suspects under way".to_owned());
                self.suspect = Some(row);
            }
            Command::Bury(row, death) => {
                self.may_send(at, std::slice::from_ref(&row), false, plan, checker);
                checker.require(self.dying.is_none(), || "two dead letters under way".to_owned());
                self.dying = Some((row, death));
            }
            Command::Floors(floors) if self.old => drop(floors),
            Command::Floors(floors) => self.floors = floors,
            Command::Release(lanes) => {
                checker.seen("a lane given away in peace");
                for lane in &lanes.lanes {
                    let busy = self.in_flight().any(|row| row.lane == *lane);
                    checker.require(!busy, || format!("lane {lane} is given away with a row in flight"));
                }
                if let Some((fence, _)) = &mut self.lease {
                    let held = std::mem::take(fence).into_iter();
                    *fence = held.filter(|(lane, _)| !lanes.lanes.contains(lane)).collect();
                }
                self.gone.extend(lanes.clone());
                self.given = std::mem::take(&mut self.given).into_iter().chain(lanes).collect();
            }
            Command::Sleep(lanes) => self.sleeps.push_back(Some(lanes)),
            Command::Wake => self.sleeps.push_back(None),
            Command::Stop => {
                let busy = self.in_flight().count();
                checker
                    .require(busy == 0 && self.write.is_none(), || "stopped with work under way".to_owned());
                self.stopped = true;
            }
        }
    }

    /// The pause a row is under, as far as this relay knows.
    pub fn pause_of(&self, row: &Row<()>) -> Option<PauseId> {
        self.pauses.iter().find(|(_, about)| about.holds(row.seq, row.key)).map(|(pause, _)| *pause)
    }

    /// What is paused was looked at together with the leases.
    pub fn learn_pauses(&mut self) {
        self.pauses = self.leasing.pauses.clone();
        let all = self.pauses.values().any(|about| *about == About::All);
        let told = self.inbox.iter().rev().find_map(|input| match input {
            Input::Paused(paused) => Some(*paused),
            _ => None,
        });
        if all != told.unwrap_or(self.told_paused) {
            self.inbox.push_back(Input::Paused(all));
        }
    }

    fn note_write(&self, write: &Write, checker: &mut Checker) {
        match write {
            Write::Mark { rows, .. } => {
                for (seq, _) in rows {
                    let confirmed = checker.confirmed.contains(seq);
                    checker.require(confirmed, || format!("false mark: row {seq} was never confirmed"));
                }
            }
            Write::Reschedule(..) => checker.seen("rescheduled"),
            Write::Pause(..) => {}
            Write::Hold(..) => checker.seen("held"),
            Write::Defer(..) => checker.seen("deferred"),
            Write::MarkDead(_, rows) => {
                for row in rows {
                    let letter = checker.letters.contains(&row.seq);
                    checker.require(letter, || format!("row {} is to be dead without a letter", row.seq));
                }
            }
        }
    }

    fn may_send(&self, at: u64, rows: &[Row<()>], messages: bool, plan: &Plan, checker: &mut Checker) {
        checker.require(!rows.is_empty(), || "an empty batch".to_owned());
        checker
            .require(self.engine.circuit() != Circuit::Open, || "sent while the circuit is open".to_owned());
        checker.require(!self.told_paused, || "sent while everything is paused".to_owned());
        checker.require(!self.told_blocked, || "sent while the broker blocks".to_owned());
        let mut keys: BTreeSet<KeyHash> = self.in_flight().map(|row| row.key).collect();
        for row in rows {
            let owned = self
                .lease
                .as_ref()
                .is_some_and(|(fence, until)| at < *until && fence.lanes.contains(&row.lane));
            checker.require(owned, || format!("row {} is sent without a lease", row.seq));
            let poison = row.poison.is_some() && messages;
            checker.require(!poison, || format!("poison row {} reaches a channel", row.seq));
            let alone = keys.insert(row.key) || plan.settings.ordering != Ordering::Strict;
            checker.require(alone, || format!("row {} is sent while another of {:?} is", row.seq, row.key));
        }
    }
}
