//! The record of what operators did. Acts of one statement are written down by that; those that take many before they begin,
//! so that none goes unrecorded, whatever happens.

use serde_json::{Value, json};
use tokio_postgres::{Row, types::Type};

use crate::{
    envelope::timestamp,
    postgres::{client::Client, connect::DatabaseError, sql::in_schema, transaction::Asked, value::Micros},
};

/// Who does something, and why: for the audit.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Who.
    pub actor: String,
    /// Why.
    pub note: Option<String>,
}

/// Which entries are meant; an empty one means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    /// Written at this time or later, in microseconds since the Unix epoch.
    pub since_us: Option<i64>,
    /// By this actor.
    pub actor: Option<String>,
    /// Of this act: `replay`, `discard`, `edit`, `pause`, and so on.
    pub action: Option<String>,
    /// Written before this one: where the last page ended.
    pub before: Option<i64>,
}

/// What somebody did.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `audit_id`.
    pub id: i64,
    /// When, microseconds since the Unix epoch.
    pub at_us: i64,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what, as JSON.
    pub filter: Value,
    /// How many rows, letters, keys or pauses it was done to.
    pub affected: i64,
    /// Why; or how it ended.
    pub note: Option<String>,
}

impl Entry {
    /// For programs; the names are the table's.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "audit_id": self.id,
            "at": timestamp(self.at_us),
            "actor": self.actor,
            "action": self.action,
            "filter": self.filter,
            "affected": self.affected,
            "note": self.note,
        })
    }
}

/// The latest entries, the latest first.
///
/// # Errors
/// When the statement fails.
pub async fn list(
    client: &Client,
    schema: &str,
    entries: &Entries,
    limit: u64,
) -> Result<Vec<Entry>, DatabaseError> {
    let statement = in_schema(include_str!("../../sql/queries/audit/list.sql"), schema);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let Entries { since_us, actor, action, before } = entries;
    let rows = client.query(&statement, &[since_us, actor, action, &limit, before]).await?;
    let entry = |row: &Row| {
        let filter: String = row.try_get(4)?;
        Ok(Entry {
            id: row.try_get(0)?,
            at_us: row.try_get::<_, Micros>(1)?.0,
            actor: row.try_get(2)?,
            action: row.try_get(3)?,
            // The text is Postgres' own JSON. What serde could not take is better shown as it is than not at all.
            filter: serde_json::from_str(&filter).unwrap_or(Value::String(filter)),
            affected: row.try_get(5)?,
            note: row.try_get(6)?,
        })
    };
    rows.iter().map(entry).collect()
}

/// Writes down an act that is about to begin; returns its entry.
///
/// # Errors
/// When the statement fails; then nothing is to be done.
pub async fn begin(
    client: &impl Asked,
    schema: &str,
    actor: &str,
    action: &str,
    filter: &Value,
) -> Result<i64, DatabaseError> {
    let statement = in_schema(include_str!("../../sql/queries/audit/begin.sql"), schema);
    let filter = filter.to_string();
    let parameters = [(&actor as _, Type::TEXT), (&action as _, Type::TEXT), (&filter as _, Type::TEXT)];
    Ok(client.query_typed_one(&statement, &parameters).await?.try_get(0)?)
}

/// Writes down what came of it, so far or in the end.
///
/// # Errors
/// When the statement fails; the entry then says what was known before.
pub async fn finish(
    client: &impl Asked,
    schema: &str,
    entry: i64,
    affected: u64,
    note: Option<&str>,
) -> Result<(), DatabaseError> {
    let statement = in_schema(include_str!("../../sql/queries/audit/finish.sql"), schema);
    let affected = i64::try_from(affected).unwrap_or(i64::MAX);
    let parameters = [(&entry as _, Type::INT8), (&affected as _, Type::INT8), (&note as _, Type::TEXT)];
    client.query_typed(&statement, &parameters).await?;
    Ok(())
}
