//! Dead letters: what a row that can't be published looks like in the dead-letter queue.

use crate::{
    envelope::{cut, timestamp},
    message::{HeaderValue, Message},
    relay::input::Death,
};

/// The longest `x-relay-error` and `last_error`, in bytes.
pub const ERROR_BYTES: usize = 4096;

/// A fetched row: its message, and what its dead letter and the metrics need besides.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The message, complete.
    pub message: Message,
    /// `created_at`, microseconds since the Unix epoch.
    pub created_us: i64,
    /// `first_failed_at`, if it failed before.
    pub first_failed_us: Option<i64>,
    /// How often it was replayed.
    pub replays: i32,
    /// Whether the payload was too large to fetch.
    pub payload_omitted: bool,
    /// Attempts charged before this one.
    pub attempts: u32,
}

/// The dead letter of a row, to be published to the dead-letter exchange under the row's own routing key.
#[must_use]
pub fn dead_letter(fetched: &Fetched, death: &Death, exchange: &str, now_us: i64) -> Message {
    let mut message = fetched.message.clone();
    let mut error = death.error.clone();
    cut(&mut error, ERROR_BYTES);
    let mut add = |name: &'static str, value: HeaderValue| message.headers.push((name.into(), value));
    add("x-relay-error", error.into());
    add("x-relay-reason", death.reason.as_str().into());
    add("x-relay-attempts", i64::from(fetched.attempts + death.charge).into());
    add("x-relay-first-failed-at", timestamp(fetched.first_failed_us.unwrap_or(now_us)).into());
    add("x-relay-dead-at", timestamp(now_us).into());
    add("x-relay-original-exchange", fetched.message.exchange.as_str().into());
    add("x-relay-original-routing-key", fetched.message.routing_key.as_str().into());
    add("x-relay-replays", i64::from(fetched.replays).into());
    if fetched.payload_omitted {
        add("x-relay-payload-omitted", HeaderValue::Bool(true));
    }
    exchange.clone_into(&mut message.exchange);
    message
}
