//! An outbox as the page sees it: connections, what its relay reports, and what that was.

use std::{
    ops::Deref,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};

use super::{
    PageOutbox,
    history::{EVERY, History, Sample, UNKNOWN},
    problem::Problem,
};
use crate::{
    metrics::{Metrics, STATES},
    pause::Scope,
    postgres::{
        client::Client,
        connect::{DatabaseError, Trouble, connect},
        pool::{Lent, Opens, Pool, Seat},
        settings::DatabaseSettings,
    },
    shipping::{saga::Limits, store::Store},
};

/// Connections at most.
const CONNECTIONS: usize = 2;
/// How long a request waits for one.
const WAIT: Duration = Duration::from_secs(3);
/// How long a statement may take, and a connection to be made, if the settings allow as much.
const STATEMENT: Duration = Duration::from_secs(5);

/// One of them, and all that is known of it.
#[derive(Debug)]
pub(super) struct Watched {
    outbox: PageOutbox,
    pool: Pool<Sessions>,
    /// Shipping's tables, if they are in that database.
    pub(super) store: Store,
    has_shipping: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    history: History,
    last: Option<Last>,
    /// When the last sample was taken, in milliseconds since the Unix epoch.
    until: u64,
}

/// The last sample: when, and how many rows had been published.
#[derive(Debug, Clone, Copy)]
struct Last {
    at: Instant,
    published: u64,
}

/// Opens the sessions of requests.
#[derive(Debug)]
struct Sessions(DatabaseSettings);

impl Opens for Sessions {
    type Prepared = ();

    async fn open(&self) -> Result<Seat<()>, DatabaseError> {
        Ok(Seat { connection: connect(&self.0, "relay page").await?, prepared: () })
    }
}

/// A session on loan to a request.
pub(super) struct Session<'a>(Lent<'a, Sessions>);

impl Session<'_> {
    /// For statements.
    pub(super) fn client(&self) -> &Client {
        &self.0.seat.connection.client
    }

    /// Waits for the answer to statements, but not for ever.
    pub(super) async fn answer<T>(
        &self,
        work: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        self.0.seat.connection.answer(work).await
    }

    /// Ends the loan with what came of it. A connection that may be broken is closed, and so is one whose request was cut off
    /// and never gets here.
    pub(super) fn settle<T>(self, result: Result<T, DatabaseError>) -> Result<T, Problem> {
        if !matches!(&result, Err(error) if error.kind() == Trouble::Unreachable) {
            self.0.give_back();
        }
        Ok(result?)
    }
}

impl Deref for Watched {
    type Target = PageOutbox;

    fn deref(&self) -> &PageOutbox {
        &self.outbox
    }
}

impl Watched {
    pub(super) fn new(mut outbox: PageOutbox) -> Self {
        let database = &mut outbox.database;
        database.connect_timeout = database.connect_timeout.min(STATEMENT);
        database.statement_timeout = database.statement_timeout.min(STATEMENT);
        Self {
            pool: Pool::new(CONNECTIONS, Sessions(database.clone())),
            store: Store::new(&database.schema, Limits::default()),
            has_shipping: AtomicBool::new(false),
            kept: Mutex::new(Kept { history: History::new(), last: None, until: 0 }),
            outbox,
        }
    }

    /// The schema of its tables.
    pub(super) fn schema(&self) -> &str {
        &self.outbox.database.schema
    }

