//! Spans of messages, after OpenTelemetry's conventions for messaging and for RabbitMQ. Pure.
//!
//! What a message was made in is both the parent of such a span and linked to, so one trace leads from the request to the
//! last effect. A message keeps the `traceparent` that its producer gave it; so "publish" is a span beside the others, of
//! kind client, and what processes the message is a part of what produced it.

use super::span::{Kind, Span};
use crate::{
    message::{HeaderValue, Message},
    publisher::Outcome,
    trace_context::{Begun, TraceContext, is_request_id, is_tracestate},
};

/// The broker, as spans name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// Its host.
    pub address: String,
    /// Its port.
    pub port: u16,
}

/// The context that a message was made in, if it names one.
pub(crate) fn context_of(message: &Message) -> Option<TraceContext> {
    TraceContext::parse(text(message, "traceparent")?)
}

fn text<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    match header(message, name)? {
        HeaderValue::Text(text) => Some(text),
        _ => None,
    }
}

fn number(message: &Message, name: &str) -> Option<i64> {
    match header(message, name)? {
        HeaderValue::Int(number) => Some(*number),
        _ => None,
    }
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a HeaderValue> {
    message.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// A message was published, and this became of it.
pub(crate) fn published(
    message: &Message,
    outcome: &Outcome,
    (begun, ended): (Begun, u64),
    (server, outbox): (&Server, &str),
) -> Span {
    // The exchange alone: a routing key may be of each aggregate, and a name is to be one of few.
    let name = format!("publish {}", message.exchange);
    let mut span = Span::new(name, Kind::Client, begun, ended);
    span.state = text(message, "tracestate").filter(|state| is_tracestate(state)).map(str::to_owned);
    span.link = begun.parent;
    span.set("messaging.operation.name", "publish");
    span.set("messaging.operation.type", "send");
    let destination = [&message.exchange, &message.routing_key];
    about(&mut span, server, &destination.map(String::as_str), &message.id);
    span.set("messaging.rabbitmq.destination.routing_key", message.routing_key.clone());
    span.set("messaging.message.conversation_id", message.correlation_id.clone());
    span.set("relay.outbox", outbox.to_owned());
    span.set_some("relay.seq", number(message, "x-relay-seq"));
    span.set_some("relay.attempt", number(message, "x-relay-attempt"));
    span.set_some(
        "relay.request_id",
        text(message, "x-request-id").filter(|id| is_request_id(id)).map(str::to_owned),
    );
    span.error = match outcome {
        Outcome::Confirmed | Outcome::Paused(_) => None,
        Outcome::Returned { .. } => Some("returned".into()),
        Outcome::Nacked => Some("nacked".into()),
        Outcome::Refused { .. } => Some("refused".into()),
        Outcome::Unknown => Some("unknown".into()),
    };
    span
}

/// A consumer and where it takes its messages from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Consumer<'a> {
    pub(crate) name: &'a str,
    pub(crate) queue: &'a str,
    pub(crate) server: &'a Server,
}

/// A message, as a consumer knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processed<'a> {
    pub(crate) id: &'a str,
    pub(crate) exchange: &'a str,
    pub(crate) routing_key: &'a str,
    pub(crate) correlation_id: &'a str,
    pub(crate) state: Option<&'a str>,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) attempt: u32,
}

/// A consumer's handler has had a message; `error` is one of a closed set of the handler's own.
pub(crate) fn processed(
    message: &Processed<'_>,
    consumer: &Consumer<'_>,
    (begun, ended): (Begun, u64),
    error: Option<&'static str>,
) -> Span {
    let mut span = Span::new(format!("process {}", consumer.queue), Kind::Consumer, begun, ended);
    span.state = message.state.filter(|state| is_tracestate(state)).map(str::to_owned);
    span.link = begun.parent;
    span.set("messaging.operation.name", "process");
    span.set("messaging.operation.type", "process");
    let destination = [message.exchange, message.routing_key, consumer.queue];
    about(&mut span, consumer.server, &destination, message.id);
    if !message.routing_key.is_empty() {
        span.set("messaging.rabbitmq.destination.routing_key", message.routing_key.to_owned());
    }
    if !message.correlation_id.is_empty() {
        span.set("messaging.message.conversation_id", message.correlation_id.to_owned());
    }
    span.set("relay.consumer", consumer.name.to_owned());
    span.set("relay.attempt", i64::from(message.attempt));
    span.set_some("relay.request_id", message.request_id.map(str::to_owned));
    span.error = error.map(Into::into);
    span
}

fn about(span: &mut Span, server: &Server, destination: &[&str], id: &str) {
    let mut name = String::with_capacity(64);
    for part in destination.iter().filter(|part| !part.is_empty()) {
        if !name.is_empty() {
            name.push(':');
        }
        name.push_str(part);
    }
    span.set("messaging.system", "rabbitmq");
    span.set("messaging.destination.name", name);
    span.set("messaging.message.id", id.to_owned());
    span.set("server.address", server.address.clone());
    span.set("server.port", i64::from(server.port));
}
