//! What the tasks around an engine do, one step at a time.

use std::{collections::BTreeMap, time::Duration};

use rand::RngExt;
use relay::{
    publisher::Outcome,
    relay::{
        floors::Floors,
        input::{Fence, Input, Look, Scan, Write},
    },
    row::LANES,
};

use super::{node::Part, world::World};

impl World {
    pub fn scan(&mut self, index: usize) {
        let Some(scan) = &mut self.nodes[index].scan else { return };
        let ready = matches!(scan.request.scan, Scan::Ready { .. });
        // Rows, sequence, writers: between any two of them the others go on.
        match scan.part.take() {
            None => {
                let found = self.outbox.scan_rows(&scan.request);
                match &scan.request.scan {
                    Scan::Ready { until: Some(_), .. } if !found.rows.is_empty() => {
                        self.checker.seen("late row");
                    }
                    Scan::Released { whole } if !found.rows.is_empty() => {
                        self.checker.seen("released");
                        if !(*whole || scan.request.queued.is_empty()) {
                            self.checker.seen("released behind those in memory");
                        }
                    }
                    Scan::Due { within: Some(_) } if !found.rows.is_empty() => {
                        self.checker.seen("due lately");
                    }
                    _ => {}
                }
                if ready {
                    scan.part = Some(Part::Rows(found));
                } else {
                    scan.found = Some(found);
                }
            }
            Some(Part::Rows(found)) if self.outbox.wants_look(&scan.request) => {
                scan.part = Some(Part::LastValue(found, self.outbox.last_value()));
            }
            Some(Part::Rows(found)) => {
                self.checker.seen("no look");
                scan.found = Some(found);
            }
            Some(Part::LastValue(mut found, last_value)) => {
                let (writers, numbering) = (self.outbox.writers(), self.outbox.numbering());
                found.look = Some(Look { last_value, writers, numbering });
                scan.found = Some(found);
            }
        }
    }

    pub fn write(&mut self, index: usize, answer_lost: bool) {
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
        if let Write::Pause(_, rows) = write {
            self.checker.seen("held for a pause");
            for row in rows.iter().filter(|row| !self.outbox.is_paused_by(row.pause)) {
                self.checker.seen("held for a pause that was over");
                node.pauses.remove(&row.pause);
            }
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

    pub fn publish_answer(&mut self, index: usize, publisher: usize) {
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

    /// Whether a message that is published apart gets no answer.
    fn unanswered(&mut self, index: usize) -> bool {
        !self.nodes[index].session || !self.plan.calm && !self.healing && self.random.random_bool(0.1)
    }

    pub fn quarantine(&mut self, index: usize) {
        let Some(row) = self.nodes[index].suspect.take() else { return };
        let paused = self.nodes[index].pause_of(&row);
        let unknown = paused.is_none() && self.unanswered(index);
        let node = &mut self.nodes[index];
        let outcome = if let Some(pause) = paused {
            Outcome::Paused(pause)
        } else if unknown {
            node.suspect_from = self.now + 500_000;
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

    pub fn bury(&mut self, index: usize) {
        let Some((row, death)) = self.nodes[index].dying.take() else { return };
        let unknown = self.unanswered(index);
        let node = &mut self.nodes[index];
        let outcome = if unknown {
            node.dying_from = self.now + 500_000;
            Outcome::Unknown
        } else if self.random.random_bool(self.plan.nacks) {
            Outcome::Nacked
        } else {
            self.checker.buried(row.seq);
            Outcome::Confirmed
        };
        node.inbox.push_back(Input::Buried(row, death, outcome));
    }

    pub fn sleep(&mut self, index: usize) {
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

    pub fn notify(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.listening) {
            self.checker.seen("woken");
            node.inbox.push_back(Input::Woken);
        }
    }

    pub fn lease(&mut self, index: usize) {
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
        let given: BTreeMap<_, _> = std::mem::take(&mut node.given).into_iter().collect();
        self.outbox.leave_floors(node.id, &node.floors);
        self.outbox.release(node.id, |lane, token| given.get(&lane) == Some(&token));
        self.outbox.renew(node.id, self.plan.lease);
        let at_most = if relays > 1 { self.random.random_range(0..=LANES) } else { LANES };
        if !node.draining {
            self.outbox.acquire(node.id, self.plan.lease, usize::from(at_most));
        }
        let fence = self.outbox.leases(node.id);
        // One from before floors knows nothing of them.
        let floors = if node.old { Floors::default() } else { self.outbox.floors(node.id) };
        for lane in &fence.lanes {
            if self.owners.insert(*lane, node.id).is_some_and(|before| before != node.id) {
                self.checker.seen("takeover");
                if floors.lanes.get(lane).is_some_and(|(_, floor)| *floor > 0) {
                    self.checker.seen("a floor taken over");
                }
            }
        }
        let share = relays > 1 && self.random.random_bool(0.3);
        let give = fence.lanes.iter().copied().filter(|_| share && self.random.random_bool(0.5)).collect();
        node.leasing.answer = Some((fence, give, floors));
        node.leasing.pauses = self.pauses.clone();
        self.check_floors();
    }

    /// Lanes that the engine let go of are the database's to give.
    pub fn release(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let given: BTreeMap<_, _> = std::mem::take(&mut node.given).into_iter().collect();
        self.outbox.leave_floors(node.id, &node.floors);
        self.outbox.release(node.id, |lane, token| given.get(&lane) == Some(&token));
        self.check_floors();
    }

    /// No floor is too high, at any time.
    pub fn check_floors(&mut self) {
        if let Some(seq) = self.outbox.below_a_floor() {
            self.checker.violated(|| format!("row {seq} is ready below its lane's floor"));
        }
    }

    /// Another relay takes a lane without asking: first the engine must know, then it is given back.
    pub fn give_lane(&mut self, index: usize) {
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
        let floors = Floors::default();
        node.inbox.push_back(Input::Leased { fence: Fence { lanes, tokens }, give: vec![], floors, until });
        self.handle(index);
        self.outbox.release(self.nodes[index].id, |other, _| other == lane);
        self.checker.seen("given a lane away");
    }
}
