//! Replaying and discarding dead rows: in batches of one statement each, so that it can be stopped between any two and
//! begun again; what is done is done, and audited.

use std::time::Instant;

use tokio::sync::watch;
use tokio_postgres::error::SqlState;

use super::{
    dead::{DeadRow, DeadRows, Filter},
    rate::Rate,
};
use crate::postgres::{
    client::{Client, Prepared},
    connect::DatabaseError,
    sql::{channel, in_schema},
};

/// Rows of one statement at most: few enough that relay never waits long for a lock.
const BATCH: u64 = 100;
/// How often a batch is tried that met relay's own writes in a deadlock.
const TRIES: u32 = 5;

/// What to do with dead rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Publish them again, under the same event id.
    Replay,
    /// Declare them dealt with.
    Discard,
}

impl Action {
    /// The verb, as in the audit.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }

    /// What has been done.
    #[must_use]
    pub fn done(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Discard => "discarded",
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Replay => include_str!("../../sql/queries/outbox/replay.sql"),
            Self::Discard => include_str!("../../sql/queries/outbox/discard.sql"),
        }
    }
}

/// What to do, with which rows or a consumer's messages, and who says so.
#[derive(Debug, Clone)]
pub struct Order {
    /// What.
    pub action: Action,
    /// Which. Its `until_us` should not be in the future, or a run may chase what it makes die again.
    pub filter: Filter,
    /// At most so many.
    pub limit: Option<u64>,
    /// Not faster than this.
    pub rate: Option<Rate>,
    /// Who.
    pub actor: String,
    /// Why.
    pub note: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Rows it was done to.
    pub rows: u64,
    /// How it ended.
    pub ended: Ended,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// Every row selected was dealt with.
    Complete,
    /// Somebody asked it to stop.
    Interrupted,
    /// A statement failed.
    Failed(DatabaseError),
}

/// Does it, until it is done, or `stop` says true. `progress` is told how many rows are done after each batch.
pub async fn act(
    client: &Client,
    schema: &str,
    order: &Order,
    stop: &mut watch::Receiver<bool>,
    mut progress: impl FnMut(u64),
) -> Report {
    let mut rows = 0;
    let ended = run(client, schema, order, stop, &mut rows, &mut progress).await;
    Report { rows, ended: ended.unwrap_or_else(Ended::Failed) }
}

async fn run(
    client: &Client,
    schema: &str,
    order: &Order,
    stop: &mut watch::Receiver<bool>,
    done: &mut u64,
    progress: &mut impl FnMut(u64),
) -> Result<Ended, DatabaseError> {
    let dead = DeadRows::new(client, schema);
    let statement = client.prepare(&in_schema(order.action.sql(), schema)).await?;
    let wake = channel(schema);
    let filter = order.filter.to_json().to_string();
    let begun = Instant::now();
    let mut after = 0;
    loop {
        let left = order.limit.map_or(BATCH, |limit| limit.saturating_sub(*done));
        let size = left.min(BATCH).min(order.rate.map_or(BATCH, Rate::burst));
        if size == 0 {
            return Ok(Ended::Complete);
        }
        if *stop.borrow() {
            return Ok(Ended::Interrupted);
        }
        let batch = dead.list(&order.filter, after, size).await?;
        let Some(last) = batch.last() else { return Ok(Ended::Complete) };
        after = last.seq;
        *done += settle(client, &statement, &batch, order, &filter, &wake).await?;
        progress(*done);
        if let Some(rate) = order.rate {
            let until = begun + rate.time_for(*done);
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(Ended::Interrupted),
            }
        }
    }
}

/// One batch; returns how many rows were still as they had been seen.
async fn settle(
    client: &Client,
    statement: &Prepared,
    batch: &[DeadRow],
    order: &Order,
    filter: &str,
    wake: &str,
) -> Result<u64, DatabaseError> {
    let seqs: Vec<i64> = batch.iter().map(|row| row.seq).collect();
    let generations: Vec<i32> = batch.iter().map(|row| row.generation).collect();
    let mut tries = 1;
    loop {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&seqs, &generations, &order.actor, &filter, &order.note, &wake];
        match client.query_one(statement, &parameters).await {
            Ok(row) => return Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0)),
            // Nothing of the batch was done, and the other side has its locks now.
            Err(error) if tries < TRIES && error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {
                tries += 1
            }
            Err(error) => return Err(error.into()),
        }
    }
}
