//! What operators have paused, as the database has it.

use tokio_postgres::Row;

use crate::{
    pause::{PauseId, Target},
    postgres::{
        client::Client,
        connect::DatabaseError,
        sql::{channel, in_schema},
        value::Micros,
    },
};

/// A pause that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Its id.
    pub id: PauseId,
    /// What it is about.
    pub target: Target,
    /// Since when, microseconds since the Unix epoch.
    pub since_us: i64,
    /// Who.
    pub actor: String,
    /// Why.
    pub note: Option<String>,
}

impl Pause {
    fn decode(row: &Row) -> Result<Self, DatabaseError> {
        let target = Target::of(
            row.try_get(1)?,
            (row.try_get(2)?, row.try_get(3)?),
            (row.try_get(4)?, row.try_get(5)?),
        );
        Ok(Self {
            id: row.try_get(0)?,
            target: target.map_err(|error| DatabaseError::Schema(error.to_string()))?,
            since_us: row.try_get::<_, Micros>(6)?.0,
            actor: row.try_get(7)?,
            note: row.try_get(8)?,
        })
    }
}

/// The pauses of a schema.
#[derive(Debug)]
pub struct PauseTable {
    channel: String,
    list: String,
    release: String,
}

impl PauseTable {
    /// Statements for a schema.
    #[must_use]
    pub fn new(schema: &str) -> Self {
        Self {
            channel: channel(schema),
            list: in_schema(include_str!("../../sql/queries/pauses/list.sql"), schema),
            release: in_schema(include_str!("../../sql/queries/held_keys/release_paused.sql"), schema),
        }
    }

    /// Every pause that stands, the oldest first.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn list(&self, client: &Client) -> Result<Vec<Pause>, DatabaseError> {
        client.query(&self.list, &[]).await?.iter().map(Pause::decode).collect()
    }

    /// Lets keys go whose pause is over, at most so many; returns how many. None are left when it is 0.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn release(&self, client: &Client, at_most: i64) -> Result<u64, DatabaseError> {
        let row = client.query_one(&self.release, &[&at_most, &self.channel]).await?;
        Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0))
    }
}
