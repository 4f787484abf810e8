//! Rows that commit late, with a seq below ones already published.
//!
//! Sequence order is not commit order: a bare cursor lost 2.7 to 4.4 % of the events of 8 writers. But scanning from
//! the start costs as much as there are dead index entries. So relay looks, about every 50 ms, at where the sequence
//! stands and who holds a writer's lock on the table, and rescans just what those who have ended may have added.
//!
//! Why that is enough: a writer takes its lock before `nextval` and gives it up only after its rows are visible.
//! A writer first seen in look k was not there in look k-1, so all its seqs are above what the sequence stood at
//! before look k-1's locks were read: the value of look k-2, since within one look the order of the two reads is
//! unknown. The same bound covers a writer that came and went between two looks. A writer that stays open for an hour
//! costs one rescan, when it ends; nothing while it is open.

use std::collections::HashMap;

use crate::row::Seq;

/// Tracks writers, and says from where to rescan.
#[derive(Debug, Default)]
pub struct Stragglers {
    /// Sequence value of the look before the last, and of the last.
    bounds: Option<(Seq, Seq)>,
    /// Every writer of the last look, with a bound below all its seqs.
    writers: HashMap<String, Seq>,
}

impl Stragglers {
    /// Takes one look: the sequence's value and the writers' virtual transaction ids. Returns the seq above which
    /// ready rows must be scanned again; nothing can have appeared at or below it since the last look.
    ///
    /// The very first look returns 0: everything.
    pub fn look(&mut self, last_value: Seq, writers: Vec<String>) -> Seq {
        let (bound, previous) = self.bounds.unwrap_or((0, 0));
        let mut current = HashMap::with_capacity(writers.len());
        for writer in writers {
            let since = self.writers.remove(&writer).unwrap_or(bound);
            current.insert(writer, since);
        }
        // What is left in the old map has ended.
        let low = self.writers.values().copied().min().unwrap_or(bound).min(bound);
        self.writers = current;
        self.bounds = Some((previous, last_value));
        low
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
        stragglers.look(100, vec![]);
        stragglers.look(100, vec![]);
        assert_eq!(stragglers.look(110, vec!["old".into()]), 100);
        for last_value in 111..500 {
            assert!(stragglers.look(last_value, vec!["old".into()]) >= 100.min(last_value - 2));
        }
        assert_eq!(stragglers.look(500, vec!["old".into()]), 498);
        assert_eq!(stragglers.look(501, vec![]), 100, "everything it may have written");
        assert_eq!(stragglers.look(501, vec![]), 500, "and then no more");
    }

    /// What a random history of writers does: begin takes the lock, insert takes seqs, end makes rows visible.
    #[derive(Debug, Clone)]
    enum Step {
        Begin,
        Insert(usize),
        End(usize),
        /// A look whose two reads have up to two other steps between them, in either order.
        Look {
            sequence_first: bool,
        },
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
            1 => any::<bool>().prop_map(|sequence_first| Step::Look { sequence_first }),
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
            for step in &steps {
                match step {
                    Step::Between(a, b) => between = vec![(**a).clone(), (**b).clone()],
                    Step::Look { sequence_first } => {
                        let (last_value, writers);
                        if *sequence_first {
                            last_value = world.sequence;
                            between.drain(..).for_each(|step| world.apply(&step));
                            writers = world.open.iter().map(|(name, _)| name.clone()).collect();
                        } else {
                            writers = world.open.iter().map(|(name, _)| name.clone()).collect();
                            between.drain(..).for_each(|step| world.apply(&step));
                            last_value = world.sequence;
                        }
                        let low = stragglers.look(last_value, writers);
                        // The scan comes after the look, so it may see more than the look knew.
                        found.extend(world.visible.range(low + 1..));
                    }
                    other => world.apply(other),
                }
            }
            while !world.open.is_empty() {
                world.apply(&Step::End(0));
            }
            for _ in 0..2 {
                let low = stragglers.look(world.sequence, vec![]);
                found.extend(world.visible.range(low + 1..));
            }
            prop_assert_eq!(&found, &world.visible);
        }
    }
}
