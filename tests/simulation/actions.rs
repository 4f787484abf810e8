//! What can happen next, how likely it is, and what it does.

use std::time::Duration;

use rand::RngExt;
use relay::{
    outbox::memory::NewRow,
    publisher::Outcome,
    reason::DeadReason,
    relay::{
        driver::Aside,
        input::{Fence, Found, Input, Scan, Write},
    },
    row::{KeyHash, LANES, Lane, Poison},
};

use super::{
    broker::Flaw,
    node::{Half, Node},
    world::{Producer, World},
};

/// Something that can happen. Indices are those of relays, publishers and producers.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    Handle(usize),
    Scan(usize),
    ScanAnswer(usize),
    ScanFails(usize),
    Write { relay: usize, answer_lost: bool },
    Publish(usize, usize),
    PublishAnswer(usize, usize),
    Aside(usize),
    Sleep(usize),
    Listen(usize, bool),
    Lease(usize),
    LeaseAnswer(usize),
    Connect(usize),
    Cut(usize),
    Block(usize),
    Unblock(usize),
    Away(usize, bool),
    Crash(usize),
    Freeze(usize),
    Thaw(usize),
    Drain(usize),
    Gone(usize),
    GiveLane(usize),
    Start,
    Adrift(usize),
    Begin,
    Insert(usize),
    Commit(usize),
    End(usize),
    Rollback(usize),
    Replay,
    Discard,
    Advance,
}

impl World {
    /// Everything that may happen now, with weights.
    pub fn possible(&self) -> Vec<(u32, Action)> {
        let mut actions = vec![];
        for index in 0..self.nodes.len() {
            self.possible_of(index, &mut actions);
        }
        let idle = actions.is_empty();
        if if self.healing { idle } else { !(self.plan.calm && self.pressing()) } {
            actions.push((10 * self.plan.hurry, Action::Advance));
        }
        actions.extend((0..self.broker.adrift.len()).map(|index| (10, Action::Adrift(index))));
        if self.healing {
            return actions;
        }
        for (index, producer) in self.producers.iter().enumerate() {
            if producer.committed {
                actions.push((60, Action::End(index)));
            } else {
                actions.extend([(40, Action::Insert(index)), (20, Action::Commit(index))]);
                actions.push((10, Action::Rollback(index)));
            }
        }
        if self.producers.len() < self.plan.producers {
            actions.push((30, Action::Begin));
        }
        if self.nodes.len() < self.plan.relays {
            actions.push((20, Action::Start));
        }
        if self.outbox.rows().values().any(|row| row.dead_at.is_some() && row.resolved_at.is_none()) {
            actions.extend([(1, Action::Replay), (1, Action::Discard)]);
        }
        actions
    }

    /// In a calm run no lease runs out: what keeps it goes first.
    fn pressing(&self) -> bool {
        self.nodes.iter().any(|node| {
            !node.stopped
                && (!node.inbox.is_empty() || node.leasing.asked.is_some() || node.leasing.next <= self.now)
        })
    }

