//! `relay run`: one process, one or several outboxes, each with tasks, connections and an engine of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::Router;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{Instrument, Span};
use uuid::Uuid;

use self::ability::{Ability, Duty};
use crate::{
    amqp::{AmqpSettings, Topology},
    drain::{Ended, signalled},
    envelope::Policy,
    health::{Health, Part},
    letter::Fetched,
    metrics::Metrics,
    pause::Pauses,
    postgres::{
        connect::{DatabaseError, Trouble},
        settings::DatabaseSettings,
    },
    relay::{engine::Settings, input::Input},
    telemetry::Tracer,
};

mod ability;
mod admin;
mod aside;
mod broker;
mod janitor;
mod leasing;
mod listening;
mod measuring;
mod outbox;
mod publishing;
mod scanning;
mod traces;
mod writing;

use traces::Traces;

/// An outbox to run.
#[derive(Debug)]
pub struct Outbox {
    /// Its name, for logs and answers.
    pub name: String,
    /// All there is to know about it.
    pub settings: OutboxSettings,
    /// What it reports.
    pub metrics: Metrics,
    /// Whether it can work.
    pub health: Health,
}

/// Where it answers questions.
#[derive(Debug)]
pub struct Door {
    /// Where that is.
    pub listener: TcpListener,
    /// What is served there beside metrics and probes.
    pub others: Router,
}

/// Everything that running an outbox takes, checked.
#[derive(Debug, Clone)]
pub struct OutboxSettings {
    /// The database.
    pub database: DatabaseSettings,
    /// Where to listen for notifications, if at all: a direct URL where the other leads through a pooler.
    pub listen: Option<DatabaseSettings>,
    /// The broker.
    pub amqp: AmqpSettings,
    /// Its objects.
    pub topology: Topology,
    /// Whether to declare them, or only verify.
    pub declare: bool,
    /// How messages are made.
    pub policy: Arc<Policy>,
    /// The engine's.
    pub engine: Settings,
    /// From which age on a transaction that holds cleanup back is named in the log.
    pub old_transaction: Duration,
    /// How long a lease lasts.
    pub lease: Duration,
    /// How long a drain may take.
    pub grace: Duration,
    /// How long finished rows stay in the table; none: for ever.
    pub retention: Option<Duration>,
}

/// What every task shares.
#[derive(Debug, Clone)]
struct Shared {
    settings: Arc<OutboxSettings>,
    relay: Uuid,
    health: Health,
    metrics: Metrics,
    clock: DatabaseClock,
    /// Whether the schema was found to have every migration that this version knows.
    migrated: watch::Sender<bool>,
    traces: Traces,
    /// What operators have paused, as last seen.
    pauses: watch::Sender<Pauses>,
    /// What of its work this relay can't do.
    ability: watch::Sender<Ability>,
    inputs: mpsc::UnboundedSender<Input<Fetched>>,
}

/// Which of the servers a duty needs.
fn part(duty: Duty) -> Part {
    if duty.is_the_brokers() { Part::Broker } else { Part::Database }
}

impl Shared {
    /// Tells the engine. After the engine has stopped nobody listens, and nothing depends on it any more.
    fn tell(&self, input: Input<Fetched>) {
        let _ = self.inputs.send(input);
    }

    /// Waits until the schema is as this version needs it. Leasing finds that out and says what is missing; without a lane
    /// the engine asks for nothing, and what runs of its own accord waits here.
    async fn migrated(&self) {
        // The sender is our own, so it is there.
        let _ = self.migrated.subscribe().wait_for(|migrated| *migrated).await;
    }

    /// Something that a relay must be able to do worked.
    fn works(&self, duty: Duty) {
        self.health.up(part(duty), duty.as_str());
        self.ability.send_if_modified(|ability| ability.works(duty));
    }

    /// Something that a relay must be able to do failed at the database.
    fn fails(&self, duty: Duty, error: &DatabaseError) {
        self.health.down(part(duty), duty.as_str(), &error.with_cure());
        // A statement that lost to another one, or took too long, would do so for any relay.
        if error.kind() != Trouble::Statement {
            self.unable(duty);
        }
    }

    fn unable(&self, duty: Duty) {
        self.ability.send_if_modified(|ability| ability.fails(Instant::now(), duty));
    }

    fn progressed(&self) {
        self.metrics.last_progress.set(unix_now().as_secs_f64());
    }
}

/// What the database's clock shows, estimated from ours and their last known difference.
#[derive(Debug, Clone, Default)]
struct DatabaseClock(Arc<AtomicI64>);

impl DatabaseClock {
    fn set(&self, database_us: i64) {
        self.0.store(database_us.saturating_sub(unix_now_us()), Relaxed);
    }

    /// Microseconds since the Unix epoch.
    fn now_us(&self) -> i64 {
        unix_now_us().saturating_add(self.ahead_us())
    }

    /// How far it is ahead of ours, in microseconds.
    fn ahead_us(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn unix_now_us() -> i64 {
    i64::try_from(unix_now().as_micros()).unwrap_or(i64::MAX)
}

/// Runs every outbox until `stop` says 1 (drain) and, if need be, 2 (at once). None waits for another; but one that fails,
/// which only a mistake in relay makes it do, ends all, for whoever supervises relay to start it anew.
pub async fn run(outboxes: Vec<Outbox>, tracer: Tracer, door: Door, mut stop: watch::Receiver<u8>) -> Ended {
    let several = outboxes.len() > 1;
    let (end, ending) = watch::channel(0);
    let (mut probes, mut running) = (Vec::new(), JoinSet::new());
    for outbox in outboxes {
        let name = several.then(|| outbox.name.clone());
        let probe = admin::Probe::new(name, outbox.metrics.clone(), outbox.health.clone());
        probes.push(probe.clone());
        // At this level no filter drops it, and with it the name.
        let span = if several { tracing::error_span!("outbox", outbox = %outbox.name) } else { Span::none() };
        running.spawn(outbox::run(outbox, tracer.clone(), probe, ending.clone()).instrument(span));
    }
    let Door { listener, others } = door;
    let mut serving =
        tokio::spawn(crate::admin::serve_beside(listener, admin::admin(probes, tracer), others));
    let mut worst = Ended::Drained;
    loop {
        let seen = *end.borrow();
        tokio::select! {
            ended = running.join_next() => match ended {
                Some(ended) => {
                    worst = worst.max(ended.unwrap_or(Ended::Failed));
                    end.send_modify(|count| *count = (*count).max(1));
                }
                None => return worst,
            },
            () = signalled(&mut stop, seen.saturating_add(1)) => {
                let count = *stop.borrow();
                end.send_modify(|seen| *seen = (*seen).max(count));
            }
            _ = &mut serving, if worst != Ended::Failed => {
                worst = Ended::Failed;
                end.send_modify(|count| *count = (*count).max(1));
            }
        }
    }
}
