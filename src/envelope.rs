//! From a row to a message: every rule a row can break is checked here, before anything reaches a channel, where one bad
//! message would take its neighbours down with it.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use crate::{
    message::{HeaderValue, Message},
    reason::DeadReason,
    row::{Poison, Seq},
};

/// The longest short string of AMQP 0-9-1, in bytes: exchange, routing key, type, ids and header names.
pub const SHORT_STRING: usize = 255;

/// Header names a row may not set: relay's own, and those the broker acts on or writes itself.
const RESERVED: [&str; 4] = ["x-death", "x-delivery-count", "CC", "BCC"];
const RESERVED_PREFIXES: [&str; 3] = ["x-relay-", "x-first-death-", "x-last-death-"];

/// A row's columns, borrowed from wherever they were read.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// `seq`.
    pub seq: Seq,
    /// `event_id`.
    pub event_id: Uuid,
    /// `aggregate_type`.
    pub aggregate_type: &'a str,
    /// `aggregate_id`.
    pub aggregate_id: &'a str,
    /// `event_type`.
    pub event_type: &'a str,
    /// `payload` as JSON text; `None` if it was too large to be fetched.
    pub payload: Option<&'a [u8]>,
    /// `headers` as JSON text; `None` if they were too large to be fetched.
    pub headers: Option<&'a [u8]>,
    /// `exchange`.
    pub exchange: Option<&'a str>,
    /// `routing_key`.
    pub routing_key: Option<&'a str>,
    /// `created_at`, microseconds since the Unix epoch.
    pub created_us: i64,
    /// `attempts`.
    pub attempts: u32,
}

/// What a message is made with.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Where rows go that name no exchange.
    pub exchange: String,
    /// Exchanges a row may name besides that one.
    pub allowed_exchanges: BTreeSet<String>,
    /// The routing key of rows that name none.
    pub routing_key: Template,
    /// `app_id` of every message.
    pub app_id: String,
    /// The largest payload, in bytes.
    pub payload_bytes: usize,
    /// The largest sum of a row's header names and values, in bytes.
    pub header_bytes: usize,
}

/// A routing key with places for `{aggregate_type}`, `{aggregate_id}` and `{event_type}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    AggregateType,
    AggregateId,
    EventType,
}

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').ok_or_else(|| format!("`{text}` has a `{{` without its `}}`"))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(match name {
                "aggregate_type" => Piece::AggregateType,
                "aggregate_id" => Piece::AggregateId,
                "event_type" => Piece::EventType,
                _ => {
                    return Err(format!(
                        "`{{{name}}}` is no placeholder; there are {{aggregate_type}}, {{aggregate_id}}, {{event_type}}"
                    ));
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }
}

impl Template {
    fn fill(&self, columns: &Columns<'_>) -> String {
        self.render(columns.aggregate_type, columns.aggregate_id, columns.event_type)
    }

    /// The routing key of a row with these columns.
    #[must_use]
    pub fn render(&self, aggregate_type: &str, aggregate_id: &str, event_type: &str) -> String {
        let mut text = String::with_capacity(48);
        for piece in &self.0 {
            text.push_str(match piece {
                Piece::Text(text) => text,
                Piece::AggregateType => aggregate_type,
                Piece::AggregateId => aggregate_id,
                Piece::EventType => event_type,
            });
        }
        text
    }

    /// Whether each aggregate has a routing key of its own.
    #[must_use]
    pub fn is_of_each_aggregate(&self) -> bool {
        self.0.contains(&Piece::AggregateId)
    }
}

/// Makes the message of a row. A row that breaks a rule gives the rule as well, and a message good enough for its dead
/// letter: names cut to size, its own headers left out.
#[must_use]
pub fn seal(columns: &Columns<'_>, policy: &Policy) -> (Message, Option<Poison>) {
    let mut message = Message {
        id: columns.event_id.hyphenated().to_string(),
        exchange: columns.exchange.unwrap_or(&policy.exchange).to_owned(),
        routing_key: columns.routing_key.map_or_else(|| policy.routing_key.fill(columns), str::to_owned),
        kind: columns.event_type.to_owned(),
        correlation_id: columns.aggregate_id.to_owned(),
        app_id: policy.app_id.clone(),
        timestamp: u64::try_from(columns.created_us / 1_000_000).unwrap_or(0),
        headers: relay_headers(columns),
        payload: columns.payload.unwrap_or_default().to_vec(),
    };
    let poison = check(columns, policy, &mut message).err();
    if poison.is_some() {
        for name in
            [&mut message.exchange, &mut message.routing_key, &mut message.kind, &mut message.correlation_id]
        {
            cut(name, SHORT_STRING);
        }
        message.headers.truncate(RELAY_HEADERS);
        for (_, value) in &mut message.headers {
            if let HeaderValue::Text(text) = value {
                cut(text, 1024);
            }
        }
    }
    (message, poison)
}

const RELAY_HEADERS: usize = 5;

fn relay_headers(columns: &Columns<'_>) -> Vec<(Cow<'static, str>, HeaderValue)> {
    let mut headers = Vec::with_capacity(RELAY_HEADERS);
    headers.push((Cow::Borrowed("x-relay-seq"), HeaderValue::Int(columns.seq)));
    headers.push((Cow::Borrowed("x-relay-aggregate-type"), columns.aggregate_type.into()));
    headers.push((Cow::Borrowed("x-relay-aggregate-id"), columns.aggregate_id.into()));
    headers.push((Cow::Borrowed("x-relay-created-at"), timestamp(columns.created_us).into()));
    headers.push((Cow::Borrowed("x-relay-attempt"), HeaderValue::Int(i64::from(columns.attempts) + 1)));
    headers
}