    fn possible_of(&self, index: usize, actions: &mut Vec<(u32, Action)>) {
        let node = &self.nodes[index];
        let database = !node.database_away;
        // What is on its way already goes on without the process.
        if let Some(scan) = &node.scan
            && database
            && scan.found.is_none()
        {
            actions.push((120, Action::Scan(index)));
        }
        for (publisher, batch) in node.publishers.iter().enumerate() {
            if let Some(batch) = batch
                && !batch.is_over()
                && node.session
                && !node.blocked
            {
                actions.push((200, Action::Publish(index, publisher)));
            }
        }
        if node.frozen {
            actions.push((self.plan.recovery, Action::Thaw(index)));
            return;
        }
        if node.stopped {
            actions.push((50, Action::Gone(index)));
            return;
        }
        let due = node.engine.next_deadline().is_some_and(|next| next <= self.instant());
        if !node.inbox.is_empty() || due {
            actions.push((300, Action::Handle(index)));
        }
        if node.scan.as_ref().is_some_and(|scan| scan.found.is_some()) {
            actions.push((120, Action::ScanAnswer(index)));
        }
        if node.write.is_some() && database {
            actions.push((120, Action::Write { relay: index, answer_lost: false }));
        }
        for (publisher, batch) in node.publishers.iter().enumerate() {
            if batch.as_ref().is_some_and(|batch| batch.is_over() || !node.session) {
                actions.push((120, Action::PublishAnswer(index, publisher)));
            }
        }
        if !node.aside.is_empty() && self.now >= node.aside_from && !(node.session && node.blocked) {
            actions.push((120, Action::Aside(index)));
        }
        if !node.sleeps.is_empty() {
            actions.push((120, Action::Sleep(index)));
        }
        if self.plan.listen && !node.listening {
            actions.push((50, Action::Listen(index, true)));
        }
        let leasing = &node.leasing;
        if leasing.answer.is_some() {
            actions.push((120, Action::LeaseAnswer(index)));
        } else if database && leasing.next <= self.now {
            actions.push((120, Action::Lease(index)));
        }
        if !node.session {
            actions.push((50, Action::Connect(index)));
        }
        if self.healing {
            return;
        }
        if !node.draining && self.nodes.len() > 1 {
            actions.push((1, Action::Drain(index)));
        }
        if self.plan.calm {
            return;
        }
        let trouble = self.plan.trouble;
        actions.extend([
            (trouble, Action::Crash(index)),
            (trouble, Action::Freeze(index)),
            (trouble, Action::GiveLane(index)),
        ]);
        actions.push(if node.database_away {
            (self.plan.recovery, Action::Away(index, false))
        } else {
            (trouble, Action::Away(index, true))
        });
        if node.write.is_some() && database {
            actions.push((20 * trouble, Action::Write { relay: index, answer_lost: true }));
        }
        if node.scan.is_some() {
            actions.push((trouble, Action::ScanFails(index)));
        }
        if node.session {
            actions.push((trouble, Action::Cut(index)));
            actions.push(if node.blocked {
                (10, Action::Unblock(index))
            } else {
                (trouble, Action::Block(index))
            });
        }
        if node.listening {
            actions.push((trouble, Action::Listen(index, false)));
        }
    }

    pub fn start_relay(&mut self) {
        self.next_node += 1;
        let seed = self.random.random();
        let mut node = Node::new(self.next_node, self.instant(), &self.plan, seed);
        node.leasing.next = self.now;
        self.nodes.push(node);
    }

