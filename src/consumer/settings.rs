//! What a consumer needs to know.

use std::time::Duration;

use crate::{
    amqp::{AmqpSettings, QueueSpec},
    postgres::settings::DatabaseSettings,
    retry::RetryPolicy,
    telemetry::Tracer,
};

/// The longest name of a consumer, in bytes: it is a header, a label and half of a primary key.
const NAME_BYTES: usize = 100;

/// A consumer's settings. [`ConsumerSettings::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Its name: what the inbox, dead letters and metrics know it by. Renamed, it has done nothing yet.
    pub name: String,
    /// Its queue. Every consumer has a queue of its own; several processes of one consumer share it.
    pub queue: QueueSpec,
    /// Whether to declare the queue and its bindings, or only to check that it is there.
    pub declare: bool,
    /// Where dead letters go.
    pub dead_letter_exchange: String,
    /// The database of the inbox and of the handler's tables.
    pub database: DatabaseSettings,
    /// Connections to it, at most.
    pub connections: usize,
    /// The broker.
    pub amqp: AmqpSettings,
    /// Messages that are in work at the same time.
    pub workers: usize,
    /// Messages that a [`Transactional`](super::Transactional) handler takes into one transaction, at most.
    pub batch: usize,
    /// Messages that the broker hands out ahead, at most: see [`Self::window`].
    pub prefetch: u16,
    /// The largest body; a larger one is garbage.
    pub body_bytes: usize,
    /// Bodies in memory, at most.
    pub memory_bytes: usize,
    /// Whether messages of one key are in work one after the other, and wait for one of them that is to be tried again.
    /// For order over several processes the queue must be `single_active` as well.
    pub in_order: bool,
    /// When a failed message is tried again, and how often.
    pub retry: RetryPolicy,
    /// What one attempt at one message may take, in all; at most 50 s where it is inside a transaction.
    pub deadline: Duration,
    /// What a claim holds beyond the deadline: for the transactions before and after the work. A worker that died is
    /// followed after both.
    pub claim_margin: Duration,
    /// How long it is remembered what was done. Longer than any duplicate or replay may be late.
    pub horizon: Duration,
    /// Between two looks for what is due, at most.
    pub poll: Duration,
    /// How long a drain may take.
    pub grace: Duration,
    /// Makes spans of what is processed; none by default.
    pub tracer: Tracer,
}

/// A setting that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("consumer {consumer:?}: {problem}")]
pub struct SettingsError {
    consumer: String,
    problem: String,
}

impl ConsumerSettings {
    /// The defaults, for a consumer of this name on this queue.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        queue: QueueSpec,
        database: DatabaseSettings,
        amqp: AmqpSettings,
    ) -> Self {
        Self {
            name: name.into(),
            queue,
            declare: true,
            dead_letter_exchange: "outbox.dlx".to_owned(),
            database,
            connections: 4,
            amqp,
            workers: 4,
            batch: 64,
            prefetch: 256,
            body_bytes: 256 * 1024,
            memory_bytes: 64 * 1024 * 1024,
            in_order: false,
            retry: RetryPolicy {
                max_attempts: 8,
                floor: Duration::from_secs(1),
                cap: Duration::from_secs(300),
            },
            deadline: Duration::from_secs(30),
            claim_margin: Duration::from_secs(30),
            horizon: Duration::from_secs(30 * 24 * 60 * 60),
            poll: Duration::from_secs(1),
            grace: Duration::from_secs(20),
            tracer: Tracer::default(),
        }
    }

    /// Messages that the broker hands out ahead: no more than `prefetch`, and no more than have room in memory were each
    /// as large as can be. AMQP offers no window in bytes.
    #[must_use]
    pub fn window(&self) -> u16 {
        let fitting = self.memory_bytes / self.body_bytes.max(1);
        self.prefetch.min(u16::try_from(fitting).unwrap_or(u16::MAX)).max(1)
    }

    /// How long a claim holds without a sign of life of its worker.
    #[must_use]
    pub fn claim(&self) -> Duration {
        self.deadline + self.claim_margin
    }

    /// Refuses what can't work.
    ///
    /// # Errors
    /// What is wrong, and with which setting.
    pub fn check(&self) -> Result<(), SettingsError> {
        let counts = [
            ("connections", self.connections),
            ("workers", self.workers),
            ("batch", self.batch),
            ("body_bytes", self.body_bytes),
            ("prefetch", usize::from(self.prefetch)),
            ("retry.max_attempts", self.retry.max_attempts as usize),
        ];
        let times = [
            ("deadline", self.deadline),
            ("claim_margin", self.claim_margin),
            ("poll", self.poll),
            ("horizon", self.horizon),
        ];
        let problem = if self.name.is_empty() || self.name.len() > NAME_BYTES || self.name.contains('\0') {
            Some(format!("the name has to have 1 to {NAME_BYTES} bytes and no NUL"))
        } else if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            Some(format!("{name} has to be at least 1"))
        } else if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            Some(format!("{name} has to be more than nothing"))
        } else if self.memory_bytes < self.body_bytes {
            Some("memory_bytes has to hold one body of body_bytes".to_owned())
        } else if self.retry.floor > self.retry.cap {
            Some("retry.floor is longer than retry.cap".to_owned())
        } else if i32::try_from(self.retry.max_attempts).is_err() {
            Some("retry.max_attempts is beyond what a column holds".to_owned())
        } else {
            None
        };
        match problem {
            Some(problem) => Err(SettingsError { consumer: self.name.clone(), problem }),
            None => Ok(()),
        }
    }
}
