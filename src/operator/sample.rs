//! What is read of an outbox again and again, for a live view: its status, what changed since the last time, and the rows and
//! keys that stand out. By the database alone, in statements that cost the same on any backlog.

use super::{
    dead::{DeadRow, DeadRows, Filter, database_now},
    status::Status,
};
use crate::{
    outbox::backlog::Gauge,
    postgres::{client::Client, connect::DatabaseError, sql::in_schema},
    row::Seq,
};

/// Held keys, hot keys, dead rows and retried rows that are listed at most, of each.
pub const LISTED: i64 = 50;
/// Microseconds by which counts lag behind the clock: a mark's time is that of its beginning, and it is seen once it has
/// committed.
const MARKING: i64 = 500_000;
/// Rows that one relay may have in flight in front of the first that is ready, by default.
const IN_FLIGHT: Seq = 4096;

/// What happened between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The time it happened in, in seconds.
    pub seconds: f64,
    /// Rows that were added: numbers drawn, be it by producers who rolled back.
    pub added: i64,
    /// Rows that were marked published.
    pub published: i64,
    /// Whether there were more than were counted.
    pub more_published: bool,
    /// Rows that died.
    pub died: i64,
}

/// A row that failed and is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrying {
    /// `seq`.
    pub seq: Seq,
    /// `aggregate_type`.
    pub aggregate_type: String,
    /// `aggregate_id`.
    pub aggregate_id: String,
    /// `event_type`.
    pub event_type: String,
    /// `attempts`.
    pub attempts: i32,
    /// Seconds until it is due; negative when overdue.
    pub due_in: f64,
    /// Seconds since it first failed.
    pub failing_for: f64,
    /// `last_error`.
    pub error: String,
}

/// A key with many unfinished rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotKey {
    /// `aggregate_type`.
    pub aggregate_type: String,
    /// `aggregate_id`.
    pub aggregate_id: String,
    /// Its ready rows, among the first of all.
    pub ready: i64,
    /// Its held rows, likewise.
    pub held: i64,
}

/// An outbox at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When, by the database's clock, in microseconds since the Unix epoch.
    pub at_us: i64,
    /// The same as `relay status` shows, with more keys.
    pub status: Status,
    /// What changed since the last one; none in the first.
    pub change: Option<Change>,
    /// Dead rows that nobody has dealt with, by reason.
    pub dead_by_reason: Vec<(String, i64)>,
    /// The first of them, in seq order.
    pub dead: Vec<DeadRow>,
    /// Rows that are tried again, those due next first.
    pub retrying: Vec<Retrying>,
    /// How many there are, counted among a thousand that wait.
    pub retrying_rows: i64,
    /// Keys with many unfinished rows, the most first.
    pub hot: Vec<HotKey>,
}

/// Reads samples of one outbox.
#[derive(Debug)]
pub struct Sampler {
    schema: String,
    gauge: Gauge,
    last: Option<Last>,
}

/// Where the last sample was taken.
#[derive(Debug, Clone, Copy)]
struct Last {
    at_us: i64,
    seq: Seq,
}

impl Sampler {
    /// Of the outbox in this schema.
    #[must_use]
    pub fn new(schema: &str) -> Self {
        Self { schema: schema.to_owned(), gauge: Gauge::default(), last: None }
    }

