//! What every request shares.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, watch};

use super::{
    bucket::Rate,
    callers::{Caller, Callers},
    pool::Sessions,
    trace::Trace,
    waiting::Waiting,
};
use crate::{
    health::Health,
    metrics::ApiMetrics,
    postgres::{pool::Pool, settings::DatabaseSettings},
    shipping::{carrier::signature::SignaturePolicy, saga, store::Store},
    telemetry::Tracer,
};

/// Everything the API needs to know, checked.
#[derive(Debug)]
pub struct ApiSettings {
    /// The database.
    pub database: DatabaseSettings,
    /// Who may call.
    pub callers: Callers,
    /// The carrier's webhooks, if they come here.
    pub carrier: Option<CarrierWebhooks>,
    /// Bounds.
    pub limits: Limits,
    /// How long an idempotency key is kept.
    pub key_lifetime: Duration,
    /// How long an endpoint's previous secret signs beside the new one.
    pub secret_overlap: Duration,
    /// Whether webhooks may go to plain http on loopback: for development.
    pub loopback_endpoints: bool,
    /// How long a drain may take.
    pub grace: Duration,
    /// Makes spans of requests.
    pub tracer: Tracer,
}

/// The carrier's webhooks.
#[derive(Debug)]
pub struct CarrierWebhooks {
    /// How they must be signed.
    pub policy: SignaturePolicy,
    /// The path that the carrier was told to call, as it signs it.
    pub path: String,
}

/// Bounds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections to the database.
    pub sessions: usize,
    /// Connections of clients.
    pub connections: usize,
    /// Requests at a time.
    pub requests: usize,
    /// Requests that may wait for a change at a time.
    pub waiting: usize,
    /// Bytes of a body; a batch may have eight times as many.
    pub body: usize,
    /// Bytes of all bodies at a time.
    pub bodies: usize,
    /// Requests of each caller.
    pub rate: Rate,
    /// How long a request may take to arrive, its head and its body each.
    pub arrival: Duration,
    /// How long a request may be worked at.
    pub work: Duration,
    /// The longest `?wait=`.
    pub wait: Duration,
}

impl Limits {
    /// The longest body of all: a batch's.
    pub(super) const fn longest(&self) -> usize {
        self.body.saturating_mul(8)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 8,
            connections: 1024,
            requests: 256,
            waiting: 512,
            body: 256 * 1024,
            bodies: 32 * 1024 * 1024,
            rate: Rate { per_second: 500.0, burst: 1000.0 },
            arrival: Duration::from_secs(10),
            work: Duration::from_secs(10),
            wait: Duration::from_secs(30),
        }
    }
}

/// What every request shares. Cheap to clone.
pub(super) type Api = Arc<Shared>;

/// The parts of it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: ApiSettings,
    pub(super) store: Store,
    pub(super) pool: Pool<Sessions>,
    pub(super) waiting: Waiting,
    pub(super) metrics: ApiMetrics,
    pub(super) health: Health,
    /// Places for requests.
    pub(super) places: Semaphore,
    /// Room for their bodies, in KiB.
    pub(super) room: Semaphore,
    /// Whoever sends the carrier's webhooks.
    pub(super) carrier: Arc<Caller>,
    /// Rises when a drain begins, and again when it is to end at once.
    pub(super) stop: watch::Receiver<u8>,
}

impl Shared {
    pub(super) fn new(
        settings: ApiSettings,
        metrics: ApiMetrics,
        health: Health,
        stop: watch::Receiver<u8>,
    ) -> Self {
        let store = Store::new(&settings.database.schema, saga::Limits::default());
        let limits = settings.limits;
        let sessions =
            Sessions { settings: settings.database.clone(), store: store.clone(), wait: limits.work / 2 };
        Self {
            pool: Pool::new(limits.sessions, sessions),
            waiting: Waiting::new(limits.waiting),
            places: Semaphore::new(limits.requests),
            room: Semaphore::new(limits.bodies.max(limits.longest()).div_ceil(1024)),
            carrier: Arc::new(Caller::new("carrier", limits.rate)),
            settings,
            store,
            metrics,
            health,
            stop,
        }
    }
}

/// Whose request it is.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) caller: Arc<Caller>,
    pub(super) trace: Arc<Trace>,
}
