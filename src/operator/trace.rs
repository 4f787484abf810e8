//! The life of one event, from the producer's transaction to what consumers made of it, as far as the tables tell it.

use serde_json::{Value, json};

use super::dead::Which;
use crate::{
    envelope::timestamp,
    postgres::{client::Client, connect::DatabaseError, sql::in_schema, value::Micros},
};

/// Something that happened to it, or is to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When, in microseconds since the Unix epoch, by the database's clock; of what is to come, not before then.
    pub at_us: Option<i64>,
    /// By whom: `producer`, `relay`, a consumer's name, an operator; of what is to come, the relay or consumer that is to.
    pub who: String,
    /// What.
    pub what: String,
    /// What else there is to say.
    pub detail: Option<String>,
    /// Whether it is yet to come.
    pub is_pending: bool,
}

impl Step {
    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "at": self.at_us.map(timestamp),
            "who": self.who,
            "what": self.what,
            "detail": self.detail,
            "pending": self.is_pending,
        })
    }
}

/// The steps of an event, in order, what is to come last; none if nobody knows of it. `created_at` is when the producer's
/// transaction began: when it committed, Postgres doesn't say. The first time a message was sent is not written down, only
/// that its confirm was.
///
/// # Errors
/// When the statement fails.
pub async fn trace(client: &Client, schema: &str, which: Which) -> Result<Vec<Step>, DatabaseError> {
    let statement = in_schema(include_str!("../../sql/queries/outbox/trace.sql"), schema);
    let (event_id, seq) = which.columns();
    let rows = client.query(&statement, &[&event_id, &seq]).await?;
    let steps = rows.iter().map(|row| {
        Ok(Step {
            at_us: row.try_get::<_, Option<Micros>>(0)?.map(|at| at.0),
            who: row.try_get(1)?,
            what: row.try_get(2)?,
            detail: row.try_get::<_, Option<String>>(3)?.filter(|detail| !detail.is_empty()),
            is_pending: row.try_get(4)?,
        })
    });
    steps.collect()
}
