//! Mending the payload of a dead row.

use uuid::Uuid;

use super::{audit::Signed, dead::Which};
use crate::{
    postgres::{client::Client, connect::DatabaseError, sql::in_schema},
    row::Seq,
};

/// A row with another payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// `seq`.
    pub seq: Seq,
    /// `event_id`.
    pub event_id: Uuid,
    /// Which version of it this is.
    pub generation: i32,
}

/// Why a row was not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// There is none.
    #[error("there is no such row")]
    NoSuchRow,
    /// It may be on its way to the broker.
    #[error("row {0} is not dead, and only a dead row can be edited: no relay may have it in hand")]
    NotDead(Seq),
    /// Nobody will publish it any more.
    #[error("row {0} was discarded")]
    Discarded(Seq),
    /// Somebody replayed or edited it since it was looked at.
    #[error("row {0} has been changed since: look at it again")]
    Changed(Seq),
    /// Postgres takes no such payload.
    #[error("the payload can't be stored: {0}")]
    Payload(String),
    /// The statement failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Gives a dead row another payload, JSON, and keeps the one its producer wrote. The row stays dead until it is replayed.
/// With a `generation`, only if it is that which was seen.
///
/// # Errors
/// When there is no such dead row, or the payload can't be stored, or the statement fails.
pub async fn edit(
    client: &Client,
    schema: &str,
    which: Which,
    generation: Option<i32>,
    payload: &str,
    signed: &Signed,
) -> Result<Edited, EditError> {
    let (event_id, seq) = which.columns();
    let statement = in_schema(include_str!("../../sql/queries/outbox/edit.sql"), schema);
    let row = client
        .query_opt(&statement, &[&event_id, &seq, &generation, &payload, &signed.actor, &signed.note])
        .await
        .map_err(|error| match error.as_db_error() {
            // Data exceptions: such as \u0000, or a number that no numeric holds.
            Some(db) if db.code().code().starts_with("22") => EditError::Payload(db.message().to_owned()),
            _ => EditError::Database(error.into()),
        })?
        .ok_or(EditError::NoSuchRow)?;
    let column = |error: tokio_postgres::Error| EditError::Database(error.into());
    let seq: Seq = row.try_get(0).map_err(column)?;
    match row.try_get(4).map_err(column)? {
        Some(generation) => Ok(Edited { seq, event_id: row.try_get(1).map_err(column)?, generation }),
        None if !row.try_get::<_, bool>(2).map_err(column)? => Err(EditError::NotDead(seq)),
        None if row.try_get::<_, bool>(3).map_err(column)? => Err(EditError::Discarded(seq)),
        None => Err(EditError::Changed(seq)),
    }
}
