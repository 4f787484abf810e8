//! How much is unfinished, and how old it is.

use super::look::{self, LOOK};
use crate::{
    postgres::{client::Client, connect::DatabaseError, sql::in_schema, value::Micros},
    relay::stragglers::Stragglers,
    row::Seq,
};

/// Counts stop here, so that they cost the same on any backlog.
pub const COUNTED_TO: i64 = 10_000;

/// What an outbox has not finished.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backlog {
    /// Unfinished rows, in the order of [`crate::metrics::STATES`], counted to [`COUNTED_TO`].
    pub pending: [i64; 3],
    /// Dead rows that nobody has dealt with, likewise.
    pub dead: i64,
    /// Held keys, likewise.
    pub held_keys: i64,
    /// The age of the oldest row that is due and not done, in seconds; 0 when there is none.
    pub oldest_age: f64,
    /// The same of ready rows alone: those that never failed, and wait for relay.
    pub oldest_ready_age: f64,
    /// Since the first death that nobody has dealt with, in seconds; 0 without one.
    pub oldest_dead_age: f64,
    /// Since when the key has been held that waits longest behind a failed or dead head, in seconds; 0 without one.
    pub oldest_held_age: f64,
    /// The lowest ready row, of those looked for.
    pub first_ready: Option<Seq>,
}

impl Backlog {
    /// Measures it; of ready rows those above this seq, 0 for all.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn measure(client: &Client, schema: &str, above: Seq) -> Result<Self, DatabaseError> {
        let statement = in_schema(include_str!("../../sql/queries/outbox/backlog.sql"), schema);
        let row = client.query_one(&statement, &[&above]).await?;
        let age = |column| row.try_get::<_, Option<f64>>(column).map(|age| age.unwrap_or(0.0));
        Ok(Self {
            pending: [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?],
            dead: row.try_get(3)?,
            held_keys: row.try_get(4)?,
            oldest_age: age(5)?,
            oldest_ready_age: age(6)?,
            oldest_dead_age: age(7)?,
            oldest_held_age: age(8)?,
            first_ready: row.try_get(9)?,
        })
    }
}

/// Measures again and again, without going through what was published long ago each time.
///
/// A row becomes ready by its insert alone. So below the lowest one of the last measurement there are only those that
/// committed since; where these may lie is known from looks, as it is for scans. One that commits between a look and its
/// measurement is seen by the next. A measurement that fails, or is given up, has the next one begin where it began.
///
/// All of that is about one server: another one may not have all that the last one had.
#[derive(Debug, Default)]
pub struct Gauge {
    stragglers: Stragglers,
    /// No ready row was at or below this at the last measurement.
    clear: Seq,
    last_value: Seq,
    /// Since when the server has been running.
    server: Option<Micros>,
}

impl Gauge {
    /// Measures the backlog.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn measure(&mut self, client: &Client, schema: &str) -> Result<Backlog, DatabaseError> {
        self.take(client, schema, false).await
    }

    /// Measures the backlog from the very first row. Where that fails, because there is too much to step over, the next
    /// measurement begins where it would have without.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn sweep(&mut self, client: &Client, schema: &str) -> Result<Backlog, DatabaseError> {
        self.take(client, schema, true).await
    }

    async fn take(&mut self, client: &Client, schema: &str, whole: bool) -> Result<Backlog, DatabaseError> {
        let server = include_str!("../../sql/queries/catalog/started.sql");
        let server = Some(client.query_one(server, &[]).await?.try_get(0)?);
        if self.server != server {
            *self = Self { server, ..Self::default() };
        }
        let row = client.query_one(&in_schema(LOOK, schema), &[&None::<Seq>]).await?;
        let look = look::decode(&row)?;
        let last_value = look.last_value;
        // That has been looked at once; without an answer nothing above it is known.
        self.clear = self.clear.min(self.stragglers.look(look));
        let above = if whole { 0 } else { self.clear };
        let backlog = Backlog::measure(client, schema, above).await?;
        self.clear = backlog.first_ready.map_or(last_value, |first| (first - 1).min(last_value));
        self.last_value = last_value;
        Ok(backlog)
    }

    /// The last seq that was drawn, as of the last measurement.
    #[must_use]
    pub fn last_value(&self) -> Seq {
        self.last_value
    }

    /// No ready row was seen at or below this by the last measurement.
    #[must_use]
    pub fn clear(&self) -> Seq {
        self.clear
    }
}
