//! Everything outside the engines, and the loop that lets things happen.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use relay::{
    outbox::memory::{HeldKey, Holding, MemoryOutbox, State, Writer},
    pause::PauseId,
    relay::keys::Ordering,
    row::{KeyHash, Lane, Seq},
};

use super::{actions::Action, broker::Broker, checker::Checker, node::Node, pauses::About, plan::Plan};

/// How many of the last steps a failure shows; `RELAY_SIM_TRACE` changes it.
const TRACE: usize = 60;

/// A producer's transaction.
#[derive(Debug)]
pub struct Producer {
    pub writer: Writer,
    pub rows: Vec<(Seq, KeyHash, bool)>,
    pub keys: BTreeSet<KeyHash>,
    /// Lanes whose sleep lock it holds shared: it saw relay awake.
    pub awake: BTreeSet<Lane>,
    /// It saw relay asleep: its commit notifies.
    pub notify: bool,
    pub committed: bool,
}

#[derive(Debug)]
pub struct World {
    pub plan: Plan,
    pub random: StdRng,
    pub base: Instant,
    pub now: u64,
    pub outbox: MemoryOutbox<()>,
    pub broker: Broker,
    pub checker: Checker,
    pub nodes: Vec<Node>,
    pub producers: Vec<Producer>,
    pub next_node: u64,
    /// The last owner of each lane.
    pub owners: BTreeMap<Lane, u64>,
    /// When a write last changed something.
    pub progress: u64,
    /// The faults are over: only what brings things to an end happens.
    pub healing: bool,
    pub next_repair: u64,
    pub next_release: u64,
    /// What is paused, as the database has it.
    pub pauses: BTreeMap<PauseId, About>,
    trace: Option<VecDeque<String>>,
    trace_length: usize,
}

