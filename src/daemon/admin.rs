//! What relay's admin listener answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::Shared;
use crate::admin::{Admin, readiness};

/// When the engine last took a step, for `/livez`.
/// By the monotonic clock: setting the time of day must not look like a stuck engine, nor hide one.
#[derive(Debug, Clone)]
pub(super) struct Beat {
    start: Instant,
    /// Milliseconds since the start.
    last: Arc<AtomicU64>,
}

impl Beat {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), last: Arc::default() }
    }

    pub(super) fn now(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Relaxed);
    }

    fn age(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Relaxed)))
    }
}

/// The engine takes a step every few seconds at least; silence for this long means it is stuck.
const STUCK: Duration = Duration::from_secs(300);

/// The answers.
pub(super) fn admin(shared: &Shared, beat: Beat) -> Admin {
    let (metrics, health) = (shared.metrics.clone(), shared.health.clone());
    Admin {
        metrics: Arc::new(move || metrics.render().map_err(|error| error.to_string())),
        alive: Arc::new(move || match beat.age() {
            age if age < STUCK => Ok("alive\n".to_owned()),
            age => Err(format!("the engine has not moved for {age:?}\n")),
        }),
        ready: Arc::new(move || readiness(&health.troubles())),
    }
}