    pub fn perform(&mut self, action: Action) {
        if !matches!(action, Action::Handle(_) | Action::Advance) {
            self.log(|| format!("{action:?}"));
        }
        match action {
            Action::Handle(index) => self.handle(index),
            Action::Scan(index) => self.scan(index),
            Action::ScanAnswer(index) => {
                let node = &mut self.nodes[index];
                if let Some(found) = node.scan.take().and_then(|scan| scan.found) {
                    node.inbox.push_back(Input::Scanned(found));
                }
            }
            Action::ScanFails(index) => {
                let node = &mut self.nodes[index];
                node.scan = None;
                node.inbox.push_back(Input::ScanFailed { retry: Duration::from_millis(100) });
            }
            Action::Write { relay, answer_lost } => self.write(relay, answer_lost),
            Action::Publish(index, publisher) => {
                if let Some(batch) = &mut self.nodes[index].publishers[publisher] {
                    self.broker.step(&mut self.random, &mut self.checker, batch);
                }
            }
            Action::PublishAnswer(index, publisher) => self.publish_answer(index, publisher),
            Action::Aside(index) => self.aside(index),
            Action::Sleep(index) => self.sleep(index),
            Action::Listen(index, up) => {
                let node = &mut self.nodes[index];
                node.listening = up;
                node.locks.clear();
                node.inbox.push_back(Input::Wakeable(up));
            }
            Action::Lease(index) => self.lease(index),
            Action::LeaseAnswer(index) => {
                let node = &mut self.nodes[index];
                if let (Some(fence), Some(asked)) = (node.leasing.answer.take(), node.leasing.asked.take()) {
                    let lease = self.plan.lease;
                    node.leasing.next = self.now.max(asked + lease.as_micros() as u64 / 3);
                    let until = self.base + Duration::from_micros(asked) + lease - lease / 10;
                    node.inbox.push_back(Input::Leased { fence, until });
                }
            }
            Action::Connect(index) => {
                let node = &mut self.nodes[index];
                (node.session, node.blocked) = (true, false);
                node.inbox.push_back(Input::BrokerUp);
            }
            Action::Cut(index) => {
                self.checker.seen("connection lost");
                let node = &mut self.nodes[index];
                node.session = false;
                node.inbox.push_back(Input::BrokerDown);
                for batch in node.publishers.iter_mut().flatten() {
                    self.broker.cut(&mut self.random, &mut self.checker, batch);
                }
            }
            Action::Block(index) | Action::Unblock(index) => {
                self.checker.seen("blocked");
                let node = &mut self.nodes[index];
                node.blocked = matches!(action, Action::Block(_));
                node.inbox.push_back(Input::BrokerBlocked(node.blocked));
            }
            Action::Away(index, away) => {
                self.checker.seen("database away");
                self.nodes[index].database_away = away;
            }
            Action::Crash(index) => self.crash(index),
            Action::Freeze(index) => self.nodes[index].frozen = true,
            Action::Thaw(index) => {
                let node = &mut self.nodes[index];
                node.frozen = false;
                let over = node.lease.as_ref().is_some_and(|(_, until)| *until <= self.now);
                if over {
                    self.checker.seen("frozen past its lease");
                }
            }
            Action::Drain(index) => {
                self.nodes[index].draining = true;
                self.nodes[index].inbox.push_back(Input::Drain);
            }
            Action::Gone(index) => {
                self.checker.seen("drained");
                let node = self.nodes.remove(index);
                self.outbox.release(node.id, |_| true);
                self.notify();
            }
            Action::GiveLane(index) => self.give_lane(index),
            Action::Start => self.start_relay(),
            Action::Adrift(index) => {
                let seq = self.broker.adrift.swap_remove(index);
                self.checker.deliver(seq);
            }
            Action::Begin => {
                let writer = self.outbox.begin();
                self.producers.push(Producer {
                    writer,
                    rows: vec![],
                    keys: Default::default(),
                    awake: Default::default(),
                    notify: false,
                    committed: false,
                });
            }
            Action::Insert(index) => self.insert(index),
            Action::Commit(index) => self.commit(index),
            Action::End(index) | Action::Rollback(index) => {
                let producer = self.producers.remove(index);
                if !producer.committed {
                    self.outbox.rollback(producer.writer);
                    self.checker.seen("rolled back");
                } else if producer.notify {
                    self.notify();
                }
            }
            Action::Replay | Action::Discard => self.operate(matches!(action, Action::Replay)),
            Action::Advance => self.advance(),
        }
    }

    fn handle(&mut self, index: usize) {
        let now = self.instant();
        let traced = self.is_traced();
        let node = &mut self.nodes[index];
        let input = node.inbox.pop_front().unwrap_or(Input::Tick);
        if let Input::Leased { fence, until } = &input {
            let until = until.duration_since(self.base).as_micros() as u64;
            node.lease = Some((fence.clone(), until));
        }
        let log = node.handle(self.now, now, input, traced, &self.plan, &mut self.checker);
        self.log(|| log);
    }

