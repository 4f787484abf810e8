//! Idempotent consumers: each message's effect exactly once, whatever is delivered twice and whoever dies when.
//!
//! A handler is one of two kinds. A [`Transactional`] one only writes the database, in one transaction with the message's
//! row in `relay.inbox`. An [`External`] one has an effect elsewhere: the message, the attempt and a claim are committed
//! before it, its result after it. A message that fails is kept in the inbox, acknowledged, and tried again when it is
//! due; nothing sleeps on an unacknowledged message. What has had all its attempts is dead-lettered, and then dead, and
//! `relay replay-dlq --consumer NAME` gives it new ones. docs/consumers.md says more, with an example.
//!
//! | task | connection | does |
//! |---|---|---|
//! | `intake` | AMQP | consumes, checks, acknowledges |
//! | `worker`s | Postgres, out of a pool | have the handler do the work |
//! | `due` | the same | claims what is due, forgets what is old |
//! | `burial` | AMQP, opened when needed | publishes dead letters |

mod burial;
mod delivery;
mod due;
mod external;
mod failure;
mod handler;
mod inbox;
mod intake;
mod letter;
mod lines;
mod outgoing;
mod settings;
mod shared;
mod step;
mod transactional;
mod work;
mod worker;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, Notify, mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};

pub use delivery::{Delivery, GarbageReason};
pub use failure::{BoxError, EXHAUSTED, Failure, LONGEST_WAIT};
pub use handler::{External, Transactional};
pub use outgoing::{Event, Outbox};
pub use settings::{ConsumerSettings, SettingsError};

pub use crate::postgres::transaction::Tx;

use crate::{health::Health, metrics::ConsumerMetrics, postgres::pool::Pool, telemetry::Server};
use inbox::Sessions;
use lines::{Lines, left_out};
use shared::Shared;
use step::Effect;

/// Dead letters that may wait for the one that is being published.
const LETTERS: usize = 16;
/// For the broker to hear the last words of a drain.
const GOODBYE: Duration = Duration::from_secs(3);

/// A handler of either kind.
#[derive(Clone)]
pub struct Handler(Arc<dyn Effect>);

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handler")
    }
}

impl Handler {
    /// One that only writes the database.
    pub fn transactional(handler: impl Transactional) -> Self {
        Self(Arc::new(transactional::InTransaction(handler)))
    }

    /// One with an effect outside of the database.
    pub fn external(handler: impl External) -> Self {
        Self(Arc::new(external::Outside(handler)))
    }
}

/// How a consumer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// What was begun is done, the rest was given back.
    Drained,
    /// The grace ran out: what was not done was broken off, and is done again by whoever comes next.
    GraceOver,
}

/// Runs a consumer until `stop` says true, and then drains it. Servers that are away are waited for, however long; what is
/// wrong meanwhile stands in `health`, and each cause once in the log.
///
/// `metrics` may be shared by several consumers of a process; `health` is this one's own.
///
/// # Errors
/// At once, when the settings can't be.
pub async fn run(
    settings: ConsumerSettings,
    handler: Handler,
    metrics: ConsumerMetrics,
    health: Health,
    stop: watch::Receiver<bool>,
) -> Result<Ended, SettingsError> {
    settings.check()?;
    metrics.introduce(&settings.name);
    // Ours to send: a caller's that was dropped would never say true.
    let (told, stopping) = watch::channel(false);
    let (letters, postings) = mpsc::channel(LETTERS);
    let (settle, settles) = mpsc::unbounded_channel();
    let (throw_away, trash) = mpsc::unbounded_channel();
    let effect = handler.0;
    // Whatever the broker may hand out, and whatever is claimed ahead, has a place in one queue: giving never waits.
    let room = usize::from(settings.window()) + 2 * settings.workers;
    let queues = if settings.in_order { settings.workers } else { 1 };
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..queues)
        .map(|_| mpsc::channel(room))
        .map(|(sender, receiver)| (sender, Arc::new(Mutex::new(receiver))))
        .unzip();
    let workers = intake::Workers(senders);

    let mut others = JoinSet::new();
    others.spawn(burial::publish(settings.amqp.clone(), settings.name.clone(), health.clone(), postings));
    let shared = Arc::new(Shared {
        pool: Pool::new(settings.connections, Sessions(settings.clone())),
        metrics,
        health,
        letters,
        lines: Lines::new(),
        server: Server { address: settings.amqp.uri.host().to_owned(), port: settings.amqp.uri.port() },
        due: Notify::new(),
        recovered: Notify::new(),
        stop: stopping,
        settings,
    });
    others.spawn({
        let shared = Arc::clone(&shared);
        async move { shared.lines.summarize(left_out(&shared.settings.name)).await }
    });
    let mut busy = JoinSet::new();
    for index in 0..shared.settings.workers {
        let (shared, effect) = (Arc::clone(&shared), Arc::clone(&effect));
        let Some(queue) = receivers.get(index % queues).cloned() else { continue };
        busy.spawn(async move { worker::run(&shared, effect.as_ref(), &queue).await });
    }
    busy.spawn({
        let (shared, workers) = (Arc::clone(&shared), workers.clone());
        async move { due::run(&shared, workers).await }
    });
    busy.spawn({
        let shared = Arc::clone(&shared);
        async move { burial::sweep(&shared, trash).await }
    });
    let consuming = tokio::spawn({
        let shared = Arc::clone(&shared);
        let outlets = intake::Outlets { workers, trash: throw_away, settles: settle };
        async move { intake::run(&shared, outlets, settles).await }
    });
    let mut stop = stop;
    // An error means that nobody is left who could say so: then it is to stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
    told.send_replace(true);
    Ok(drain(&shared, busy, consuming).await)
}

/// Waits for the end of everything, as long as the grace allows.
async fn drain(shared: &Shared, mut busy: JoinSet<()>, mut consuming: tokio::task::JoinHandle<()>) -> Ended {
    tracing::info!(consumer = shared.settings.name, "draining");
    let until = Instant::now() + shared.settings.grace;
    let all = async { while busy.join_next().await.is_some() {} };
    let ended = match timeout_at(until, all).await {
        Ok(()) => Ended::Drained,
        Err(_) => {
            // Transactions are rolled back; what the broker or the inbox still has is done by somebody else.
            busy.shutdown().await;
            tracing::warn!(consumer = shared.settings.name, "the grace is over: work was broken off");
            Ended::GraceOver
        }
    };
    if timeout_at(Instant::now() + GOODBYE, &mut consuming).await.is_err() {
        consuming.abort();
    }
    shared.lines.finish(left_out(&shared.settings.name));
    ended
}
