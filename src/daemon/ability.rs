//! Whether a relay can do its work, and so should have its share of the lanes.
//!
//! A relay that can't read the outbox, write to it or publish keeps nobody from their rows: it leaves its lanes to those
//! who can. Not at once: a server that restarts is away from all relays, and soon back. What failed once counts as failing
//! until it is seen to work, so whoever does it has to try it on his own account when no lane asks for it any more.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

/// What a relay does for its lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Duty {
    /// A session with the broker, whose exchange takes messages.
    Publishing,
    /// A connection to scan by.
    Scanning,
    /// Each kind of scan. One that fails stays down until it succeeds, whatever the others do.
    NewRows,
    DueRows,
    ReleasedRows,
    /// Marks, and whatever else becomes of rows.
    Writing,
}

impl Duty {
    /// Whether it is the broker that it needs, and not the database.
    pub(super) fn is_the_brokers(self) -> bool {
        self == Self::Publishing
    }

    /// Its name in the log and in `/readyz`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Publishing => "publishing",
            Self::Scanning => "scanning",
            Self::NewRows => "scanning for new rows",
            Self::DueRows => "scanning for due rows",
            Self::ReleasedRows => "scanning for released rows",
            Self::Writing => "writing",
        }
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What fails, and since when.
#[derive(Debug)]
pub(super) struct Ability {
    /// Without a moment: it never worked.
    failing: BTreeMap<Duty, Option<Instant>>,
}

/// A relay that has just started knows of no broker. That the database works it knows before it has a lane.
impl Default for Ability {
    fn default() -> Self {
        Self { failing: BTreeMap::from([(Duty::Publishing, None)]) }
    }
}

impl Ability {
    /// It works. Returns whether that is news.
    pub(super) fn works(&mut self, duty: Duty) -> bool {
        self.failing.remove(&duty).is_some()
    }

    /// It failed. Returns whether that is news.
    pub(super) fn fails(&mut self, now: Instant, duty: Duty) -> bool {
        let news = !self.failing.contains_key(&duty);
        self.failing.entry(duty).or_insert(Some(now));
        news
    }

    /// The database is away altogether. What fails there counts from now on only: once it is back, all relays need a moment.
    pub(super) fn excuse(&mut self, now: Instant) {
        let failing = self.failing.iter_mut().filter(|(duty, _)| !duty.is_the_brokers());
        failing.for_each(|(_, since)| *since = Some(now));
    }

    /// What has failed for the length of a lease or longer.
    pub(super) fn lacking(&self, now: Instant, lease: Duration) -> Vec<Duty> {
        let long =
            |since: &Option<Instant>| since.is_none_or(|at| now.saturating_duration_since(at) >= lease);
        self.failing.iter().filter(|(_, since)| long(since)).map(|(duty, _)| *duty).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    fn well() -> Ability {
        let mut ability = Ability::default();
        ability.works(Duty::Publishing);
        ability
    }

    #[test]
    fn a_relay_that_never_had_a_broker_can_not_work() {
        let now = Instant::now();
        let mut ability = Ability::default();
        assert_eq!(ability.lacking(now, LEASE), [Duty::Publishing]);
        ability.fails(now, Duty::Publishing);
        assert_eq!(ability.lacking(now, LEASE), [Duty::Publishing], "not from now on");
        assert!(ability.works(Duty::Publishing), "that is news");
        assert_eq!(ability.lacking(now, LEASE), []);
    }

    #[test]
    fn what_fails_for_a_lease_on_end_is_lacking_however_often_it_is_tried() {
        let start = Instant::now();
        let mut ability = well();
        assert!(ability.fails(start, Duty::Writing));
        for seconds in 1..10 {
            let now = start + SECOND * seconds;
            assert!(!ability.fails(now, Duty::Writing), "no news");
            assert_eq!(ability.lacking(now, LEASE), []);
        }
        assert_eq!(ability.lacking(start + LEASE, LEASE), [Duty::Writing]);
    }

    #[test]
    fn what_worked_in_between_fails_anew() {
        let start = Instant::now();
        let mut ability = well();
        for turn in 0..10 {
            let now = start + LEASE * turn;
            ability.fails(now, Duty::NewRows);
            assert_eq!(ability.lacking(now + LEASE - SECOND, LEASE), []);
            ability.works(Duty::NewRows);
        }
        assert_eq!(ability.lacking(start + LEASE * 20, LEASE), []);
    }

    #[test]
    fn while_the_database_is_away_altogether_no_failure_there_counts() {
        let start = Instant::now();
        let mut ability = well();
        ability.fails(start, Duty::Scanning);
        ability.fails(start, Duty::Publishing);
        let back = start + LEASE * 3;
        ability.excuse(back);
        assert_eq!(ability.lacking(back + LEASE - SECOND, LEASE), [Duty::Publishing]);
        assert_eq!(ability.lacking(back + LEASE, LEASE), [Duty::Publishing, Duty::Scanning]);
    }

    #[test]
    fn no_duty_that_works_makes_up_for_another() {
        let start = Instant::now();
        let mut ability = well();
        ability.fails(start, Duty::ReleasedRows);
        ability.works(Duty::NewRows);
        ability.works(Duty::Scanning);
        assert_eq!(ability.lacking(start + LEASE, LEASE), [Duty::ReleasedRows]);
        ability.works(Duty::ReleasedRows);
        assert_eq!(ability.lacking(start + LEASE, LEASE), []);
    }
}
