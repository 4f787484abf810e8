//! A message as a handler gets it, and what is no message at all. Pure.

use serde_json::{Map, Value, json};

use crate::{
    envelope::SHORT_STRING,
    row::{KeyHash, Seq},
    trace_context::{Begun, TraceContext, is_request_id},
};

/// The header that names the request that a message goes back to.
const REQUEST_ID: &str = "x-request-id";

/// A valid message.
///
/// What others than relay published lacks some of the fields: texts are then empty and numbers missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delivery {
    /// AMQP `message_id`, by which the inbox knows it; never empty.
    pub message_id: String,
    /// AMQP `type`: what happened; never empty. A type that a handler doesn't know is for the handler to judge.
    pub event_type: String,
    /// `x-relay-aggregate-type`: of what kind the thing is that it happened to.
    pub aggregate_type: String,
    /// `x-relay-aggregate-id`: which one it is.
    pub aggregate_id: String,
    /// `x-relay-seq`: the order within that key. Not an identity.
    pub seq: Option<Seq>,
    /// `x-relay-created-at`, microseconds since the Unix epoch.
    pub created_us: Option<i64>,
    /// The body: JSON, checked, at most `body_bytes` of the settings.
    pub body: Vec<u8>,
    /// All headers.
    pub headers: Map<String, Value>,
    /// Whether the broker delivered it before, to whomever.
    pub redelivered: bool,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Whether it is the last one: a failure that is charged makes the message die.
    pub is_last_attempt: bool,
    /// The span of the attempt that is under way, and its `traceparent`; none where nothing is traced.
    pub(super) span: Option<(Begun, String)>,
    /// What only its dead letter needs.
    pub(super) origin: Origin,
}

/// How it was published.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Origin {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) correlation_id: String,
    pub(super) app_id: String,
    pub(super) timestamp: u64,
}

/// A message as it came off the wire, in terms of no client library.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Raw {
    pub(super) message_id: Option<String>,
    pub(super) event_type: Option<String>,
    pub(super) redelivered: bool,
    pub(super) headers: Map<String, Value>,
    pub(super) body: Vec<u8>,
    pub(super) origin: Origin,
}

/// Why something is no message: the reason of its dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GarbageReason {
    /// It has no `message_id`, so nobody could tell it from its duplicate.
    NoMessageId,
    /// It has no `type`.
    NoType,
    /// An id, a type or a key is too long or holds a NUL, which Postgres can't store.
    InvalidName,
    /// The body is larger than `body_bytes`.
    BodyTooLarge,
    /// The body is no JSON text, or nested deeper than 128 levels.
    InvalidJson,
}

impl GarbageReason {
    /// As in `x-relay-reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoMessageId => "no_message_id",
            Self::NoType => "no_type",
            Self::InvalidName => "invalid_name",
            Self::BodyTooLarge => "body_too_large",
            Self::InvalidJson => "invalid_json",
        }
    }
}

/// Something that is no message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Garbage {
    pub(super) reason: GarbageReason,
    /// What exactly is wrong, without the body.
    pub(super) error: String,
    /// For its dead letter.
    pub(super) raw: Raw,
}

impl Delivery {
    /// Checks a message. Nothing of it is looked into before its size is known.
    pub(super) fn check(raw: Raw, body_bytes: usize) -> Result<Self, Box<Garbage>> {
        match problem(&raw, body_bytes) {
            Some((reason, error)) => Err(Box::new(Garbage { reason, error, raw })),
            None => Ok(Self::trust(raw)),
        }
    }

