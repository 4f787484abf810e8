//! The sequence that numbers the outbox. Relay tells late commits by it, so its numbers must rise as they are drawn.

use crate::postgres::{
    client::Client,
    connect::DatabaseError,
    sql::{in_schema, quoted},
};

/// What is wrong with the sequence, and the cure; `None` if nothing is.
///
/// # Errors
/// When the statement fails.
pub async fn trouble(client: &Client, schema: &str) -> Result<Option<String>, DatabaseError> {
    let statement = in_schema(include_str!("../../sql/queries/outbox/sequence_cache.sql"), schema);
    let row = client.query_opt(&statement, &[]).await?;
    let cache = row.map(|row| row.try_get::<_, i64>(0)).transpose()?.unwrap_or(1);
    Ok((cache > 1).then(|| {
        let table = format!("{}.outbox", quoted(schema));
        format!(
            "the sequence of {table} has a cache of {cache}, so rows may be published out of order, or only by the \
             sweep every five minutes; run `alter table {table} alter column seq set cache 1`"
        )
    }))
}
