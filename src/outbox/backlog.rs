//! How much is unfinished, and how old it is.

use crate::postgres::{client::Client, connect::DatabaseError, sql::in_schema};

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
}

impl Backlog {
    /// Measures it.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn measure(client: &Client, schema: &str) -> Result<Self, DatabaseError> {
        let statement = in_schema(include_str!("../../sql/queries/outbox/backlog.sql"), schema);
        let row = client.query_one(&statement, &[]).await?;
        let age = |column| row.try_get::<_, Option<f64>>(column).map(|age| age.unwrap_or(0.0));
        Ok(Self {
            pending: [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?],
            dead: row.try_get(3)?,
            held_keys: row.try_get(4)?,
            oldest_age: age(5)?,
            oldest_ready_age: age(6)?,
            oldest_dead_age: age(7)?,
            oldest_held_age: age(8)?,
        })
    }
}
