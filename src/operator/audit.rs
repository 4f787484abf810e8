//! The record of acts that take many statements: written down before they begin, so that none goes unrecorded, whatever
//! happens.

use serde_json::Value;
use tokio_postgres::types::Type;

use crate::postgres::{connect::DatabaseError, sql::in_schema, transaction::Asked};

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
