//! Removing old rows by hand: in batches of one short transaction each, so that it can be stopped between any two and
//! begun again; what is gone is gone, and audited.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{act::Ended, audit, rate::Rate};
use crate::{
    envelope::timestamp,
    outbox::pruner::{Batch, Cutoffs, Pruner, Tally},
    postgres::connect::{Connection, DatabaseError},
    row::{Finished, Seq, micros},
};

/// Rows looked at by one statement where none is removed.
const LOOK: u64 = 5000;

/// How old rows must be to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ages {
    /// Since they were published, or discarded.
    pub finished: Duration,
    /// Since they died, whether anybody has dealt with them or not, if such are to go at all.
    pub dead: Option<Duration>,
}

impl Ages {
    /// The times before which rows are so old, by a clock that shows `now_us`.
    #[must_use]
    pub fn before(self, now_us: i64) -> Cutoffs {
        let before = |age| now_us.saturating_sub(micros(age));
        Cutoffs { finished_us: before(self.finished), dead_us: self.dead.map(before) }
    }
}

/// What to remove, how, and who says so.
#[derive(Debug, Clone)]
pub struct Order {
    /// What is old enough. It stays the same for the whole run, or a run might chase what becomes old meanwhile.
    pub cutoffs: Cutoffs,
    /// Rows of a statement at most.
    pub batch: u64,
    /// At most so many rows altogether.
    pub limit: Option<u64>,
    /// Not faster than this.
    pub rate: Option<Rate>,
    /// Who.
    pub actor: String,
}

impl Order {
    /// For the audit.
    fn to_json(&self) -> Value {
        let mut filter = json!({ "finished_before": timestamp(self.cutoffs.finished_us) });
        if let Some(dead) = self.cutoffs.dead_us {
            filter["dead_before"] = timestamp(dead).into();
        }
        filter
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Rows removed.
    pub removed: Tally,
    /// How it ended.
    pub ended: Ended,
}

/// Counts what would go, to `limit`, until it is done or `stop` says true.
///
/// # Errors
/// When a statement fails.
pub async fn count(
    connection: &Connection,
    schema: &str,
    cutoffs: Cutoffs,
    limit: u64,
    stop: &watch::Receiver<bool>,
) -> Result<Tally, DatabaseError> {
    let pruner = Pruner::new(schema);
    let (mut found, mut after) = (Tally::default(), Seq::MIN);
    while !*stop.borrow() && found.total() < limit {
        let look = pruner.look(&connection.client, after, LOOK, cutoffs).await?;
        for (_, kind) in first(&look.prunable, limit - found.total()) {
            found.add(*kind, 1);
        }
        match look.upto {
            Some(upto) if look.goes_on => after = upto,
            _ => break,
        }
    }
    Ok(found)
}

/// Removes them, until it is done, or `stop` says true. `progress` is told how many are gone after each batch.
pub async fn prune(
    connection: &mut Connection,
    schema: &str,
    order: &Order,
    stop: &mut watch::Receiver<bool>,
    mut progress: impl FnMut(u64),
) -> Report {
    let mut removed = Tally::default();
    let ended = run(connection, schema, order, stop, &mut removed, &mut progress).await;
    Report { removed, ended: ended.unwrap_or_else(Ended::Failed) }
}

async fn run(
    connection: &mut Connection,
    schema: &str,
    order: &Order,
    stop: &mut watch::Receiver<bool>,
    removed: &mut Tally,
    progress: &mut impl FnMut(u64),
) -> Result<Ended, DatabaseError> {
    let pruner = Pruner::new(schema);
    let entry = audit::begin(&connection.client, schema, &order.actor, "prune", &order.to_json()).await?;
    let begun = Instant::now();
    let mut batch = Batch::up_to(order.batch.min(order.rate.map_or(u64::MAX, Rate::burst)));
    let mut after = Seq::MIN;
    let ended = 'walk: loop {
        if *stop.borrow() {
            break Ended::Interrupted;
        }
        let look = pruner.look(&connection.client, after, order.batch, order.cutoffs).await?;
        let mut found = look.prunable.as_slice();
        while !found.is_empty() {
            let left = order.limit.map_or(u64::MAX, |limit| limit.saturating_sub(removed.total()));
            if left == 0 {
                break 'walk Ended::Complete;
            }
            if *stop.borrow() {
                break 'walk Ended::Interrupted;
            }
            let rows = first(found, left);
            let rows = first(rows, batch.size(rows.len()) as u64);
            found = found.get(rows.len()..).unwrap_or_default();
            let asked = Instant::now();
            let tx = connection.begin().await?;
            let gone = pruner.prune(&tx, rows, order.cutoffs).await?;
            let mut total = *removed;
            total.add_all(&gone);
            // With every batch, so that whatever ends this run, the audit says what is gone.
            audit::finish(&tx, schema, entry, total.total(), Some("begun")).await?;
            tx.commit().await?;
            batch.took(asked.elapsed());
            *removed = total;
            progress(removed.total());
            if let Some(rate) = order.rate {
                let until = begun + rate.time_for(removed.total());
                tokio::select! {
                    () = tokio::time::sleep_until(until.into()) => {}
                    _ = stop.wait_for(|stop| *stop) => break 'walk Ended::Interrupted,
                }
            }
        }
        match look.upto {
            Some(upto) if look.goes_on => after = upto,
            _ => break Ended::Complete,
        }
    };
    let note = matches!(ended, Ended::Interrupted).then_some("interrupted");
    audit::finish(&connection.client, schema, entry, removed.total(), note).await?;
    Ok(ended)
}

/// The first of them.
fn first(rows: &[(Seq, Finished)], count: u64) -> &[(Seq, Finished)] {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(rows.len());
    rows.get(..count).unwrap_or(rows)
}
