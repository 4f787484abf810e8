//! What can happen next, and how likely it is.

use relay::outbox::memory::Holding;

use super::{actions::Action, world::World};

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
        if self.plan.pauses {
            if self.pauses.len() < 3 {
                actions.push((1, Action::Pause));
            }
            if !self.pauses.is_empty() {
                actions.push((2, Action::Resume));
            }
            if self.outbox.held_keys().values().any(|key| key.reason == Holding::Paused) {
                actions.push((5, Action::ReleasePaused));
            }
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
        let answers = !(node.session && node.blocked);
        if answers && node.suspect.is_some() && self.now >= node.suspect_from {
            actions.push((120, Action::Quarantine(index)));
        }
        if answers && node.dying.is_some() && self.now >= node.dying_from {
            actions.push((120, Action::Bury(index)));
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
        if database && !node.given.lanes.is_empty() {
            actions.push((60, Action::Release(index)));
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
}
