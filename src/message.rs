//! A message as it goes onto the wire, in terms of AMQP 0-9-1 but of no client library.

use std::borrow::Cow;

/// One message, validated and complete: an adapter only translates it.
///
/// Every field obeys the limits of AMQP 0-9-1 already (names and short strings of at most 255 bytes, headers
/// that fit one frame), because a message that breaks one costs its neighbours their channel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// `message_id`: the row's `event_id` in its hyphenated form. Never changes, whatever happens to the row.
    pub id: String,
    /// The exchange to publish to; never empty.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// `type`: what happened.
    pub kind: String,
    /// `correlation_id`: the aggregate's id.
    pub correlation_id: String,
    /// `app_id`.
    pub app_id: String,
    /// `timestamp`: when the row was created, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// All headers, the row's own and relay's.
    pub headers: Vec<(Cow<'static, str>, HeaderValue)>,
    /// The body, sent as `application/json`.
    pub payload: Vec<u8>,
}

/// A header's value. AMQP tables know more types; a row's headers are scalars.
#[derive(Debug, Clone, PartialEq)]
pub enum HeaderValue {
    /// JSON `null`, AMQP void.
    Null,
    /// A boolean.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// A finite double.
    Double(f64),
    /// A long string.
    Text(String),
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for HeaderValue {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}
