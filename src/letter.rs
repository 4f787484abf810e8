//! Dead letters: what a row that can't be published looks like in the dead-letter queue.

use crate::{
    envelope::{cut, timestamp},
    message::{HeaderValue, Message},
    relay::input::Death,
};

/// The longest `x-relay-error` and `last_error`, in bytes.
pub const ERROR_BYTES: usize = 4096;
/// Says that the payload is not the row's, which has it.
pub const PAYLOAD_OMITTED: &str = "x-relay-payload-omitted";
/// Headers that only a letter has. Sent on, what it was made of has none of them.
pub const LETTER_HEADERS: [&str; 10] = [
    "x-relay-error",
    "x-relay-reason",
    "x-relay-attempts",
    "x-relay-first-failed-at",
    "x-relay-dead-at",
    "x-relay-original-exchange",
    "x-relay-original-routing-key",
    "x-relay-replays",
    CONSUMER,
    ORIGINAL_QUEUE,
];
/// The consumer that gave up what the letter was made of.
pub const CONSUMER: &str = "x-relay-consumer";
/// Where that consumer took it from, if no inbox has it: then it can go back there.
pub const ORIGINAL_QUEUE: &str = "x-relay-original-queue";

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

/// What a dead letter says about a death, whoever buries.
#[derive(Debug, Clone, Copy)]
pub struct LetterContext<'a> {
    /// What went wrong; cut to [`ERROR_BYTES`].
    pub error: &'a str,
    /// The reason, one of a closed set.
    pub reason: &'a str,
    /// Attempts charged.
    pub attempts: i64,
    /// When it failed first, microseconds since the Unix epoch.
    pub first_failed_us: i64,
    /// When it died, likewise.
    pub dead_us: i64,
    /// Where it was published, or should have been.
    pub original_exchange: &'a str,
    /// Under which routing key.
    pub original_routing_key: &'a str,
    /// How often it was replayed; `None` for what can't be.
    pub replays: Option<i32>,
}

/// Adds the headers that tell of a death.
pub fn add_context(message: &mut Message, context: &LetterContext<'_>) {
    let mut error = context.error.to_owned();
    cut(&mut error, ERROR_BYTES);
    let mut add = |name: &'static str, value: HeaderValue| message.headers.push((name.into(), value));
    add("x-relay-error", error.into());
    add("x-relay-reason", context.reason.into());
    add("x-relay-attempts", context.attempts.into());
    add("x-relay-first-failed-at", timestamp(context.first_failed_us).into());
    add("x-relay-dead-at", timestamp(context.dead_us).into());
    add("x-relay-original-exchange", context.original_exchange.into());
    add("x-relay-original-routing-key", context.original_routing_key.into());
    if let Some(replays) = context.replays {
        add("x-relay-replays", i64::from(replays).into());
    }
}

/// The dead letter of a row, to be published to the dead-letter exchange under the row's own routing key.
#[must_use]
pub fn dead_letter(fetched: &Fetched, death: &Death, exchange: &str, now_us: i64) -> Message {
    let mut message = fetched.message.clone();
    let context = LetterContext {
        error: &death.error,
        reason: death.reason.as_str(),
        attempts: i64::from(fetched.attempts + death.charge),
        first_failed_us: fetched.first_failed_us.unwrap_or(now_us),
        dead_us: now_us,
        original_exchange: &fetched.message.exchange,
        original_routing_key: &fetched.message.routing_key,
        replays: Some(fetched.replays),
    };
    add_context(&mut message, &context);
    if fetched.payload_omitted {
        message.headers.push((PAYLOAD_OMITTED.into(), HeaderValue::Bool(true)));
    }
    exchange.clone_into(&mut message.exchange);
    message
}

/// The same letter with neither the row's payload nor its own headers, for a broker that refused it with them. All that the
/// row had is still in the outbox, which a replay reads.
#[must_use]
pub fn bare_letter(mut letter: Message, why: &str) -> Message {
    letter.payload = Vec::new();
    letter.headers.retain(|(name, _)| name.starts_with("x-relay-"));
    for (name, value) in &mut letter.headers {
        if let ("x-relay-error", HeaderValue::Text(error)) = (name.as_ref(), value) {
            error.push_str(
                "; its dead letter has neither payload nor headers, for with them it was refused: ",
            );
            error.push_str(why);
            cut(error, ERROR_BYTES);
        }
    }
    letter.headers.retain(|(name, _)| name != PAYLOAD_OMITTED);
    letter.headers.push((PAYLOAD_OMITTED.into(), HeaderValue::Bool(true)));
    letter
}
