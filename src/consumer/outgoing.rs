//! Events that follow from a message.

use serde_json::Value;
use uuid::Uuid;

use super::delivery::Delivery;
use crate::postgres::{sql::in_schema, transaction::Tx};

/// The outbox that a handler adds events to.
#[derive(Debug, Clone)]
pub struct Outbox {
    statement: String,
}

/// An event to add.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Of what kind the thing is that it happened to.
    pub aggregate_type: &'a str,
    /// Which one it is; with the type, the ordering key.
    pub aggregate_id: &'a str,
    /// What happened.
    pub event_type: &'a str,
    /// The body.
    pub payload: &'a Value,
}

impl Outbox {
    /// The outbox of a schema.
    #[must_use]
    pub fn new(schema: &str) -> Self {
        Self { statement: in_schema(include_str!("../../sql/queries/outbox/follow.sql"), schema) }
    }

    /// Adds an event in the transaction of the effect; returns its id. The request and the
    /// trace that `cause` belongs to go on with it.
    ///
    /// # Errors
    /// When the statement fails, and with it the transaction.
    pub async fn add(
        &self,
        tx: &Tx<'_>,
        cause: &Delivery,
        event: Event<'_>,
    ) -> Result<Uuid, tokio_postgres::Error> {
        let (payload, headers) = (event.payload.to_string(), cause.trail().to_string());
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&event.aggregate_type, &event.aggregate_id, &event.event_type, &payload, &headers];
        tx.query_one(&self.statement, &parameters).await?.try_get(0)
    }
}
