//! The task that records what became of rows. It never gives a write up: a confirm that is known is not forgotten
//! because the database is away.

use tokio::sync::mpsc;

use super::{Shared, scanning::pause};
use crate::{
    health::Part,
    letter::Fetched,
    outbox::writer::Writer,
    postgres::connect::DatabaseError,
    reconnect::Reconnect,
    relay::{
        input::{Input, Write},
        keys::Ordering,
    },
};

const USE: &str = "writing";

pub(super) async fn run(shared: Shared, mut writes: mpsc::UnboundedReceiver<Write>) {
    let mut writer: Option<Writer> = None;
    let mut reconnect = Reconnect::default();
    while let Some(write) = writes.recv().await {
        loop {
            let result = match &writer {
                Some(writer) => writer.write(&write).await,
                None => match connect(&shared).await {
                    Ok(connected) => writer.insert(connected).write(&write).await,
                    Err(error) => Err(error),
                },
            };
            match result {
                Ok(rows) => {
                    reconnect.succeeded();
                    shared.health.up(Part::Database, USE);
                    record(&shared, &write, rows);
                    shared.tell(Input::Written);
                    break;
                }
                Err(error) if error.is_lock_timeout() => {
                    // The session is sound. Marks go around the lock; anything else waits for it.
                    // At most once a second: so long it has waited.
                    tracing::warn!(
                        "somebody holds locks on outbox rows, which can't be marked meanwhile; see pg_locks"
                    );
                    if let Some(left) = mark_around(&shared, writer.as_ref(), &write).await {
                        shared.tell(left);
                        break;
                    }
                }
                Err(error) => {
                    writer = None;
                    shared.health.down(Part::Database, USE, &error.with_cure());
                    tokio::time::sleep(pause(&mut reconnect, &error)).await;
                }
            }
        }
    }
}

/// Marks what nobody else has locked; `None` if that isn't what was asked for, or failed as well.
async fn mark_around(shared: &Shared, writer: Option<&Writer>, write: &Write) -> Option<Input<Fetched>> {
    let Write::Mark { rows, heads } = write else { return None };
    let left = writer?.mark_unlocked(rows).await.ok()?;
    shared.metrics.published.inc_by((rows.len() - left.len()) as u64);
    Some(Input::WrittenInPart { left, heads: *heads })
}

async fn connect(shared: &Shared) -> Result<Writer, DatabaseError> {
    let settings = &shared.settings;
    let ordered = settings.engine.ordering != Ordering::None;
    Writer::connect(&settings.database, "relay write", shared.relay, ordered, settings.engine.park).await
}

fn record(shared: &Shared, write: &Write, rows: u64) {
    let metrics = &shared.metrics;
    shared.progressed();
    if rows == 0 && matches!(write, Write::Reschedule(..) | Write::MarkDead(..)) {
        // Somebody else owns the rows, or an operator was quicker: none of it has happened.
        tracing::debug!("{} rows were settled by somebody else", write.seqs().count());
        return;
    }
    match write {
        Write::Mark { rows: marked, heads } => {
            // A statement that also lets keys go counts those, not the rows.
            metrics.published.inc_by(if *heads { marked.len() as u64 } else { rows });
        }
        Write::Reschedule(_, failed) => {
            for row in failed {
                metrics.retries.with_label_values(&[row.reason.as_str()]).inc();
                tracing::info!(
                    seq = row.seq,
                    reason = row.reason.as_str(),
                    attempts = row.attempts,
                    "row {} is tried again in {:?}: {}",
                    row.seq,
                    row.delay,
                    row.error
                );
            }
        }
        Write::MarkDead(_, dead) => {
            for row in dead {
                metrics.dead_lettered.with_label_values(&[row.death.reason.as_str()]).inc();
                tracing::warn!(
                    seq = row.seq,
                    reason = row.death.reason.as_str(),
                    attempts = row.attempts,
                    "row {} is dead: {}",
                    row.seq,
                    row.death.error
                );
            }
        }
        Write::Hold(..) | Write::Defer(..) => {}
    }
}