    fn scan(&mut self, index: usize) {
        let Some(scan) = &mut self.nodes[index].scan else { return };
        if scan.request.scan == Scan::Look {
            let look = match scan.half.take() {
                None if self.random.random_bool(0.5) => {
                    scan.half = Some(Half::LastValue(self.outbox.last_value()));
                    return;
                }
                None => {
                    scan.half = Some(Half::Writers(self.outbox.writers()));
                    return;
                }
                Some(Half::LastValue(seq)) => (seq, self.outbox.writers()),
                Some(Half::Writers(writers)) => (self.outbox.last_value(), writers),
            };
            let found = Found { rows: vec![], cut: false, next_due: None, keys: None, look: Some(look) };
            scan.found = Some(found);
            return;
        }
        let found = self.outbox.scan(&scan.request);
        match &scan.request.scan {
            Scan::Ready { until: Some(_), .. } if !found.rows.is_empty() => self.checker.seen("late row"),
            Scan::Released if !found.rows.is_empty() => self.checker.seen("released"),
            _ => {}
        }
        scan.found = Some(found);
    }

    fn write(&mut self, index: usize, answer_lost: bool) {
        let node = &mut self.nodes[index];
        let Some(write) = &node.write else { return };
        let ordered = self.plan.settings.ordering != relay::relay::keys::Ordering::None;
        let settled = self.outbox.write(node.id, write, ordered, self.plan.settings.park);
        if settled > 0 {
            self.progress = self.now;
        }
        if settled > 0 && matches!(write, Write::MarkDead(..)) {
            self.checker.seen(if self.plan.settings.park { "parked" } else { "buried" });
        }
        if answer_lost {
            // It is done, and will be done again.
            self.checker.seen("answer lost");
        } else {
            node.write = None;
            node.inbox.push_back(Input::Written);
        }
        self.checker.table(&self.outbox);
    }

    fn publish_answer(&mut self, index: usize, publisher: usize) {
        let Some(mut batch) = self.nodes[index].publishers[publisher].take() else { return };
        if !batch.is_over() {
            // Handed over after the session went: nothing was sent.
            let rows: Vec<_> = batch.rows.drain(..).map(|row| (row, Outcome::Unknown)).collect();
            batch.answered.extend(rows);
            let reason = "no session".to_owned();
            batch.failure = Some(relay::publisher::ChannelFailure::ConnectionLost { reason });
        }
        for (row, outcome) in &batch.answered {
            self.checker.told(row.seq, outcome);
        }
        let answer = Input::Published { publisher, rows: batch.answered, failure: batch.failure };
        self.nodes[index].inbox.push_back(answer);
    }

    fn aside(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(item) = node.aside.pop_front() else { return };
        let fails = !self.plan.calm && !self.healing && self.random.random_bool(0.1);
        let unknown = !node.session || fails;
        if unknown {
            node.aside_from = self.now + 500_000;
        }
        match item {
            Aside::Quarantine(row) => {
                let outcome = if unknown {
                    if node.session {
                        self.broker.leave(&mut self.random, &mut self.checker, row.seq);
                    }
                    Outcome::Unknown
                } else {
                    self.broker.alone(&mut self.random, &mut self.checker, row.seq)
                };
                self.checker.told(row.seq, &outcome);
                node.inbox.push_back(Input::Quarantined(row, outcome));
            }
            Aside::Bury(row, death) => {
                let outcome = if unknown {
                    Outcome::Unknown
                } else if self.random.random_bool(self.plan.nacks) {
                    Outcome::Nacked
                } else {
                    self.checker.buried(row.seq);
                    Outcome::Confirmed
                };
                node.inbox.push_back(Input::Buried(row, death, outcome));
            }
        }
    }

    fn sleep(&mut self, index: usize) {
        let Some(order) = self.nodes[index].sleeps.pop_front() else { return };
        let Some(lanes) = order else {
            self.nodes[index].locks.clear();
            return;
        };
        let seen_awake = self.producers.iter().any(|one| lanes.iter().any(|lane| one.awake.contains(lane)));
        let others = self.nodes.iter().any(|node| lanes.iter().any(|lane| node.locks.contains(lane)));
        let node = &mut self.nodes[index];
        let asleep = node.listening && !seen_awake && !others;
        if asleep {
            self.checker.seen("asleep");
            node.locks = lanes.into_iter().collect();
        }
        node.inbox.push_back(Input::Asleep(asleep));
    }