    /// From what was checked before.
    pub(super) fn trust(raw: Raw) -> Self {
        let text = |name: &str| raw.headers.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            message_id: raw.message_id.unwrap_or_default(),
            event_type: raw.event_type.unwrap_or_default(),
            aggregate_type: text("x-relay-aggregate-type"),
            aggregate_id: text("x-relay-aggregate-id"),
            seq: raw.headers.get("x-relay-seq").and_then(Value::as_i64),
            created_us: raw.headers.get("x-relay-created-at").and_then(Value::as_str).and_then(micros_of),
            body: raw.body,
            headers: raw.headers,
            redelivered: raw.redelivered,
            attempt: 1,
            is_last_attempt: false,
            span: None,
            origin: raw.origin,
        }
    }

    /// The body, read as `T`. Its error is one of the message: see [`Failure::finally`](super::Failure::finally).
    ///
    /// # Errors
    /// When the body has another shape.
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// The W3C trace context of what follows from it: the `traceparent` that came with it, or, where consumers are
    /// traced, that of the attempt that is under way.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        match &self.span {
            Some((_, traceparent)) => Some(traceparent),
            None => self.given_traceparent(),
        }
    }

    fn given_traceparent(&self) -> Option<&str> {
        self.headers.get("traceparent").and_then(Value::as_str)
    }

    /// The W3C trace context that came with it: `tracestate`.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.headers.get("tracestate").and_then(Value::as_str)
    }

    /// Where in a trace it was made, if it came with a `traceparent`.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        self.given_traceparent().and_then(TraceContext::parse)
    }

    /// The trace that it belongs to.
    pub(super) fn trace_id(&self) -> Option<String> {
        let own = self.span.as_ref().map(|(span, _)| span.context);
        own.or_else(|| self.context()).map(|context| context.trace())
    }

    /// The `x-request-id` of the request that it goes back to: the id that log lines about it have.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        request_id_of(&self.headers)
    }

    /// Headers for events that follow from it: the request and the trace that it belongs to.
    #[must_use]
    pub fn trail(&self) -> Value {
        let trail = [
            (REQUEST_ID, self.request_id()),
            ("traceparent", self.traceparent()),
            ("tracestate", self.tracestate()),
        ];
        trail.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?)))).collect()
    }

    /// Messages of one key hash alike; a message without a key is alone with its id.
    pub(super) fn key(&self) -> KeyHash {
        if self.aggregate_type.is_empty() && self.aggregate_id.is_empty() {
            KeyHash::of("", &self.message_id)
        } else {
            KeyHash::of(&self.aggregate_type, &self.aggregate_id)
        }
    }

    /// For the inbox: everything that has no column of its own.
    pub(super) fn properties(&self) -> String {
        json!({
            "exchange": self.origin.exchange,
            "routing_key": self.origin.routing_key,
            "correlation_id": self.origin.correlation_id,
            "app_id": self.origin.app_id,
            "timestamp": self.origin.timestamp,
            "headers": self.headers,
        })
        .to_string()
    }

    /// From the inbox. Whatever is missing there is empty: an operator may have mended a row by hand.
    pub(super) fn restore(message_id: String, event_type: String, properties: &str, body: Vec<u8>) -> Self {
        let mut stored: Value = serde_json::from_str(properties).unwrap_or_default();
        let headers = match stored.get_mut("headers").map(Value::take) {
            Some(Value::Object(headers)) => headers,
            _ => Map::new(),
        };
        let text = |name: &str| stored.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self::trust(Raw {
            message_id: Some(message_id),
            event_type: Some(event_type),
            redelivered: true,
            headers,
            body,
            origin: Origin {
                exchange: text("exchange"),
                routing_key: text("routing_key"),
                correlation_id: text("correlation_id"),
                app_id: text("app_id"),
                timestamp: stored.get("timestamp").and_then(Value::as_u64).unwrap_or_default(),
            },
        })
    }
}

/// As [`Delivery::request_id`], of whatever has headers.
pub(super) fn request_id_of(headers: &Map<String, Value>) -> Option<&str> {
    headers.get(REQUEST_ID).and_then(Value::as_str).filter(|id| is_request_id(id))
}

