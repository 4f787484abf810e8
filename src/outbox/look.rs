//! Where the sequence stands, and who may yet commit rows below that.

use tokio_postgres::Row as DbRow;

use crate::{postgres::connect::DatabaseError, relay::input::Look};

/// The statement, for the schema `relay`. Its parameter: where the sequence stood, to have no answer if it still does.
pub(super) const LOOK: &str = include_str!("../../sql/queries/outbox/writers.sql");

/// Its answer.
pub(super) fn decode(row: &DbRow) -> Result<Look, DatabaseError> {
    Ok(Look { last_value: row.try_get(0)?, writers: row.try_get(1)?, numbering: row.try_get(2)? })
}
