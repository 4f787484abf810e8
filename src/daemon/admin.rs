//! What relay's admin listener answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{
    admin::{Admin, readiness},
    health::Health,
    metrics::{self, Metrics},
    telemetry::Tracer,
};

/// What is asked of a running outbox.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    /// Its name, where there are several.
    name: Option<String>,
    metrics: Metrics,
    /// Whether it can work.
    pub(super) health: Health,
    /// Whether it moves.
    pub(super) beat: Beat,
}

impl Probe {
    pub(super) fn new(name: Option<String>, metrics: Metrics, health: Health) -> Self {
        Self { name, metrics, health, beat: Beat::start() }
    }

    /// A line about this outbox.
    fn says(&self, line: String) -> String {
        match &self.name {
            Some(name) => format!("outbox {name}: {line}"),
            None => line,
        }
    }

    fn stuck(&self) -> Option<String> {
        let age = self.beat.age();
        (age >= STUCK).then(|| self.says(format!("the engine has not moved for {age:?}")))
    }
}

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

/// The answers, for all outboxes together.
pub(super) fn admin(outboxes: Vec<Probe>, tracer: Tracer) -> Admin {
    let metrics: Vec<_> = outboxes.iter().map(|outbox| outbox.metrics.clone()).collect();
    let outboxes: Arc<[Probe]> = outboxes.into();
    let living = Arc::clone(&outboxes);
    Admin {
        metrics: Arc::new(move || {
            let text = metrics::render(&metrics).map_err(|error| error.to_string())?;
            Ok(text + &tracer.metrics()?)
        }),
        alive: Arc::new(move || {
            let stuck: Vec<_> = living.iter().filter_map(Probe::stuck).collect();
            if stuck.is_empty() { Ok("alive\n".to_owned()) } else { Err(stuck.join("\n") + "\n") }
        }),
        ready: Arc::new(move || {
            let troubles = |outbox: &Probe| {
                outbox.health.troubles().into_iter().map(|trouble| outbox.says(trouble)).collect::<Vec<_>>()
            };
            readiness(&outboxes.iter().flat_map(troubles).collect::<Vec<_>>())
        }),
    }
}