    /// Reads one.
    ///
    /// # Errors
    /// When a statement fails; the next sample is then compared with the last that was read.
    pub async fn read(&mut self, client: &Client) -> Result<Sample, DatabaseError> {
        let schema = self.schema.as_str();
        let at_us = database_now(client).await?;
        let backlog = self.gauge.measure(client, schema).await?;
        let now = Last { at_us, seq: self.gauge.last_value() };
        let status = Status::beside(client, schema, backlog, LISTED).await?;
        let last = self.last.filter(|last| last.at_us < at_us);
        let (dead_by_reason, died) = self.dead(client, last, at_us).await?;
        let change = match last {
            Some(last) => {
                let (published, more_published) =
                    self.published(client, last, now, backlog.first_ready).await?;
                // A sequence goes back with a database that was restored.
                let added = now.seq.saturating_sub(last.seq).max(0);
                let seconds = (at_us - last.at_us) as f64 / 1e6;
                Some(Change { seconds, added, published, more_published, died })
            }
            None => None,
        };
        let most = u64::try_from(LISTED).unwrap_or(0);
        let dead = DeadRows::new(client, schema).list(&Filter::default(), Seq::MIN, most).await?;
        let (retrying, retrying_rows) = self.retrying(client).await?;
        let hot = self.hot(client).await?;
        self.last = Some(now);
        Ok(Sample { at_us, status, change, dead_by_reason, dead, retrying, retrying_rows, hot })
    }

    /// How many rows were marked published since the last sample, and whether there were more than were counted.
    ///
    /// That goes on at two places: at the end, and, with a backlog, where it begins.
    async fn published(
        &self,
        client: &Client,
        last: Last,
        now: Last,
        first_ready: Option<Seq>,
    ) -> Result<(i64, bool), DatabaseError> {
        let statement = in_schema(include_str!("../../sql/queries/outbox/count_published.sql"), &self.schema);
        let (from, until) = (last.at_us - MARKING, now.at_us - MARKING);
        let count = async |seq: Seq| {
            let row = client.query_one(&statement, &[&from, &until, &seq]).await?;
            let (found, low, more) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            Ok::<(i64, Seq, bool), DatabaseError>((found, low, more))
        };
        let (mut found, low, mut more) = count(now.seq).await?;
        if let Some(first) = first_ready.filter(|first| *first < low) {
            let (further, _, cut) = count((first + IN_FLIGHT).min(low - 1)).await?;
            found += further;
            more |= cut;
        }
        Ok((found, more))
    }

    /// Dead rows by reason, and how many died since the last sample.
    async fn dead(
        &self,
        client: &Client,
        last: Option<Last>,
        at_us: i64,
    ) -> Result<(Vec<(String, i64)>, i64), DatabaseError> {
        let statement = in_schema(include_str!("../../sql/queries/outbox/count_dead.sql"), &self.schema);
        let (from, until) = (last.map(|last| last.at_us - MARKING), at_us - MARKING);
        let (mut reasons, mut died) = (Vec::new(), 0);
        for row in client.query(&statement, &[&from, &until]).await? {
            reasons.push((row.try_get(0)?, row.try_get(1)?));
            died += row.try_get::<_, i64>(2)?;
        }
        Ok((reasons, died))
    }

    async fn retrying(&self, client: &Client) -> Result<(Vec<Retrying>, i64), DatabaseError> {
        let statement = in_schema(include_str!("../../sql/queries/outbox/list_retrying.sql"), &self.schema);
        let (mut rows, mut all) = (Vec::new(), 0);
        for row in client.query(&statement, &[&LISTED]).await? {
            rows.push(Retrying {
                seq: row.try_get(0)?,
                aggregate_type: row.try_get(1)?,
                aggregate_id: row.try_get(2)?,
                event_type: row.try_get(3)?,
                attempts: row.try_get(4)?,
                due_in: row.try_get(5)?,
                failing_for: row.try_get(6)?,
                error: row.try_get::<_, Option<String>>(7)?.unwrap_or_default(),
            });
            all = row.try_get(8)?;
        }
        Ok((rows, all))
    }

    async fn hot(&self, client: &Client) -> Result<Vec<HotKey>, DatabaseError> {
        let statement = in_schema(include_str!("../../sql/queries/outbox/hot_keys.sql"), &self.schema);
        let rows = client.query(&statement, &[&self.gauge.clear(), &LISTED]).await?;
        let key = |row: &tokio_postgres::Row| {
            Ok(HotKey {
                aggregate_type: row.try_get(0)?,
                aggregate_id: row.try_get(1)?,
                ready: row.try_get(2)?,
                held: row.try_get(3)?,
            })
        };
        rows.iter().map(key).collect()
    }
}