fn check(columns: &Columns<'_>, policy: &Policy, message: &mut Message) -> Result<(), Poison> {
    let names: [(&str, &str, bool); 5] = [
        ("aggregate_type", columns.aggregate_type, false),
        ("aggregate_id", columns.aggregate_id, true),
        ("event_type", columns.event_type, false),
        ("exchange", &message.exchange, false),
        ("routing_key", &message.routing_key, true),
    ];
    for (name, value, may_be_empty) in names {
        if value.len() > SHORT_STRING {
            return Err(Poison {
                reason: DeadReason::InvalidName,
                error: format!("{name} has {} bytes; AMQP 0-9-1 allows {SHORT_STRING}", value.len()),
            });
        }
        if value.is_empty() && !may_be_empty {
            let error = match name {
                "exchange" => "exchange is the empty default exchange, which would put the row straight into any queue; \
                               name an exchange, or none for outbox.exchange"
                    .to_owned(),
                _ => format!("{name} is empty"),
            };
            return Err(Poison { reason: DeadReason::InvalidName, error });
        }
    }
    if message.exchange != policy.exchange && !policy.allowed_exchanges.contains(&message.exchange) {
        return Err(Poison {
            reason: DeadReason::ForbiddenExchange,
            error: format!(
                "exchange `{}` is neither outbox.exchange nor in outbox.allowed_exchanges",
                message.exchange
            ),
        });
    }
    match columns.payload {
        Some(payload) if payload.len() <= policy.payload_bytes => {}
        too_large => {
            return Err(Poison {
                reason: DeadReason::PayloadTooLarge,
                error: too_large.map_or_else(
                    || format!("payload has more than limits.payload_bytes, {}", policy.payload_bytes),
                    |payload| {
                        format!(
                            "payload has {} bytes; limits.payload_bytes is {}",
                            payload.len(),
                            policy.payload_bytes
                        )
                    },
                ),
            });
        }
    }
    let Some(text) = columns.headers else {
        return Err(invalid_headers("headers have more than 1 MiB".to_owned()));
    };
    if text != b"{}" {
        row_headers(text, policy, &mut message.headers)?;
    }
    Ok(())
}

fn row_headers(
    text: &[u8],
    policy: &Policy,
    headers: &mut Vec<(Cow<'static, str>, HeaderValue)>,
) -> Result<(), Poison> {
    // The parser's own limit of 128 levels keeps a deep value from exhausting the stack.
    let value: serde_json::Value = serde_json::from_slice(text)
        .map_err(|error| invalid_headers(format!("headers can't be read as JSON: {error}")))?;
    let serde_json::Value::Object(object) = value else {
        return Err(invalid_headers("headers are not a JSON object".to_owned()));
    };
    let mut bytes = 0;
    for (name, value) in object {
        if name.len() > SHORT_STRING || name.is_empty() {
            return Err(invalid_headers(format!(
                "a header name has {} bytes, not 1 to {SHORT_STRING}",
                name.len()
            )));
        }
        if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
            || RESERVED_PREFIXES.iter().any(|prefix| starts_with_ignoring_case(&name, prefix))
        {
            return Err(invalid_headers(format!("header `{name}` is reserved")));
        }
        let value = match value {
            serde_json::Value::Null => HeaderValue::Null,
            serde_json::Value::Bool(bool) => HeaderValue::Bool(bool),
            serde_json::Value::String(text) => HeaderValue::Text(text),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => HeaderValue::Int(int),
                (None, Some(double)) if double.is_finite() && !is_integer(number.as_str()) => {
                    HeaderValue::Double(double)
                }
                _ => {
                    return Err(invalid_headers(format!(
                        "header `{name}` is a number that fits no AMQP type"
                    )));
                }
            },
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
                return Err(invalid_headers(format!(
                    "header `{name}` is not a string, number, boolean or null"
                )));
            }
        };
        // As on the wire: a length and a type byte, and 4 bytes for the length of a text.
        bytes += 2 + name.len() + if let HeaderValue::Text(text) = &value { 4 + text.len() } else { 8 };
        headers.push((Cow::Owned(name), value));
    }
    if bytes > policy.header_bytes {
        return Err(invalid_headers(format!(
            "headers have {bytes} bytes; limits.header_bytes is {}",
            policy.header_bytes
        )));
    }
    Ok(())
}

fn starts_with_ignoring_case(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn is_integer(number: &str) -> bool {
    number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

fn invalid_headers(error: String) -> Poison {
    Poison { reason: DeadReason::InvalidHeaders, error }
}

/// Cuts text to at most `limit` bytes, at a character.
pub fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}

/// A time, given in microseconds since the Unix epoch, in RFC 3339.
#[must_use]
pub fn timestamp(micros: i64) -> String {
    // A row may carry any timestamp Postgres can store; what RFC 3339 can't express is cut to its range.
    let micros = u64::try_from(micros).unwrap_or(0).min(253_402_300_799_999_999);
    humantime::format_rfc3339_micros(SystemTime::UNIX_EPOCH + Duration::from_micros(micros)).to_string()
}
