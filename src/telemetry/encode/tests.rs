//! What is written is read by the project's own generated types.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value, trace::v1 as otlp,
};
use prost::Message;

use super::*;
use crate::trace_context::Begun;

const PARENT: TraceContext = TraceContext { trace_id: 7 << 100, span_id: 8 << 50, sampled: true };

fn span(parent: Option<TraceContext>) -> Span {
    let context = TraceContext { span_id: 9, ..PARENT };
    let mut span = Span::new("publish x".to_owned(), Kind::Client, Begun { context, parent, since: 5 }, 3);
    span.set("text", "ü");
    span.set("empty", "");
    span.set("number", -300);
    span.set("nought", 0);
    span
}

fn read(spans: &[Span]) -> (ExportTraceServiceRequest, Vec<otlp::Span>) {
    let resource = [("service.name".to_owned(), "relay".to_owned())];
    let request = ExportTraceServiceRequest::decode(&request(&resource, spans)[..]).expect("it is one");
    let spans = request.resource_spans[0].scope_spans[0].spans.clone();
    (request, spans)
}

fn attributes(span: &otlp::Span) -> Vec<(String, any_value::Value)> {
    let value = |pair: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        pair.value.clone().and_then(|any| any.value).expect("it has a value")
    };
    span.attributes.iter().map(|pair| (pair.key.clone(), value(pair))).collect()
}

#[test]
fn a_span_comes_out_as_it_went_in() {
    let mut whole = span(Some(PARENT));
    (whole.state, whole.link, whole.error) = (Some("a=b".to_owned()), Some(PARENT), Some("returned".into()));
    let (request, spans) = read(&[whole, span(None)]);
    let resource = request.resource_spans[0].resource.as_ref().expect("there is one");
    assert_eq!(resource.attributes[0].key, "service.name");
    let scope = request.resource_spans[0].scope_spans[0].scope.as_ref().expect("there is one");
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("relay", env!("CARGO_PKG_VERSION")));

    let [first, second] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(first.trace_id, (7_u128 << 100).to_be_bytes());
    assert_eq!(first.span_id, 9_u64.to_be_bytes());
    assert_eq!(first.parent_span_id, (8_u64 << 50).to_be_bytes());
    assert_eq!((first.trace_state.as_str(), first.name.as_str()), ("a=b", "publish x"));
    assert_eq!(first.kind(), otlp::span::SpanKind::Client);
    assert_eq!(
        (first.start_time_unix_nano, first.end_time_unix_nano),
        (5, 5),
        "it ends no sooner than it began"
    );
    assert_eq!(first.flags, 0x301);
    let text = |text: &str| any_value::Value::StringValue(text.to_owned());
    assert_eq!(
        attributes(first),
        [
            ("text".to_owned(), text("ü")),
            ("empty".to_owned(), text("")),
            ("number".to_owned(), any_value::Value::IntValue(-300)),
            ("nought".to_owned(), any_value::Value::IntValue(0)),
            ("error.type".to_owned(), text("returned")),
        ]
    );
    let link = &first.links[0];
    assert_eq!((&link.trace_id, &link.span_id), (&first.trace_id, &first.parent_span_id));
    assert_eq!(first.status.as_ref().map(otlp::Status::code), Some(otlp::status::StatusCode::Error));

    assert!(second.parent_span_id.is_empty() && second.links.is_empty() && second.status.is_none());
    assert_eq!((second.flags, second.attributes.len()), (0x101, 4));
}

#[test]
fn every_kind_is_the_one_that_is_meant() {
    for (kind, expected) in [
        (Kind::Server, otlp::span::SpanKind::Server),
        (Kind::Client, otlp::span::SpanKind::Client),
        (Kind::Consumer, otlp::span::SpanKind::Consumer),
    ] {
        let spans = read(&[Span { kind, ..span(None) }]).1;
        assert_eq!(spans[0].kind(), expected);
    }
}
