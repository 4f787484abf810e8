//! The task that measures: what the gauges show of the backlog, and who keeps the table from being cleaned.

use std::time::{Duration, Instant};

use super::Shared;
use crate::{
    outbox::{backlog::Gauge, cleanup::Holder, pauses::PauseTable},
    postgres::{
        connect::{Connection, DatabaseError, connect},
        sql::in_schema,
    },
    storm::Lasting,
};

/// Between two measurements.
const MEASURE: Duration = Duration::from_secs(5);
/// And so many times as long as the last one took, if that is longer: while somebody's old snapshot is open, it steps over all
/// that went out since, of held rows and of waiting ones. But no longer than this: alerts go by what it says.
const REST: (u32, Duration) = (20, Duration::from_secs(60));
/// Every so many of them, keys held for nothing are let go.
const REPAIR_EVERY: u64 = 12;
/// Every so many of them, all ready rows are looked for, from the very first.
const SWEEP_EVERY: u64 = 60;

/// Keys let go a round at most whose pause is over: that is for what an operator did not get done.
const RELEASE: i64 = 10_000;

/// The statements of the measuring task.
struct Gauges {
    pauses: PauseTable,
    totals: String,
    repair: String,
    unowned: String,
}

/// What is remembered from one measurement to the next.
#[derive(Default)]
struct Seen {
    gauge: Gauge,
    cleanup: Cleanup,
}

/// Measures the backlog for the gauges, every few seconds, and now and then mends keys held for nothing.
pub(super) async fn run(shared: Shared) {
    let schema = &shared.settings.database.schema;
    let gauges = Gauges {
        pauses: PauseTable::new(schema),
        totals: in_schema(include_str!("../../sql/queries/audit/totals.sql"), schema),
        repair: in_schema(include_str!("../../sql/queries/held_keys/repair.sql"), schema),
        unowned: in_schema(include_str!("../../sql/queries/lanes/unowned.sql"), schema),
    };
    let mut connection: Option<Connection> = None;
    let mut seen = Seen::default();
    shared.migrated().await;
    let mut stale = false;
    for round in 0_u64.. {
        let begun = Instant::now();
        let mut rest = MEASURE;
        match measure_once(&shared, &mut connection, &gauges, &mut seen, round).await {
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
        if !stale {
            rest = rest.max((begun.elapsed() * REST.0).min(REST.1));
        }
        shared.metrics.database_connected.set(i64::from(!stale));
        tokio::time::sleep(rest).await;
    }
}

async fn measure_once(
    shared: &Shared,
    connection: &mut Option<Connection>,
    gauges: &Gauges,
    seen: &mut Seen,
    round: u64,
) -> Result<(), DatabaseError> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(connect(&shared.settings.database, "relay measure").await?),
    };
    connection.answer(measure_on(shared, connection, gauges, seen, round)).await
}

async fn measure_on(
    shared: &Shared,
    connection: &Connection,
    gauges: &Gauges,
    seen: &mut Seen,
    round: u64,
) -> Result<(), DatabaseError> {
    let client = &connection.client;
    let schema = &shared.settings.database.schema;
    let backlog = if round.is_multiple_of(SWEEP_EVERY) {
        seen.gauge.sweep(client, schema).await?
    } else {
        seen.gauge.measure(client, schema).await?
    };
    let metrics = &shared.metrics;
    for (state, rows) in crate::metrics::STATES.iter().zip(backlog.pending) {
        metrics.pending_rows.with_label_values(&[state]).set(rows);
    }
    metrics.held_keys.set(backlog.held_keys);
    metrics.oldest_unpublished_age.set(backlog.oldest_age);
    metrics.oldest_ready_age.set(backlog.oldest_ready_age);
    metrics.oldest_held_age.set(backlog.oldest_held_age);
    metrics.oldest_dead_age.set(backlog.oldest_dead_age);
    metrics.dead_rows.set(backlog.dead);
    metrics.lanes_unowned.set(client.query_one(&gauges.unowned, &[]).await?.try_get(0)?);
    let totals = client.query_one(&gauges.totals, &[]).await?;
    for (index, result) in crate::metrics::REPLAY_RESULTS.iter().enumerate() {
        let total = u64::try_from(totals.try_get::<_, i64>(index)?).unwrap_or(0);
        let counter = metrics.dlq_replayed.with_label_values(&[result]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }
    let keys = gauges.pauses.release(client, RELEASE).await?;
    if keys > 0 {
        tracing::info!(keys, "a pause is over, and keys that waited for it go on: {keys}");
    }
    if round.is_multiple_of(REPAIR_EVERY) {
        let keys = client.execute(&gauges.repair, &[]).await?;
        if keys > 0 {
            tracing::warn!(keys, "{keys} keys were held behind heads that had long been settled; let go");
        }
    }
    seen.cleanup.watch(shared, Holder::find(client).await?, Instant::now());
    Ok(())
}

/// What holds cleanup back, and since when.
#[derive(Debug, Default)]
struct Cleanup {
    /// Since when it has been seen to hold: all there is to know of a slot, and of a session that relay may not look into.
    seen: Option<(Holder, Instant)>,
    trouble: Lasting,
}

impl Cleanup {
    fn watch(&mut self, shared: &Shared, holder: Option<Holder>, now: Instant) {
        let age = holder.as_ref().map(|holder| self.age(holder, now));
        for by in crate::metrics::HOLDERS {
            let seconds = match (&holder, age) {
                (Some(holder), Some(age)) if holder.kind.as_str() == by => age.as_secs_f64(),
                _ => 0.0,
            };
            shared.metrics.cleanup_held.with_label_values(&[by]).set(seconds);
        }
        match (&holder, age) {
            (Some(holder), Some(age)) if age >= shared.settings.old_transaction => {
                if self.trouble.shows(now).is_some() {
                    tracing::warn!(
                        by = holder.kind.as_str(),
                        pid = holder.pid,
                        name = holder.name,
                        state = holder.state,
                        age_seconds = age.as_secs(),
                        transactions = holder.transactions,
                        "{holder}, keeps the table from being cleaned, for {} s and {} transactions now",
                        age.as_secs(),
                        holder.transactions
                    );
                }
            }
            _ => {
                if let Some(lasted) = self.trouble.over(now) {
                    tracing::info!(
                        seconds = lasted.as_secs(),
                        "nothing old keeps the table from being cleaned any more"
                    );
                }
            }
        }
        self.seen = holder.map(|holder| {
            let since = match &self.seen {
                Some((seen, since)) if seen.is_still(&holder) => *since,
                _ => now,
            };
            (holder, since)
        });
    }

    /// How long it has held, by what the server says and by what was seen.
    fn age(&self, holder: &Holder, now: Instant) -> Duration {
        let said = holder.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let seen = match &self.seen {
            Some((seen, since)) if seen.is_still(holder) => now.saturating_duration_since(*since),
            _ => Duration::ZERO,
        };
        said.unwrap_or_default().max(seen)
    }
}
