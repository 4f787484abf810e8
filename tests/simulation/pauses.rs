//! What operators pause, and what must hold of it.

use rand::RngExt;
use relay::{
    outbox::memory::Holding,
    row::{KeyHash, Seq},
};

use super::world::World;

/// What a pause is about. A row's route is a number below three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    All,
    Route(Seq),
    Key(KeyHash),
}

impl About {
    /// Whether it holds such a row. A pause of everything holds none: relays stand still for it.
    pub fn holds(self, seq: Seq, key: KeyHash) -> bool {
        match self {
            Self::All => false,
            Self::Route(route) => seq % 3 == route,
            Self::Key(other) => key == other,
        }
    }
}

impl World {
    pub fn pause(&mut self) {
        let about = match self.random.random_range(0..4) {
            0 => About::All,
            1 => About::Route(self.random.random_range(0..3)),
            _ => About::Key(KeyHash(self.random.random_range(0..self.plan.keys))),
        };
        if about == About::All {
            self.checker.seen("everything paused");
        }
        self.pauses.insert(self.outbox.pause(), about);
        self.log(|| format!("        {about:?}"));
        self.nudge();
    }

    pub fn resume(&mut self) {
        let which = self.random.random_range(0..self.pauses.len());
        let Some((pause, about)) = self.pauses.iter().nth(which).map(|(pause, about)| (*pause, *about))
        else {
            return;
        };
        self.pauses.remove(&pause);
        self.outbox.resume(pause);
        self.log(|| format!("        {about:?}"));
        self.nudge();
    }

    /// The rest of ending a pause, whoever does it: sooner or later a relay, if the operator does not.
    pub fn release_paused(&mut self) {
        self.outbox.release_paused();
        self.notify();
    }

    /// Those who listen look at the leases at once, and at what is paused.
    fn nudge(&mut self) {
        let now = self.now;
        for node in self.nodes.iter_mut().filter(|node| node.listening && node.leasing.asked.is_none()) {
            node.leasing.next = node.leasing.next.min(now);
        }
    }

    /// In peace everything has gone out but what is behind a dead row or a pause. Of a pause, that is what it is about.
    pub fn check_pauses(&mut self) {
        for (key, held) in self.outbox.held_keys().iter().filter(|(_, held)| held.reason == Holding::Paused) {
            let about = held.paused_by.and_then(|pause| self.pauses.get(&pause));
            let about_it = about.is_some_and(|about| about.holds(held.head_seq, *key));
            self.checker.require(about_it, || format!("{key:?} waits for {about:?}: {held:?}"));
        }
    }

    pub fn resume_all(&mut self) {
        for pause in std::mem::take(&mut self.pauses).into_keys() {
            self.outbox.resume(pause);
        }
        self.release_paused();
    }
}
