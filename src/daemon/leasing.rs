//! The task that holds the leases on lanes, and the one that measures the backlog.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::{Shared, broker::ACCEPTANCE, scanning::pause};
use crate::{
    health::Part,
    outbox::{backlog::Backlog, lanes::Lanes},
    postgres::{
        connect::{Connection, DatabaseError, connect},
        sql::{channel, in_schema},
    },
    reconnect::Reconnect,
    relay::input::Input,
};

const USE: &str = "leasing";
/// Between two measurements of the backlog.
const MEASURE: Duration = Duration::from_secs(5);
/// Every so many of them, keys held for nothing are let go.
const REPAIR_EVERY: u64 = 12;

pub(super) async fn run(
    shared: Shared,
    mut nudges: watch::Receiver<()>,
    mut release: mpsc::Receiver<oneshot::Sender<bool>>,
) {
    let settings = &shared.settings;
    let lanes = Lanes::new(&settings.database.schema, shared.relay, settings.lease);
    let channel = channel(&settings.database.schema);
    let name = format!("{}/{}", host(), std::process::id());
    let mut connection: Option<Connection> = None;
    let mut reconnect = Reconnect::default();
    loop {
        let asked = Instant::now();
        let mut wait = settings.lease / 3;
        let held = tokio::select! {
            held = hold(&shared, &lanes, &mut connection, &name, &channel) => held,
            Some(done) = release.recv() => {
                // What was asked on this connection may still be answered there; the release goes over another.
                connection = None;
                give_back(&shared, &lanes, &mut connection, &channel, done).await;
                return std::future::pending().await;
            }
        };
        match held {
            Ok(()) => {
                reconnect.succeeded();
                shared.health.up(Part::Database, USE);
                shared.health.up(Part::Database, "connection");
            }
            Err(error) => {
                connection = None;
                shared.health.down(Part::Database, USE, &error.with_cure());
                wait = pause(&mut reconnect, &error).min(wait.max(Duration::from_millis(100)));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait.saturating_sub(asked.elapsed())) => {}
            Ok(()) = nudges.changed() => {}
            Some(done) = release.recv() => {
                give_back(&shared, &lanes, &mut connection, &channel, done).await;
                // Stay, for the task's end would be taken for a failure; but hold nothing any more.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Gives the lanes back, and says whether that worked.
async fn give_back(
    shared: &Shared,
    lanes: &Lanes,
    connection: &mut Option<Connection>,
    channel: &str,
    done: oneshot::Sender<bool>,
) {
    let released = async {
        let client = match connection {
            Some(connection) => &connection.client,
            None => &connection.insert(connect(&shared.settings.database, "relay lease").await?).client,
        };
        lanes.release(client, channel).await
    };
    let result = released.await;
    if let Err(error) = &result {
        tracing::warn!("giving the lanes back failed: {error}");
    }
    let _ = done.send(result.is_ok());
}

async fn hold(
    shared: &Shared,
    lanes: &Lanes,
    connection: &mut Option<Connection>,
    name: &str,
    channel: &str,
) -> Result<(), DatabaseError> {
    let settings = &shared.settings;
    let client = match connection {
        Some(connection) => &connection.client,
        None => &connection.insert(connect(&settings.database, "relay lease").await?).client,
    };
    // From before the question: the database counts from when it answers, which is later. A tenth is kept back for what
    // was handed to a publisher just before.
    let asked = Instant::now();
    let held = lanes.hold(client, name, channel);
    let (fence, database_now) = tokio::time::timeout(settings.lease, held).await.map_err(|_| {
        DatabaseError::Silent { server: settings.database.server(), timeout: settings.lease }
    })??;
    shared.clock.set(database_now.0);
    if fence.lanes.is_empty() {
        // Whether the exchange takes anything is another relay's to find out.
        shared.health.up(Part::Broker, ACCEPTANCE);
    }
    shared.tell(Input::Leased { fence, until: asked + settings.lease - settings.lease / 10 });
    Ok(())
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "relay".to_owned())
}

/// The statements of the measuring task.
struct Gauges {
    totals: String,
    repair: String,
}

/// Measures the backlog for the gauges, every few seconds, and now and then mends keys held for nothing.
pub(super) async fn measure(shared: Shared) {
    let schema = &shared.settings.database.schema;
    let gauges = Gauges {
        totals: in_schema(include_str!("../../sql/queries/audit/totals.sql"), schema),
        repair: in_schema(include_str!("../../sql/queries/held_keys/repair.sql"), schema),
    };
    let mut connection: Option<Connection> = None;
    let mut stale = false;
    for round in 0_u64.. {
        match measure_once(&shared, &mut connection, &gauges, round % REPAIR_EVERY == 0).await {
            Ok(()) if stale => tracing::info!("the backlog is measured again"),
            Ok(()) => {}
            // An alert on what they last showed would never fire; so this is said, once.
            Err(error) if !stale => {
                tracing::warn!(
                    "the gauges of the backlog are stale: it can't be measured: {}",
                    error.with_cure()
                );
                connection = None;
            }
            Err(_) => connection = None,
        }
        stale = connection.is_none();
        tokio::time::sleep(MEASURE).await;
    }
}

async fn measure_once(
    shared: &Shared,
    connection: &mut Option<Connection>,
    gauges: &Gauges,
    repair: bool,
) -> Result<(), DatabaseError> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(connect(&shared.settings.database, "relay measure").await?),
    };
    connection.answer(measure_on(shared, connection, gauges, repair)).await
}

async fn measure_on(
    shared: &Shared,
    connection: &Connection,
    gauges: &Gauges,
    repair: bool,
) -> Result<(), DatabaseError> {
    let client = &connection.client;
    let backlog = Backlog::measure(client, &shared.settings.database.schema).await?;
    let metrics = &shared.metrics;
    for (state, rows) in crate::metrics::STATES.iter().zip(backlog.pending) {
        metrics.pending_rows.with_label_values(&[state]).set(rows);
    }
    metrics.held_keys.set(backlog.held_keys);
    metrics.oldest_unpublished_age.set(backlog.oldest_age);
    let totals = client.query_one(&gauges.totals, &[]).await?;
    for (index, result) in crate::metrics::REPLAY_RESULTS.iter().enumerate() {
        let total = u64::try_from(totals.try_get::<_, i64>(index)?).unwrap_or(0);
        let counter = metrics.dlq_replayed.with_label_values(&[result]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }
    if repair {
        let keys = client.execute(&gauges.repair, &[]).await?;
        if keys > 0 {
            tracing::warn!(keys, "{keys} keys were held behind heads that had long been settled; let go");
        }
    }
    Ok(())
}
