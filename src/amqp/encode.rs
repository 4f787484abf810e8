//! A message as lapin wants it, or why it cannot go onto the wire.
//!
//! The engine validates rows before they get here. This is the last gate: lapin panics on a short string that is
//! too long, and a header frame over the limit costs every neighbour the connection, or never leaves lapin's buffer.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

use crate::message::{HeaderValue, Message};

const CONTENT_TYPE: &str = "application/json";
const PERSISTENT: u8 = 2;

/// AMQP 0-9-1, 4.2.3 and 4.2.6.1: frame type, channel, size and end; class, weight, body size and property flags.
const HEADER_FRAME_FIXED: usize = 8 + 14;
/// The timestamp, the delivery mode, the header table's length and a length byte for each of five short strings.
const PROPERTIES_FIXED: usize = 8 + 1 + 4 + 5;

/// What `basic.publish` takes beside the body.
pub(super) struct Encoded {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
}

/// Translates a message for a connection with this `frame_max` in bytes.
///
/// # Errors
/// A sentence for the operator that names the field and the limit, without the field's value.
pub(super) fn encode(message: &Message, frame_max: u32) -> Result<Encoded, String> {
    let size = header_frame_size(message);
    if size > frame_max as usize {
        return Err(format!("properties and headers take {size} bytes, a frame holds {frame_max}"));
    }
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        headers.insert(short("a header's name", name)?, field(value));
    }
    let properties = BasicProperties::default()
        .with_content_type(short("content_type", CONTENT_TYPE)?)
        .with_delivery_mode(PERSISTENT)
        .with_message_id(short("message_id", &message.id)?)
        .with_type(short("type", &message.kind)?)
        .with_correlation_id(short("correlation_id", &message.correlation_id)?)
        .with_app_id(short("app_id", &message.app_id)?)
        .with_timestamp(message.timestamp)
        .with_headers(headers);
    Ok(Encoded {
        exchange: short("the exchange's name", &message.exchange)?,
        routing_key: short("the routing key", &message.routing_key)?,
        properties,
    })
}

/// The only way from data to a short string here: `ShortString::from` panics above 255 bytes.
fn short(field: &str, text: &str) -> Result<ShortString, String> {
    ShortString::try_new(text).map_err(|_| format!("{field} takes {} bytes, AMQP allows 255", text.len()))
}

fn field(value: &HeaderValue) -> AMQPValue {
    match value {
        HeaderValue::Null => AMQPValue::Void,
        HeaderValue::Bool(value) => AMQPValue::Boolean(*value),
        HeaderValue::Int(value) => AMQPValue::LongLongInt(*value),
        HeaderValue::Double(value) => AMQPValue::Double(*value),
        HeaderValue::Text(value) => AMQPValue::LongString(LongString::from(value.as_bytes())),
    }
}

/// Bytes of the content header frame, exactly.
fn header_frame_size(message: &Message) -> usize {
    let strings = CONTENT_TYPE.len()
        + message.id.len()
        + message.kind.len()
        + message.correlation_id.len()
        + message.app_id.len();
    let table: usize = message.headers.iter().map(|(name, value)| 1 + name.len() + 1 + width(value)).sum();
    HEADER_FRAME_FIXED + PROPERTIES_FIXED + strings + table
}

fn width(value: &HeaderValue) -> usize {
    match value {
        HeaderValue::Null => 0,
        HeaderValue::Bool(_) => 1,
        HeaderValue::Int(_) | HeaderValue::Double(_) => 8,
        HeaderValue::Text(text) => 4 + text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            id: "0190e7a8-0000-7000-8000-000000000001".to_owned(),
            exchange: "outbox.events".to_owned(),
            routing_key: "order.placed".to_owned(),
            kind: "placed".to_owned(),
            correlation_id: "42".to_owned(),
            app_id: "relay".to_owned(),
            timestamp: 1_700_000_000,
            headers: vec![
                ("traceparent".into(), "00-abc".into()),
                ("x-relay-seq".into(), 7.into()),
                ("nothing".into(), HeaderValue::Null),
                ("yes".into(), HeaderValue::Bool(true)),
                ("half".into(), HeaderValue::Double(0.5)),
            ],
            payload: b"{}".to_vec(),
        }
    }

    #[test]
    fn the_header_frame_is_measured_to_the_byte() {
        use lapin::protocol::{BasicProperties, basic::gen_properties};

        fn generated(properties: &BasicProperties) -> Option<usize> {
            let buffer = Vec::new();
            gen_properties(properties)(buffer.into()).ok().map(|context| context.into_inner().0.len())
        }

        let message = message();
        let encoded = encode(&message, 131_072).ok().and_then(|encoded| generated(&encoded.properties));
        // gen_properties writes the flags (2 bytes) too; frame 8, class 2, weight 2 and size 8 come around it.
        assert_eq!(encoded.map(|properties| properties + 8 + 2 + 2 + 8), Some(header_frame_size(&message)));
    }

    #[test]
    fn a_message_over_a_limit_is_refused_without_a_panic_and_without_its_value() {
        let long = "s3cret".repeat(50);
        type Spoil = fn(&mut Message, String);
        let spoils: [(&str, Spoil); 7] = [
            ("message_id", |m, s| m.id = s),
            ("exchange", |m, s| m.exchange = s),
            ("routing key", |m, s| m.routing_key = s),
            ("type", |m, s| m.kind = s),
            ("correlation_id", |m, s| m.correlation_id = s),
            ("app_id", |m, s| m.app_id = s),
            ("header's name", |m, s| m.headers.push((s.into(), HeaderValue::Null))),
        ];
        for (field, spoil) in spoils {
            let mut message = message();
            spoil(&mut message, long.clone());
            let refusal = encode(&message, 131_072).err().unwrap_or_default();
            assert!(
                refusal.contains(field) && refusal.contains("255") && !refusal.contains("s3cret"),
                "{refusal}"
            );
        }
        let mut message = message();
        message.headers.push(("big".into(), HeaderValue::Text("s3cret".repeat(30_000))));
        let refusal = encode(&message, 131_072).err().unwrap_or_default();
        assert!(refusal.contains("131072") && !refusal.contains("s3cret"), "{refusal}");
    }
}
