//! The task that records what became of rows. It never gives a write up: a confirm that is known is not forgotten
//! because the database is away.

use tokio::sync::mpsc;

use super::{Shared, scanning::pause};
use crate::{
    health::Part,
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
                Err(error) => {
                    writer = None;
                    shared.health.down(Part::Database, USE, &error.with_cure());
                    tokio::time::sleep(pause(&mut reconnect, &error)).await;
                }
            }
        }
    }
}

async fn connect(shared: &Shared) -> Result<Writer, DatabaseError> {
    let settings = &shared.settings;
    let ordered = settings.engine.ordering != Ordering::None;
    Writer::connect(&settings.database, "relay write", shared.relay, ordered, settings.engine.park).await
}

fn record(shared: &Shared, write: &Write, rows: u64) {
    let metrics = &shared.metrics;
    shared.progressed();
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