fn problem(raw: &Raw, body_bytes: usize) -> Option<(GarbageReason, String)> {
    let size = raw.body.len();
    if size > body_bytes {
        return Some((
            GarbageReason::BodyTooLarge,
            format!("the body has {size} bytes, {body_bytes} are allowed"),
        ));
    }
    let Some(id) = raw.message_id.as_deref().filter(|id| !id.is_empty()) else {
        return Some((GarbageReason::NoMessageId, "it has no message_id".to_owned()));
    };
    let Some(kind) = raw.event_type.as_deref().filter(|kind| !kind.is_empty()) else {
        return Some((GarbageReason::NoType, "it has no type".to_owned()));
    };
    let header = |name: &str| raw.headers.get(name).and_then(Value::as_str).unwrap_or_default();
    let names = [
        ("message_id", id),
        ("type", kind),
        ("x-relay-aggregate-type", header("x-relay-aggregate-type")),
        ("x-relay-aggregate-id", header("x-relay-aggregate-id")),
    ];
    for (name, value) in names {
        if value.len() > SHORT_STRING || value.contains('\0') {
            let error = format!("{name} has {} bytes or a NUL; {SHORT_STRING} are allowed", value.len());
            return Some((GarbageReason::InvalidName, error));
        }
    }
    // Parsed and thrown away: numbers stay as they were written, and depth is bounded by the parser.
    // UTF-8 first: what is ignored, the parser would not look at.
    let parsed = match std::str::from_utf8(&raw.body) {
        Ok(text) => serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    parsed.err().map(|error| (GarbageReason::InvalidJson, format!("the body is no JSON: {error}")))
}

/// An RFC 3339 time in microseconds since the Unix epoch.
fn micros_of(text: &str) -> Option<i64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(body: &[u8]) -> Raw {
        let headers = json!({
            "x-relay-seq": 7, "x-relay-aggregate-type": "order", "x-relay-aggregate-id": "17",
            "x-relay-created-at": "1970-01-01T00:00:01.000002Z", "traceparent": "00-abc", "note": "a\u{0}b",
        });
        Raw {
            message_id: Some("id-1".to_owned()),
            event_type: Some("paid".to_owned()),
            headers: headers.as_object().cloned().unwrap_or_default(),
            body: body.to_vec(),
            origin: Origin { exchange: "outbox.events".to_owned(), timestamp: 9, ..Origin::default() },
            ..Raw::default()
        }
    }

    fn reason(raw: Raw) -> Option<GarbageReason> {
        Delivery::check(raw, 1000).err().map(|garbage| garbage.reason)
    }

    #[test]
    fn a_message_of_relays_is_understood() {
        let delivery = Delivery::check(raw(b"{\"total\": 99}"), 1000).unwrap_or_default();
        assert_eq!((delivery.aggregate_type.as_str(), delivery.aggregate_id.as_str()), ("order", "17"));
        assert_eq!((delivery.seq, delivery.created_us), (Some(7), Some(1_000_002)));
        assert_eq!(delivery.traceparent(), Some("00-abc"));
        assert_eq!(delivery.json::<Value>().ok(), Some(json!({"total": 99})));
    }

    #[test]
    fn what_it_goes_back_to_is_passed_on_and_nothing_else() {
        let mut raw = raw(b"{}");
        let mut delivery = Delivery::trust(raw.clone());
        assert_eq!((delivery.request_id(), delivery.context()), (None, None));
        assert_eq!(delivery.trail(), json!({"traceparent": "00-abc"}));
        raw.headers.insert(REQUEST_ID.to_owned(), "order-17".into());
        raw.headers.insert("tracestate".to_owned(), "a=b".into());
        delivery =
            Delivery::restore(String::new(), String::new(), &Delivery::trust(raw).properties(), vec![]);
        assert_eq!(delivery.request_id(), Some("order-17"), "the inbox keeps it");
        let trail = json!({"x-request-id": "order-17", "traceparent": "00-abc", "tracestate": "a=b"});
        assert_eq!(delivery.trail(), trail);
        delivery.headers.insert(REQUEST_ID.to_owned(), "two\nlines".into());
        assert_eq!(delivery.request_id(), None, "no line of a log is to be forged");
    }

    #[test]
    fn every_kind_of_garbage_has_its_reason() {
        let spoiled = |spoil: fn(&mut Raw)| {
            let mut raw = raw(b"{}");
            spoil(&mut raw);
            reason(raw)
        };
        assert_eq!(reason(raw(b"{}")), None);
        assert_eq!(spoiled(|raw| raw.message_id = None), Some(GarbageReason::NoMessageId));
        assert_eq!(spoiled(|raw| raw.message_id = Some(String::new())), Some(GarbageReason::NoMessageId));
        assert_eq!(spoiled(|raw| raw.message_id = Some("x".repeat(256))), Some(GarbageReason::InvalidName));
        assert_eq!(spoiled(|raw| raw.message_id = Some("a\0".to_owned())), Some(GarbageReason::InvalidName));
        assert_eq!(spoiled(|raw| raw.event_type = None), Some(GarbageReason::NoType));
        assert_eq!(spoiled(|raw| raw.body = vec![b' '; 1001]), Some(GarbageReason::BodyTooLarge));
        for body in [&b""[..], b"{", b"\x1f\x8b\x08", b"{\"a\": 1} x", b"\"\xff\""] {
            assert_eq!(reason(raw(body)), Some(GarbageReason::InvalidJson), "{body:?}");
        }
        assert_eq!(reason(raw("[".repeat(900).as_bytes())), Some(GarbageReason::InvalidJson));
    }

    #[test]
    fn what_the_inbox_keeps_gives_the_same_delivery_again() {
        let delivery = Delivery::check(raw(b"[1e400]"), 1000).unwrap_or_default();
        let mut again = Delivery::restore(
            delivery.message_id.clone(),
            delivery.event_type.clone(),
            &delivery.properties(),
            delivery.body.clone(),
        );
        again.redelivered = false;
        assert_eq!(again, delivery);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body: Vec<u8>, id: Option<String>, kind: Option<String>) {
            let raw = Raw { message_id: id, event_type: kind, body, ..Raw::default() };
            let _ = Delivery::check(raw, 64);
        }
    }
}
