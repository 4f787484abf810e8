//! Rows that commit late, with a seq below ones already published.
//!
//! Sequence order is not commit order: a bare cursor lost 2.7 to 4.4 % of the events of 8 writers. But scanning from
//! the start costs as much as there are dead index entries. So relay looks, after each scan that may have found
//! something, at where the sequence stands and then at who holds a writer's lock on the table, and scans again just
//! what those who have ended may have added.
//!
//! Why that is enough: a writer takes its lock before `nextval` and gives it up only after its rows are visible.
//! A writer first seen in look k did not have it yet when look k-1 read the locks, so all its seqs are above the
//! sequence's value of look k-1, which was read before. The same bound covers a writer that came and went between two
//! looks. A writer that stays open for an hour costs one scan of what came since, when it ends; nothing while it is
//! open.

use std::collections::HashMap;

use super::{floors::Numbering, input::Look};
use crate::row::Seq;

/// Tracks writers, and says from where to rescan.
#[derive(Debug, Default)]
pub struct Stragglers {
    /// The sequence's value at the last look; before the first, a seq at or below which nothing can appear.
    last_value: Seq,
    numbering: Numbering,
    /// Every writer of the last look, with a bound below all its seqs.
    writers: HashMap<String, Seq>,
}

impl Stragglers {
    /// Tracks from here on what may appear above a floor.
    #[must_use]
    pub fn above(floor: Seq, numbering: Numbering) -> Self {
        Self { last_value: floor, numbering, writers: HashMap::new() }
    }

    /// Takes one look. Returns a seq at or below which nothing has appeared since the look before: 0, that is anything
    /// may have, after the very first.
    pub fn look(&mut self, look: Look) -> Seq {
        let mut bound = std::mem::replace(&mut self.last_value, look.last_value);
        let numbering = std::mem::replace(&mut self.numbering, look.numbering);
        if look.last_value < bound || numbering != 0 && look.numbering != numbering {
            // Truncated, restored, or another server that has not all of it: nothing is known any more.
            bound = 0;
        }
        let mut current = HashMap::with_capacity(look.writers.len());
        let mut prepared = Vec::new();
        for writer in look.writers {
            match self.writers.remove(&writer) {
                Some(since) => _ = current.insert(writer, since),
                // A server that restarts gives prepared transactions a new name: it may be any of those that are gone.
                None if writer.starts_with("-1/") => prepared.push(writer),
                None => _ = current.insert(writer, bound),
            }
        }
        // What is left in the old map has ended.
        let low = self.writers.values().copied().min().unwrap_or(bound).min(bound);
        current.extend(prepared.into_iter().map(|writer| (writer, low)));
        self.writers = current;
        low
    }

    /// The sequence's value at the last look.
    #[must_use]
    pub fn last_value(&self) -> Seq {
        self.last_value
    }

    /// A seq at or below which nothing can appear after the last look.
    #[must_use]
    pub fn closed(&self) -> Seq {
        self.writers.values().copied().min().unwrap_or(Seq::MAX).min(self.last_value)
    }

