//! What can happen, and what it does.

use std::time::Duration;

use rand::RngExt;
use relay::relay::input::Input;

use super::{
    node::Node,
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
    Quarantine(usize),
    Bury(usize),
    Sleep(usize),
    Listen(usize, bool),
    Lease(usize),
    Release(usize),
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
    Pause,
    Resume,
    ReleasePaused,
    Advance,
}

impl World {
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
                let all = self.random.random_bool(0.5);
                let node = &mut self.nodes[index];
                node.scan = None;
                node.inbox.push_back(Input::ScanFailed { retry: Duration::from_millis(100), all });
            }
            Action::Write { relay, answer_lost } => self.write(relay, answer_lost),
            Action::Publish(index, publisher) => {
                if let Some(batch) = &mut self.nodes[index].publishers[publisher] {
                    self.broker.step(&mut self.random, &mut self.checker, batch);
                }
            }
            Action::PublishAnswer(index, publisher) => self.publish_answer(index, publisher),
            Action::Quarantine(index) => self.quarantine(index),
            Action::Bury(index) => self.bury(index),
            Action::Sleep(index) => self.sleep(index),
            Action::Listen(index, up) => {
                let node = &mut self.nodes[index];
                node.listening = up;
                node.locks.clear();
                node.inbox.push_back(Input::Wakeable(up));
            }
            Action::Lease(index) => self.lease(index),
            Action::Release(index) => self.release(index),
            Action::LeaseAnswer(index) => {
                let node = &mut self.nodes[index];
                if let (Some((fence, give, floors)), Some(asked)) =
                    (node.leasing.answer.take(), node.leasing.asked.take())
                {
                    let lease = self.plan.lease;
                    node.leasing.next = self.now.max(asked + lease.as_micros() as u64 / 3);
                    let until = self.base + Duration::from_micros(asked) + lease - lease / 10;
                    node.learn_pauses();
                    node.inbox.push_back(Input::Leased { fence, give, floors, until });
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
                self.outbox.release(node.id, |_, _| true);
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
            Action::Pause => self.pause(),
            Action::Resume => self.resume(),
            Action::ReleasePaused => self.release_paused(),
            Action::Advance => self.advance(),
        }
    }

    pub fn handle(&mut self, index: usize) {
        let now = self.instant();
        let traced = self.is_traced();
        let node = &mut self.nodes[index];
        let input = node.inbox.pop_front().unwrap_or(Input::Tick);
        if let Input::Leased { fence, until, .. } = &input {
            let until = until.duration_since(self.base).as_micros() as u64;
            let held = fence.clone().into_iter().filter(|(lane, token)| node.gone.get(lane) != Some(token));
            node.lease = Some((held.collect(), until));
        }
        let log = node.handle(self.now, now, input, traced, &self.plan, &mut self.checker);
        self.log(|| log);
    }

    fn crash(&mut self, index: usize) {
        self.checker.seen("crash");
        let mut node = self.nodes.remove(index);
        // A statement under way may still be carried out.
        if self.random.random_bool(0.5) {
            self.outbox.leave_floors(node.id, &node.floors);
            self.check_floors();
        }
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

    fn advance(&mut self) {
        let deadlines = self.nodes.iter().filter(|node| !node.frozen).flat_map(|node| {
            let engine = node.engine.next_deadline();
            let engine = engine.map(|at| at.duration_since(self.base).as_micros() as u64);
            engine.into_iter().chain([node.leasing.next, node.suspect_from, node.dying_from])
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
