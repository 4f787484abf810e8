//! Whether relay can do its work, and if not, why: one line in the log for each change, and `/readyz`.

use std::{
    collections::BTreeMap,
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

/// Each use of a part, and why it fails, if it does.
type Uses = BTreeMap<(Part, &'static str), Option<String>>;

/// The state of every part. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Uses>>);

impl Health {
    /// Nothing is known to work yet.
    #[must_use]
    pub fn new() -> Self {
        let health = Self::default();
        for part in [Part::Database, Part::Broker] {
            health.lock().insert((part, "connection"), Some("not connected yet".to_owned()));
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

    /// A use of a part fails, with the cause and its cure. Logs each cause once, not each attempt.
    pub fn down(&self, part: Part, what: &'static str, cause: &str) {
        let before = self.lock().insert((part, what), Some(cause.to_owned()));
        if before.flatten().as_deref() != Some(cause) {
            tracing::warn!(part = part.as_str(), what, "{} is down: {cause}", part.as_str());
        }
    }

    /// What is wrong; empty when relay can work.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        self.lock()
            .iter()
            .filter(|((part, _), _)| *part != Part::Notifications)
            .filter_map(|((part, what), cause)| {
                cause.as_ref().map(|cause| format!("{} ({what}): {cause}", part.as_str()))
            })
            .collect()
    }
}