    /// A bound below all seqs of those who were writing at the last look and began no earlier than `since`.
    #[must_use]
    pub fn open(&self, since: Seq) -> Option<Seq> {
        self.writers.values().copied().filter(|bound| *bound >= since).min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_writer_open_for_long_costs_one_rescan_when_it_ends() {
        let mut stragglers = Stragglers::default();
        let mut look = |last_value, writers: &[&str]| {
            stragglers.look(Look { last_value, writers: names(writers), numbering: 1 })
        };
        assert_eq!(look(100, &[]), 0, "who knows what was before the first");
        assert_eq!(look(110, &["old"]), 100);
        for last_value in 111..500 {
            assert_eq!(look(last_value, &["old"]), last_value - 1);
        }
        assert_eq!(look(501, &[]), 100, "everything it may have written");
        assert_eq!(look(501, &[]), 501, "and then no more");
    }

    #[test]
    fn a_sequence_that_goes_backwards_settles_nothing() {
        let mut stragglers = Stragglers::default();
        let mut look = |last_value, writers: &[&str]| {
            stragglers.look(Look { last_value, writers: names(writers), numbering: 1 })
        };
        look(100, &[]);
        assert_eq!(look(100, &[]), 100);
        assert_eq!(look(5, &[]), 0, "rows 1 to 5 may be there: truncated, restored, failed over");
    }

    #[test]
    fn a_sequence_that_began_again_settles_nothing_although_it_has_come_further() {
        let mut stragglers = Stragglers::above(90, 1);
        let look = |last_value, numbering| Look { last_value, writers: vec![], numbering };
        assert_eq!(stragglers.look(look(100, 1)), 90);
        assert_eq!(stragglers.look(look(200, 2)), 0, "rows 1 to 90 may be there once more");
        assert_eq!(stragglers.look(look(200, 2)), 200);
    }

    #[test]
    fn a_prepared_transaction_keeps_its_bound_over_a_restart_of_the_server() {
        let mut stragglers = Stragglers::default();
        let mut look = |last_value, writers: &[&str]| {
            stragglers.look(Look { last_value, writers: names(writers), numbering: 1 })
        };
        look(10, &[]);
        look(20, &["7/7"]);
        look(3000, &["7/7"]);
        look(3000, &["-1/1046"]);
        look(5000, &["-1/1046"]);
        assert!(look(5000, &[]) <= 10, "its row may be seq 11");
    }

    fn names(writers: &[&str]) -> Vec<String> {
        writers.iter().map(|&name| name.to_owned()).collect()
    }

    /// What a random history of writers does: begin takes the lock, insert takes seqs, end makes rows visible.
    #[derive(Debug, Clone)]
    enum Step {
        Begin,
        Insert(usize),
        End(usize),
        /// Sequence, then writers, with the steps of the last `Between` in between.
        Look,
        /// Another takes over, and knows no more than the floor.
        HandOver,
        Between(Box<Step>, Box<Step>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let simple = prop_oneof![
            Just(Step::Begin),
            (0_usize..6).prop_map(Step::Insert),
            (0_usize..6).prop_map(Step::End),
        ];
        prop_oneof![
            3 => simple.clone(),
            1 => Just(Step::Look),
            1 => Just(Step::HandOver),
            1 => (simple.clone(), simple).prop_map(|(a, b)| Step::Between(Box::new(a), Box::new(b))),
        ]
    }

    #[derive(Default)]
    struct World {
        sequence: Seq,
        next_writer: u32,
        open: Vec<(String, Vec<Seq>)>,
        visible: BTreeSet<Seq>,
    }

    impl World {
        fn apply(&mut self, step: &Step) {
            match step {
                Step::Begin => {
                    self.next_writer += 1;
                    self.open.push((format!("writer {}", self.next_writer), vec![]));
                }
                Step::Insert(which) if !self.open.is_empty() => {
                    self.sequence += 1;
                    let which = which % self.open.len();
                    self.open[which].1.push(self.sequence);
                }
                Step::End(which) if !self.open.is_empty() => {
                    let which = which % self.open.len();
                    let (_, rows) = self.open.remove(which);
                    self.visible.extend(rows);
                }
                _ => {}
            }
        }
    }

    proptest! {
        #[test]
        fn no_late_commit_is_ever_missed(steps in prop::collection::vec(step(), 0..120)) {
            let mut world = World::default();
            let mut stragglers = Stragglers::default();
            let mut found = BTreeSet::new();
            let mut between: Vec<Step> = vec![];
            let mut floor = 0;
            for step in &steps {
                match step {
                    Step::Between(a, b) => between = vec![(**a).clone(), (**b).clone()],
                    Step::Look => {
                        let last_value = world.sequence;
                        between.drain(..).for_each(|step| world.apply(&step));
                        let writers = world.open.iter().map(|(name, _)| name.clone()).collect();
                        let low = stragglers.look(Look { last_value, writers, numbering: 1 });
                        // The scan comes after the look, so it may see more than the look knew.
                        found.extend(world.visible.range(low + 1..));
                        floor = low.min(stragglers.closed());
                        let below = world.open.iter().flat_map(|(_, rows)| rows).find(|seq| **seq <= floor);
                        prop_assert_eq!(below, None, "it may yet be committed");
                    }
                    Step::HandOver => stragglers = Stragglers::above(floor, 1),
                    other => world.apply(other),
                }
            }
            while !world.open.is_empty() {
                world.apply(&Step::End(0));
            }
            for _ in 0..2 {
                let low = stragglers.look(Look { last_value: world.sequence, writers: vec![], numbering: 1 });
                found.extend(world.visible.range(low + 1..));
            }
            prop_assert_eq!(&found, &world.visible);
        }
    }
}
