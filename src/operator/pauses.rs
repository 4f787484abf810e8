//! Pausing everything, a route or a key, and ending that.

use std::fmt;

use serde_json::{Map, Value, json};

use super::audit::Signed;
use crate::{
    envelope::timestamp,
    outbox::pauses::{Pause, PauseTable},
    pause::{PauseId, Target},
    postgres::{
        client::Client,
        connect::DatabaseError,
        sql::{channel, in_schema},
    },
};

/// Keys let go by one statement at most: few enough that relay never waits long for a lock.
const BATCH: i64 = 1000;

/// Why nothing was paused.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// There are as many pauses as there may be.
    #[error(
        "there are 1,000 pauses already, which every relay asks about every row: end some, or pause a pattern"
    )]
    TooMany,
    /// A statement failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What is paused now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    /// It was not, before.
    Now(PauseId),
    /// It was, already; nothing was done.
    Already(PauseId),
}

/// Pauses something. Relays keep to it within moments; where notifications don't reach them, within a third of
/// `lease.duration`.
///
/// # Errors
/// When there are too many pauses, or the statement fails.
pub async fn pause(
    client: &Client,
    schema: &str,
    target: &Target,
    signed: &Signed,
) -> Result<Paused, PauseError> {
    let statement = in_schema(include_str!("../../sql/queries/pauses/create.sql"), schema);
    let ((exchange, routing_key), (aggregate_type, aggregate_id)) = match target {
        Target::All => ((None, None), (None, None)),
        Target::Route { exchange, routing_key } => ((Some(exchange), Some(routing_key)), (None, None)),
        Target::Key { aggregate_type, aggregate_id } => {
            ((None, None), (Some(aggregate_type), Some(aggregate_id)))
        }
    };
    // Twice: somebody else may be pausing the same at this moment.
    for _ in 0..2 {
        let row = client
            .query_one(
                &statement,
                &[
                    &target.scope().as_str(),
                    &exchange,
                    &routing_key,
                    &aggregate_type,
                    &aggregate_id,
                    &signed.actor,
                    &signed.note,
                    &channel(schema),
                ],
            )
            .await
            .map_err(DatabaseError::from)?;
        let made = row.try_get::<_, Option<PauseId>>(0).map_err(DatabaseError::from)?;
        let standing = row.try_get::<_, Option<PauseId>>(1).map_err(DatabaseError::from)?;
        if let Some(paused) = made.map(Paused::Now).or(standing.map(Paused::Already)) {
            return Ok(paused);
        }
    }
    Err(PauseError::TooMany)
}

/// What came of ending pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// Pauses ended.
    pub pauses: u64,
    /// Keys let go, whichever pause they waited for.
    pub keys: u64,
}

impl fmt::Display for Resumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pauses = if self.pauses == 1 { "pause" } else { "pauses" };
        let keys = if self.keys == 1 { "key goes" } else { "keys go" };
        write!(f, "{} {pauses}; {} {keys} on", self.pauses, self.keys)
    }
}

/// Ends these pauses, and lets the keys go that waited for them, in batches. If it is cut off in between, a relay does the
/// rest.
///
/// # Errors
/// When a statement fails.
pub async fn resume(
    client: &Client,
    schema: &str,
    pauses: &[PauseId],
    signed: &Signed,
) -> Result<Resumed, DatabaseError> {
    let statement = in_schema(include_str!("../../sql/queries/pauses/resume.sql"), schema);
    let row = client.query_one(&statement, &[&pauses, &signed.actor, &signed.note, &channel(schema)]).await?;
    let mut resumed = Resumed { pauses: u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0), keys: 0 };
    let table = PauseTable::new(schema);
    loop {
        let keys = table.release(client, BATCH).await?;
        if keys == 0 {
            return Ok(resumed);
        }
        resumed.keys += keys;
    }
}

/// A pause, for programs; the names are the table's.
#[must_use]
pub fn to_json(pause: &Pause) -> Value {
    let mut object = Map::from_iter([
        ("pause_id".to_owned(), json!(pause.id)),
        ("scope".to_owned(), json!(pause.target.scope().as_str())),
        ("since".to_owned(), json!(timestamp(pause.since_us))),
        ("actor".to_owned(), json!(pause.actor)),
        ("note".to_owned(), json!(pause.note)),
    ]);
    let mut add = |name: &str, value: &str| object.insert(name.to_owned(), json!(value));
    match &pause.target {
        Target::All => {}
        Target::Route { exchange, routing_key } => {
            add("exchange", exchange);
            add("routing_key", routing_key);
        }
        Target::Key { aggregate_type, aggregate_id } => {
            add("aggregate_type", aggregate_type);
            add("aggregate_id", aggregate_id);
        }
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_it_is_told_by_its_number() {
        let told = |pauses, keys| Resumed { pauses, keys }.to_string();
        assert_eq!([told(1, 0), told(2, 1)], ["1 pause; 0 keys go on", "2 pauses; 1 key goes on"]);
    }
}
