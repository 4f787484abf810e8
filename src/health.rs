//! Whether relay can do its work, and if not, why: one line in the log for each change, and `/readyz`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

/// Something relay needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The database, for leases, scans and marks.
    Database,
    /// The broker, with its exchange and dead-letter objects.
    Broker,
    /// Notifications, which only make relay quicker: without them it polls, and is ready all the same.
    Notifications,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Broker => "broker",
            Self::Notifications => "notifications",
        }
    }
}

/// Each use of a part, and how it fails, if it does.
type Uses = BTreeMap<(Part, &'static str), Option<Failing>>;

/// How many causes of one spell are remembered. A server on its way down shows a few, in turns.
const CAUSES: usize = 8;

/// A use that fails, since it worked last.
#[derive(Debug, Default)]
struct Failing {
    cause: String,
    /// Causes that were logged.
    said: BTreeSet<String>,
}

impl Failing {
    fn with(cause: &str) -> Self {
        Self { cause: cause.to_owned(), said: BTreeSet::new() }
    }

    /// Whether the cause is to be logged.
    fn shows(&mut self, cause: &str) -> bool {
        cause.clone_into(&mut self.cause);
        if self.said.len() >= CAUSES && !self.said.contains(cause) {
            self.said.clear();
        }
        self.said.insert(cause.to_owned())
    }
}

/// The state of every part. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Uses>>);

impl Health {
    /// Nothing is known to work yet.
    #[must_use]
    pub fn new() -> Self {
        Self::waiting_for(&[Part::Database, Part::Broker])
    }

    /// The same, of whatever needs just these parts.
    #[must_use]
    pub fn waiting_for(parts: &[Part]) -> Self {
        let health = Self::default();
        for part in parts {
            health.lock().insert((*part, "connection"), Some(Failing::with("not connected yet")));
        }
        health
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Uses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A use of a part works. Logs it if it did not before.
    pub fn up(&self, part: Part, what: &'static str) {
        let before = self.lock().insert((part, what), None);
        if matches!(before, Some(Some(_))) {
            tracing::info!(part = part.as_str(), what, "{} is up: {what}", part.as_str());
        }
    }

    /// A use of a part fails, with the cause and its cure. Logs each cause once until it works again, not each attempt.
    pub fn down(&self, part: Part, what: &'static str, cause: &str) {
        let new = self.lock().entry((part, what)).or_default().get_or_insert_default().shows(cause);
        if new {
            tracing::warn!(part = part.as_str(), what, "{} is down: {cause}", part.as_str());
        }
    }

    /// What is wrong; empty when relay can work.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        self.lock()
            .iter()
            .filter(|((part, _), _)| *part != Part::Notifications)
            .filter_map(|((part, what), failing)| {
                failing.as_ref().map(|failing| format!("{} ({what}): {}", part.as_str(), failing.cause))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> Health {
        let health = Health::new();
        health.up(Part::Database, "connection");
        health.up(Part::Broker, "connection");
        health
    }

    #[test]
    fn nothing_is_ready_before_both_servers_were_there() {
        let health = Health::new();
        assert_eq!(health.troubles().len(), 2);
        health.up(Part::Broker, "connection");
        assert_eq!(health.troubles(), ["database (connection): not connected yet"]);
    }

    #[test]
    fn a_use_that_fails_stays_down_until_it_works_itself_whatever_others_of_its_part_do() {
        let health = connected();
        for _ in 0..3 {
            health.down(Part::Database, "scanning for due rows", "permission denied");
            health.up(Part::Database, "scanning for new rows");
            health.up(Part::Database, "scanning");
            assert_eq!(health.troubles(), ["database (scanning for due rows): permission denied"]);
        }
        health.up(Part::Database, "scanning for due rows");
        assert!(health.troubles().is_empty());
    }

    #[test]
    fn causes_that_take_turns_are_said_once_each_and_the_last_one_is_shown() {
        let mut failing = Failing::default();
        let said = (0..100).filter(|n| failing.shows(["reset", "refused"][n % 2])).count();
        assert_eq!((said, failing.cause.as_str()), (2, "refused"));
        let said = (0..100).filter(|n| failing.shows(&n.to_string())).count();
        assert_eq!(said, 100);
        assert!(failing.said.len() <= CAUSES);
    }

    #[test]
    fn without_notifications_relay_is_ready_all_the_same() {
        let health = connected();
        health.down(Part::Notifications, "listening", "a pooler in between");
        assert!(health.troubles().is_empty());
    }
}
