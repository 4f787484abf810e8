//! The sequence that numbers the outbox. Relay tells late commits by it, so its numbers must rise as they are drawn.

use std::fmt;

use crate::postgres::{
    client::Client,
    connect::DatabaseError,
    sql::{in_schema, quoted},
};

/// The sequence has a cache: each session draws several numbers at a time, and uses them when it likes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    table: String,
    cache: i64,
}

impl Cached {
    /// What is wrong.
    #[must_use]
    pub fn what(&self) -> String {
        let Self { table, cache } = self;
        format!(
            "the sequence of {table} has a cache of {cache}, so rows may be published out of order, or only by the \
             sweep every five minutes"
        )
    }

    /// The statement that mends it.
    #[must_use]
    pub fn cure(&self) -> String {
        format!("alter table {} alter column seq set cache 1", self.table)
    }
}

impl fmt::Display for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; run `{}`", self.what(), self.cure())
    }
}

/// What is wrong with the sequence; `None` if nothing is.
///
/// # Errors
/// When the statement fails.
pub async fn trouble(client: &Client, schema: &str) -> Result<Option<Cached>, DatabaseError> {
    let statement = in_schema(include_str!("../../sql/queries/outbox/sequence_cache.sql"), schema);
    let row = client.query_opt(&statement, &[]).await?;
    let cache = row.map(|row| row.try_get::<_, i64>(0)).transpose()?.unwrap_or(1);
    Ok((cache > 1).then(|| Cached { table: format!("{}.outbox", quoted(schema)), cache }))
}
