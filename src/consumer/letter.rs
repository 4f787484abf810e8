//! Dead letters of consumers: what a message looks like in the dead-letter queue when a consumer gave it up. Pure.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::delivery::{Delivery, Garbage, Origin};
use crate::{
    envelope::{SHORT_STRING, cut},
    letter::{CONSUMER, ERROR_BYTES, LETTER_HEADERS, LetterContext, ORIGINAL_QUEUE, add_context},
    message::{HeaderValue, Message},
};

/// Headers that the broker acts on or writes itself, and what an earlier death left.
const DROPPED: [&str; 4] = ["x-death", "x-delivery-count", "CC", "BCC"];
/// All of a letter's own headers must fit a frame together with the error; AMQP's smallest default is 128 KiB.
const HEADER_BYTES: usize = 64 * 1024;

/// What a dead letter says of a death.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Death {
    pub(super) reason: String,
    pub(super) error: String,
    pub(super) attempts: u32,
    pub(super) first_failed_us: i64,
    pub(super) replays: i32,
}

/// The letter of a message that is to die.
pub(super) fn dead_letter(
    delivery: &Delivery,
    death: &Death,
    consumer: &str,
    exchange: &str,
    now_us: i64,
) -> Message {
    let mut message =
        base(&delivery.message_id, &delivery.event_type, &delivery.origin, &delivery.headers, exchange);
    message.payload.clone_from(&delivery.body);
    let context = LetterContext {
        error: &death.error,
        reason: &death.reason,
        attempts: i64::from(death.attempts),
        first_failed_us: death.first_failed_us,
        dead_us: now_us,
        original_exchange: &delivery.origin.exchange,
        original_routing_key: &delivery.origin.routing_key,
        replays: Some(death.replays),
    };
    add_context(&mut message, &context);
    message.headers.push((CONSUMER.into(), consumer.into()));
    message
}

/// The letter of something that is no message. It says nothing of replays: no inbox knows it, and the letter is all that
/// is left. So it says which queue it came from, where an operator may send it back to.
pub(super) fn garbage_letter(
    garbage: &Garbage,
    (consumer, queue): (&str, &str),
    exchange: &str,
    now_us: i64,
) -> Message {
    let raw = &garbage.raw;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut message =
        base(&text(&raw.message_id), &text(&raw.event_type), &raw.origin, &raw.headers, exchange);
    message.payload.clone_from(&raw.body);
    let context = LetterContext {
        error: &garbage.error,
        reason: garbage.reason.as_str(),
        attempts: 1,
        first_failed_us: now_us,
        dead_us: now_us,
        original_exchange: &raw.origin.exchange,
        original_routing_key: &raw.origin.routing_key,
        replays: None,
    };
    add_context(&mut message, &context);
    message.headers.push((CONSUMER.into(), consumer.into()));
    message.headers.push((ORIGINAL_QUEUE.into(), queue.into()));
    message
}

fn base(id: &str, kind: &str, origin: &Origin, headers: &Map<String, Value>, exchange: &str) -> Message {
    let short = |text: &str| {
        let mut text = text.to_owned();
        cut(&mut text, SHORT_STRING);
        text
    };
    Message {
        id: short(id),
        exchange: exchange.to_owned(),
        routing_key: short(&origin.routing_key),
        kind: short(kind),
        correlation_id: short(&origin.correlation_id),
        app_id: short(&origin.app_id),
        timestamp: origin.timestamp,
        headers: scalars(headers),
        payload: Vec::new(),
    }
}

/// The headers that a letter can carry: scalars, none that a letter writes itself, and not too much of them.
fn scalars(headers: &Map<String, Value>) -> Vec<(Cow<'static, str>, HeaderValue)> {
    let mut left = HEADER_BYTES - ERROR_BYTES;
    let mut kept = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let dropped = DROPPED.iter().any(|dropped| name.eq_ignore_ascii_case(dropped))
            || ["x-first-death-", "x-last-death-"].iter().any(|prefix| name.starts_with(prefix))
            || LETTER_HEADERS.contains(&name.as_str())
            || name.len() > SHORT_STRING;
        let value = match value {
            _ if dropped => continue,
            Value::Null => HeaderValue::Null,
            Value::Bool(value) => HeaderValue::Bool(*value),
            Value::String(text) => HeaderValue::Text(text.clone()),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => HeaderValue::Int(int),
                (None, Some(double)) => HeaderValue::Double(double),
                (None, None) => continue,
            },
            Value::Array(_) | Value::Object(_) => continue,
        };
        let size = name.len() + 16 + if let HeaderValue::Text(text) = &value { text.len() } else { 8 };
        if let Some(rest) = left.checked_sub(size) {
            left = rest;
            kept.push((name.clone().into(), value));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::consumer::delivery::Raw;

    fn header<'a>(message: &'a Message, name: &str) -> Option<&'a HeaderValue> {
        message.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    #[test]
    fn a_letter_keeps_the_messages_headers_and_says_whose_it_is_and_why() {
        let headers = json!({
            "x-relay-seq": 7, "traceparent": "00-abc", "x-death": [{"queue": "q"}], "CC": "elsewhere",
            "nested": {"a": 1}, "big": "x".repeat(HEADER_BYTES),
        });
        let delivery = Delivery::trust(Raw {
            message_id: Some("id".to_owned()),
            event_type: Some("paid".to_owned()),
            headers: headers.as_object().cloned().unwrap_or_default(),
            body: b"{}".to_vec(),
            origin: Origin { routing_key: "order.paid".to_owned(), ..Origin::default() },
            redelivered: false,
        });
        let death = Death {
            reason: "exhausted".to_owned(),
            error: "e".to_owned(),
            attempts: 3,
            first_failed_us: 0,
            replays: 1,
        };
        let letter = dead_letter(&delivery, &death, "shipping", "outbox.dlx", 1_000_000);
        assert_eq!((letter.exchange.as_str(), letter.routing_key.as_str()), ("outbox.dlx", "order.paid"));
        assert_eq!(header(&letter, "x-relay-consumer"), Some(&"shipping".into()));
        assert_eq!(header(&letter, "x-relay-reason"), Some(&"exhausted".into()));
        assert_eq!(header(&letter, "x-relay-attempts"), Some(&3.into()));
        assert_eq!(header(&letter, "x-relay-replays"), Some(&1.into()));
        assert_eq!(header(&letter, "x-relay-seq"), Some(&7.into()));
        assert_eq!(header(&letter, "traceparent"), Some(&"00-abc".into()));
        for gone in ["x-death", "CC", "nested", "big"] {
            assert_eq!(header(&letter, gone), None, "{gone}");
        }
    }
}
