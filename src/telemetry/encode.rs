//! Spans as OTLP has them: `ExportTraceServiceRequest` of opentelemetry-proto, in Protocol Buffers. Pure.
//!
//! Of that format a span needs four kinds of field, which is less than a library for it takes to set up. The tests read
//! what is written here with the project's own generated types.

use super::span::{Kind, Span, Value};
use crate::trace_context::TraceContext;

/// Who says it, in every request.
const SCOPE: &str = "relay";
/// Flags of a span or link: that it is known whether its parent is another process's, and that it is.
const REMOTE: u32 = 0x300;
const LOCAL: u32 = 0x100;

/// A request with these spans of a process with these attributes.
pub(super) fn request<'a>(
    resource: &[(String, String)],
    spans: impl IntoIterator<Item = &'a Span>,
) -> Vec<u8> {
    let mut request = Buffer::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |message| {
            for (name, value) in resource {
                message.attribute(1, name, &value.clone().into());
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.bytes(1, SCOPE.as_bytes());
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            for span in spans {
                scope_spans.message(2, |message| write(message, span));
            }
        });
    });
    request.0
}

fn write(message: &mut Buffer, span: &Span) {
    let context = &span.begun.context;
    message.bytes(1, &context.trace_id.to_be_bytes());
    message.bytes(2, &context.span_id.to_be_bytes());
    message.bytes(3, span.state.as_deref().unwrap_or_default().as_bytes());
    if let Some(parent) = &span.begun.parent {
        message.bytes(4, &parent.span_id.to_be_bytes());
    }
    message.bytes(5, span.name.as_bytes());
    message.number(
        6,
        match span.kind {
            Kind::Server => 2,
            Kind::Client => 3,
            Kind::Consumer => 5,
        },
    );
    message.fixed64(7, span.begun.since);
    message.fixed64(8, span.ended);
    for (name, value) in &span.attributes {
        message.attribute(9, name, value);
    }
    if let Some(error) = &span.error {
        message.attribute(9, "error.type", &Value::Text(error.clone()));
    }
    if let Some(link) = &span.link {
        message.message(13, |message| {
            message.bytes(1, &link.trace_id.to_be_bytes());
            message.bytes(2, &link.span_id.to_be_bytes());
            message.fixed32(6, flags(link) | REMOTE);
        });
    }
    if span.error.is_some() {
        message.message(15, |status| status.number(3, 2));
    }
    message.fixed32(16, flags(context) | if span.begun.parent.is_some() { REMOTE } else { LOCAL });
}

fn flags(context: &TraceContext) -> u32 {
    u32::from(context.sampled)
}

/// Fields, one after the other. Those that have no value are left out, as the format has it.
#[derive(Debug, Default)]
struct Buffer(Vec<u8>);

impl Buffer {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn tag(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.tag(field, 0);
        self.varint(number);
    }

    fn fixed64(&mut self, field: u64, number: u64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn fixed32(&mut self, field: u64, number: u32) {
        self.tag(field, 5);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.whole(field, bytes);
        }
    }

    fn whole(&mut self, field: u64, bytes: &[u8]) {
        self.tag(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Self)) {
        let mut message = Self::default();
        fill(&mut message);
        self.whole(field, &message.0);
    }

    fn attribute(&mut self, field: u64, name: &str, value: &Value) {
        self.message(field, |attribute| {
            attribute.bytes(1, name.as_bytes());
            attribute.message(2, |any| match value {
                Value::Text(text) => any.whole(1, text.as_bytes()),
                Value::Int(number) => any.number(3, number.cast_unsigned()),
            });
        });
    }
}

#[cfg(test)]
mod tests;