    /// A session with its database.
    ///
    /// # Errors
    /// When none becomes free in time, or none can be opened.
    pub(super) async fn session(&self) -> Result<Session<'_>, Problem> {
        let Ok(turn) = tokio::time::timeout(WAIT, self.pool.turn()).await else {
            return Err(Problem::busy("all of the page's connections to the database are busy"));
        };
        Ok(Session(self.pool.lend_in(turn?).await?))
    }

    /// Whether shipping's tables are in its database, as far as that can be known soon.
    pub(super) async fn has_shipping(&self) -> bool {
        if self.has_shipping.load(Relaxed) {
            return true;
        }
        let asked = async {
            let session = self.session().await?;
            let found = session
                .answer(async { Ok(Store::is_installed(session.client()).await.unwrap_or(false)) })
                .await;
            session.settle(found)
        };
        let found = matches!(tokio::time::timeout(Duration::from_secs(2), asked).await, Ok(Ok(true)));
        self.has_shipping.store(found, Relaxed);
        found
    }

    /// Takes a sample.
    pub(super) fn sample(&self) {
        let (at, published) = (Instant::now(), self.outbox.metrics.published.get());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = kept.last.map(|last| at.saturating_duration_since(last.at));
        // The first one counts from the start of relay, of which nobody knows when it was.
        let rate = kept.last.zip(elapsed).and_then(|(last, elapsed)| {
            let rows = published.saturating_sub(last.published);
            #[expect(clippy::cast_precision_loss, reason = "for a chart")]
            (!elapsed.is_zero()).then(|| rows as f32 / elapsed.as_secs_f32())
        });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
        let after =
            elapsed.map_or(1, |elapsed| (elapsed.as_secs_f64() / EVERY.as_secs_f64()).round() as usize);
        kept.history.add(after.max(1), measured(&self.outbox.metrics, rate));
        kept.last = Some(Last { at, published });
        kept.until = unix_ms();
    }

    /// What was measured in the last so many minutes.
    pub(super) fn history(&self, minutes: usize) -> Value {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (every, samples) = kept.history.last(minutes);
        let until = kept.until;
        drop(kept);
        let of = |series: usize| -> Value {
            let values = samples.iter().map(|sample| sample.get(series).copied().unwrap_or(f32::NAN));
            // What is not a number is null in JSON.
            values.map(|value| json!((f64::from(value) * 1000.0).round() / 1000.0)).collect()
        };
        let series: serde_json::Map<String, Value> = super::history::SERIES
            .iter()
            .enumerate()
            .map(|(index, name)| ((*name).to_owned(), of(index)))
            .collect();
        json!({ "every_seconds": every.as_secs(), "until": until, "series": series })
    }

    /// What this process knows of it, whatever the database says.
    pub(super) fn relay(&self) -> Value {
        let metrics = &self.outbox.metrics;
        let breaker = match metrics.breaker_state.with_label_values(&["broker"]).get() {
            0 => "closed",
            1 => "half_open",
            _ => "open",
        };
        let troubles = self.outbox.health.troubles();
        let paused =
            Scope::ALL.iter().any(|scope| metrics.paused.with_label_values(&[scope.as_str()]).get() > 0);
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ready": troubles.is_empty(),
            "troubles": troubles,
            "breakers": { "broker": breaker },
            "database_connected": metrics.database_connected.get() == 1,
            "amqp_connected": metrics.amqp_connected.get() == 1,
            "amqp_blocked": metrics.amqp_blocked.get() == 1,
            "listen_connected": metrics.listen_connected.get() == 1,
            "paused": paused,
            "lanes_owned": metrics.lanes_owned.get(),
            "in_flight_rows": metrics.in_flight_rows.get(),
            "in_flight_bytes": metrics.in_flight_bytes.get(),
            "published_total": metrics.published.get(),
            "last_progress": metrics.last_progress.get(),
            "clock_skew_seconds": metrics.clock_skew.get(),
        })
    }
}

/// What relay measured last, and the rate. While the database is away its gauges show what was, and so nothing.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "for a chart")]
fn measured(metrics: &Metrics, rate: Option<f32>) -> Sample {
    let rate = rate.unwrap_or(f32::NAN);
    if metrics.database_connected.get() != 1 {
        let [lag, _, backlog, dead, held] = UNKNOWN;
        return [lag, rate, backlog, dead, held];
    }
    let backlog: i64 =
        STATES.iter().map(|state| metrics.pending_rows.with_label_values(&[state]).get()).sum();
    [
        metrics.oldest_unpublished_age.get() as f32,
        rate,
        backlog as f32,
        metrics.dead_rows.get() as f32,
        metrics.held_keys.get() as f32,
    ]
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
