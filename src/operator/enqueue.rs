//! Adding one event by hand.

use serde_json::Value;
use uuid::Uuid;

use crate::postgres::{client::Client, connect::DatabaseError, sql::in_schema};

/// When a row may be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Available {
    /// At once.
    Now,
    /// So many microseconds from now, by the database's clock.
    After(i64),
    /// At a time in microseconds since the Unix epoch.
    At(i64),
}

/// An event to add.
#[derive(Debug, Clone)]
pub struct Event {
    /// `aggregate_type`.
    pub aggregate_type: String,
    /// `aggregate_id`.
    pub aggregate_id: String,
    /// `event_type`.
    pub event_type: String,
    /// `payload`: JSON.
    pub payload: String,
    /// `headers`: a JSON object.
    pub headers: String,
    /// `available_at`.
    pub available: Available,
    /// `exchange`, if not the configured one.
    pub exchange: Option<String>,
    /// `routing_key`, if not by the template.
    pub routing_key: Option<String>,
    /// `event_id`, if not a new one.
    pub event_id: Option<Uuid>,
}

/// Checks that a text is JSON, without keeping it: numbers and repeated names stay as they were written.
///
/// # Errors
/// Where and what is wrong, without the text.
pub fn check_json(text: &str) -> Result<(), String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| ()).map_err(|error| error.to_string())
}

/// Checks that a text is a JSON object, as headers have to be.
///
/// # Errors
/// What is wrong.
pub fn check_headers(text: &str) -> Result<(), String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err("expected a JSON object of names and values".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Adds it; returns its event id.
///
/// # Errors
/// When the statement fails.
pub async fn enqueue(client: &Client, schema: &str, event: &Event) -> Result<Uuid, DatabaseError> {
    let (at, after) = match event.available {
        Available::Now => (None, None),
        Available::After(micros) => (None, Some(micros)),
        Available::At(micros) => (Some(micros), None),
    };
    let statement = in_schema(include_str!("../../sql/queries/outbox/enqueue.sql"), schema);
    let row = client
        .query_one(
            &statement,
            &[
                &event.aggregate_type,
                &event.aggregate_id,
                &event.event_type,
                &event.payload,
                &event.headers,
                &at,
                &after,
                &event.exchange,
                &event.routing_key,
                &event.event_id,
            ],
        )
        .await?;
    Ok(row.try_get(0)?)
}