    fn notify(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.listening) {
            self.checker.seen("woken");
            node.inbox.push_back(Input::Woken);
        }
    }

    fn lease(&mut self, index: usize) {
        let relays = self.nodes.len();
        let node = &mut self.nodes[index];
        let Some(asked) = node.leasing.asked else {
            node.leasing.asked = Some(self.now);
            return;
        };
        if self.now > asked + self.plan.lease.as_micros() as u64 {
            node.leasing.asked = None;
            return;
        }
        self.outbox.renew(node.id, self.plan.lease);
        let at_most = if relays > 1 { self.random.random_range(0..=LANES) } else { LANES };
        if !node.draining {
            self.outbox.acquire(node.id, self.plan.lease, usize::from(at_most));
        }
        let fence = self.outbox.leases(node.id);
        for lane in &fence.lanes {
            if self.owners.insert(*lane, node.id).is_some_and(|before| before != node.id) {
                self.checker.seen("takeover");
            }
        }
        node.leasing.answer = Some(fence);
    }

    /// Another relay is to have a lane: first the engine must know, then it is given back.
    fn give_lane(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some((fence, until)) = node.lease.clone() else { return };
        if fence.lanes.is_empty() || !node.inbox.is_empty() || node.leasing.asked.is_some() {
            return;
        }
        let given = self.random.random_range(0..fence.lanes.len());
        let lane = fence.lanes[given];
        let keep = fence.lanes.iter().zip(&fence.tokens).filter(|(other, _)| **other != lane);
        let (lanes, tokens) = keep.map(|(lane, token)| (*lane, *token)).unzip();
        let until = self.base + Duration::from_micros(until);
        node.inbox.push_back(Input::Leased { fence: Fence { lanes, tokens }, until });
        self.handle(index);
        self.outbox.release(self.nodes[index].id, |other| other == lane);
        self.checker.seen("given a lane away");
    }

    fn crash(&mut self, index: usize) {
        self.checker.seen("crash");
        let mut node = self.nodes.remove(index);
        // A statement under way may still be carried out.
        if let Some(write) = &node.write
            && self.random.random_bool(0.5)
        {
            let ordered = self.plan.settings.ordering != relay::relay::keys::Ordering::None;
            self.outbox.write(node.id, write, ordered, self.plan.settings.park);
        }
        for batch in node.publishers.iter_mut().flatten() {
            // Its answers are lost with the process, whatever they are.
            self.broker.cut(&mut self.random, &mut self.checker, batch);
        }
    }

    fn insert(&mut self, index: usize) {
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

    fn commit(&mut self, index: usize) {
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

    fn operate(&mut self, replay: bool) {
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

    fn advance(&mut self) {
        let deadlines = self.nodes.iter().filter(|node| !node.frozen).flat_map(|node| {
            let engine = node.engine.next_deadline();
            let engine = engine.map(|at| at.duration_since(self.base).as_micros() as u64);
            engine.into_iter().chain([node.leasing.next, node.aside_from])
        });
        let next = deadlines.filter(|at| *at > self.now).min().unwrap_or(self.now + 1000);
        let lease = self.plan.lease.as_micros() as u64;
        let leap = !self.plan.calm && !self.healing;
        self.now = match self.random.random_range(0..20) {
            0..8 => {
                self.now + self.random.random_range(1..2_000).min(if leap { 2_000 } else { next - self.now })
            }
            8 if leap => self.now + self.random.random_range(1..lease),
            9 if leap => self.now + lease + 1_000_000,
            _ => next,
        };
        self.outbox.set_clock(i64::try_from(self.now).unwrap());
    }
}