impl World {
    /// Two worlds of one seed go the same way; only one that is traced remembers it.
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let plan = Plan::new(&mut random);
        let ordered = plan.serialised && plan.settings.ordering == Ordering::Strict;
        let checker = Checker::new(ordered, plan.calm);
        let broker = Broker { nacks: plan.nacks, lossy: !plan.calm, ..Broker::default() };
        Self {
            random,
            base: Instant::now(),
            now: 1_000_000,
            outbox: MemoryOutbox::default(),
            broker,
            checker,
            nodes: Vec::new(),
            producers: Vec::new(),
            next_node: 0,
            owners: BTreeMap::new(),
            progress: 0,
            healing: false,
            next_repair: 0,
            next_release: 0,
            pauses: BTreeMap::new(),
            trace: traced.then(VecDeque::new),
            trace_length: std::env::var("RELAY_SIM_TRACE").map_or(TRACE, |text| text.parse().unwrap()),
            plan,
        }
    }

    pub fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.now)
    }

    pub fn log(&mut self, line: impl FnOnce() -> String) {
        let Some(trace) = &mut self.trace else { return };
        trace.push_back(format!("{:>12} us  {}", self.now, line()));
        if trace.len() > self.trace_length {
            trace.pop_front();
        }
    }

    pub fn is_traced(&self) -> bool {
        self.trace.is_some()
    }

    pub fn print_trace(&self) {
        eprintln!("{:#?}", self.plan);
        for line in self.trace.iter().flatten() {
            eprintln!("{line}");
        }
    }

    /// A run: trouble first, then peace, in which everything must come to its end.
    pub fn run(&mut self) {
        for _ in 0..self.plan.relays {
            self.start_relay();
        }
        for _ in 0..self.plan.steps {
            self.step();
            if self.checker.violation.is_some() {
                return;
            }
        }
        self.heal();
        if !self.settle() || self.checker.violation.is_some() {
            return;
        }
        self.check_pauses();
        self.resume_all();
        loop {
            if !self.settle() || self.checker.violation.is_some() {
                return;
            }
            let parked: Vec<Seq> = self
                .outbox
                .held_keys()
                .values()
                .filter(|key| key.reason == Holding::Parked)
                .map(|key| key.head_seq)
                .collect();
            if parked.is_empty() {
                break;
            }
            for seq in parked {
                self.outbox.discard(seq);
                self.log(|| format!("the operator discards row {seq}"));
            }
        }
        self.final_checks();
    }

    fn step(&mut self) {
        self.outbox.set_clock(i64::try_from(self.now).unwrap());
        if self.now >= self.next_repair {
            // Whichever relay it is that does it.
            self.outbox.repair();
            self.next_repair = self.now + 60_000_000;
        }
        if self.now >= self.next_release {
            self.outbox.release_paused();
            self.next_release = self.now + 5_000_000;
        }
        let actions = self.possible();
        let total: u32 = actions.iter().map(|(weight, _)| weight).sum();
        let mut pick = self.random.random_range(0..total.max(1));
        for (weight, action) in actions {
            if pick < weight {
                self.perform(action);
                return;
            }
            pick -= weight;
        }
    }

    /// Ends every fault, every transaction, and every relay but one.
    fn heal(&mut self) {
        self.healing = true;
        self.broker.nacks = 0.0;
        self.plan.nacks = 0.0;
        self.log(|| "---- peace".to_owned());
        while !self.producers.is_empty() {
            let action = if self.producers[0].committed { Action::End(0) } else { Action::Commit(0) };
            self.perform(action);
        }
        let leaving = |node: &Node| node.draining || node.stopped;
        if self.nodes.iter().all(leaving) {
            self.start_relay();
        }
        let stays = self.nodes.iter().position(|node| !leaving(node)).unwrap_or(0);
        for index in (0..self.nodes.len()).rev() {
            if index != stays && !self.plan.calm {
                self.perform(Action::Crash(index));
            }
        }
        for node in &mut self.nodes {
            (node.frozen, node.database_away) = (false, false);
        }
        // The others stand a while longer, to see that they hold what they are about and nothing else.
        let outbox = &mut self.outbox;
        self.pauses.retain(|pause, about| *about != About::All || !outbox.resume(*pause));
        for index in 0..self.nodes.len() {
            if self.nodes[index].blocked {
                self.perform(Action::Unblock(index));
            }
        }
    }

    /// Lets things happen until all is done; otherwise that is the violation.
    fn settle(&mut self) -> bool {
        // Longer than any retry, lease, poll or repair, and far less than between two sweeps, which would hide that a row
        // was forgotten.
        let patience = 100_000_000;
        self.progress = self.now;
        for _ in 0..1_000_000 {
            if self.is_quiescent() {
                return true;
            }
            if self.checker.violation.is_some() {
                return false;
            }
            if self.now > self.progress + patience {
                break;
            }
            self.step();
        }
        let state = self.unfinished();
        let nodes = &self.nodes;
        self.checker.violated(|| format!("stuck:\n{state}\n{nodes:?}"));
        false
    }

    fn is_quiescent(&self) -> bool {
        let waits = |held: &HeldKey| match held.reason {
            Holding::Parked => true,
            Holding::Paused => held.paused_by.is_some_and(|pause| self.outbox.is_paused_by(pause)),
            Holding::Retrying | Holding::Releasing => false,
        };
        let parked = |key: &KeyHash| self.outbox.held_keys().get(key).is_some_and(waits);
        self.outbox.held_keys().values().all(waits)
            && self
                .outbox
                .rows()
                .values()
                .all(|row| !row.is_unfinished() || row.state == State::Held && parked(&row.row.key))
            && self.nodes.iter().all(|node| node.write.is_none() && node.engine.rows_in_memory() == 0)
    }

    fn unfinished(&self) -> String {
        let mut text = String::new();
        for (seq, row) in self.outbox.rows().iter().filter(|(_, row)| row.is_unfinished()) {
            text += &format!("row {seq}: {row:?}\n");
        }
        for (key, held) in self.outbox.held_keys() {
            text += &format!("held {key:?}: {held:?}\n");
        }
        text
    }

    fn final_checks(&mut self) {
        self.checker.table(&self.outbox);
        let missing: Vec<Seq> = self
            .checker
            .committed
            .keys()
            .filter(|seq| self.outbox.rows().get(seq).is_none_or(|row| row.is_unfinished()))
            .copied()
            .collect();
        self.checker.require(missing.is_empty(), || format!("lost: {missing:?}"));
    }
}
