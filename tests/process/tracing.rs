//! Spans of what relay publishes; and that nobody waits for a collector.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpSocket;

use crate::{
    collector::{Collector, Reply, Span},
    rig::Rig,
    support::{broker::Broker, database::Database, relay::Relay, wait},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A relay that sends its spans there, soon.
fn traced(rig: &Rig, url: &str) -> Relay {
    rig.relay().env("OTEL_EXPORTER_OTLP_ENDPOINT", url).env("OTEL_BSP_SCHEDULE_DELAY", "50")
}

/// Adds rows of a trace, each of a key of its own; recorded or not.
async fn insert(database: &Database, kind: &str, rows: i32, flags: &str) {
    let headers = format!(r#"{{"traceparent": "00-{TRACE}-{SPAN}-{flags}", "x-request-id": "r-1"}}"#);
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, headers)
               select 'order', $1 || n, $1, '{}', $2::text::jsonb from generate_series(1, $3) n";
    database.execute(sql, &[&kind, &headers, &rows]).await;
}

async fn wait_published(database: &Database, rows: i64) {
    wait::until("all is published", wait::LONG, async || database.published().await == rows).await;
}

fn of_kind<'a>(spans: &'a [Span], broker: &Broker, kind: &str) -> Vec<&'a Span> {
    let destination = format!("{}:order.{kind}", broker.exchange);
    spans.iter().filter(|span| span.get("messaging.destination.name") == destination).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_at_a_row_of_a_recorded_trace_is_a_span_of_it() {
    let rig = Rig::bound_to(&["order.placed", "order.unrecorded", "order.alone"]).await;
    let collector = Collector::start().await;
    let mut relay = traced(&rig, &collector.url())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b")
        .env("RELAY_RETRY_FLOOR", "20ms")
        .env("RELAY_RETRY_CAP", "40ms")
        .env("RELAY_RETRY_MAX_ATTEMPTS", "2")
        .ready()
        .await;
    insert(&rig.database, "placed", 3, "01").await;
    insert(&rig.database, "unrecorded", 3, "00").await;
    rig.database.insert("17", "alone").await;
    insert(&rig.database, "lost", 1, "01").await;
    rig.broker.wait_dead_letters(1).await;
    wait_published(&rig.database, 7).await;
    // The last ones are exported before it ends.
    relay.drain().await;
    assert_eq!(relay.complaints().iter().filter(|line| line.contains("span")).count(), 0, "{}", relay.log());

    let spans = collector.spans();
    let placed = of_kind(&spans, &rig.broker, "placed");
    assert_eq!(placed.len(), 3, "{spans:#?}");
    for span in &placed {
        assert_eq!((span.service.as_str(), span.kind), ("relay", SpanKind::Client));
        assert_eq!(span.name, format!("publish {}", rig.broker.exchange));
        assert_eq!((span.trace.as_str(), span.parent.as_str()), (TRACE, SPAN));
        assert_eq!(span.links, [(TRACE.to_owned(), SPAN.to_owned())]);
        let expected = [
            ("messaging.system", "rabbitmq"),
            ("messaging.operation.name", "publish"),
            ("messaging.operation.type", "send"),
            ("messaging.rabbitmq.destination.routing_key", "order.placed"),
            ("server.address", "127.0.0.1"),
            ("relay.attempt", "1"),
            ("relay.request_id", "r-1"),
            ("relay.outbox", "default"),
        ];
        for (name, value) in expected {
            assert_eq!(span.get(name), value, "{name} of {span:#?}");
        }
        assert!(!span.failed && span.times.0 < span.times.1);
    }
    let ids: Vec<_> = placed.iter().map(|span| span.get("messaging.message.id").to_owned()).collect();
    let known = rig.database.event_ids().await;
    assert!(ids.iter().all(|id| known.contains(id)), "{ids:?}");
    let attempts: Vec<_> = of_kind(&spans, &rig.broker, "lost")
        .iter()
        .map(|span| (span.failed, span.get("error.type").to_owned(), span.get("relay.attempt").to_owned()))
        .collect();
    let returned = |attempt: &str| (true, "returned".to_owned(), attempt.to_owned());
    assert_eq!(attempts, [returned("1"), returned("2")]);
    let letters = spans.iter().filter(|span| span.name.ends_with(&rig.broker.dead_letter_exchange)).count();
    assert_eq!(letters, 1, "its dead letter belongs to the trace as well");
    assert_eq!(spans.len(), 6, "neither what is not recorded nor what has no trace is told of: {spans:#?}");
    assert!(collector.headers().iter().all(|headers| headers["x-tenant"] == "a b"));

    for message in rig.broker.tapped().await {
        let expected = match message.kind.as_str() {
            "placed" => format!("00-{TRACE}-{SPAN}-01"),
            "unrecorded" => format!("00-{TRACE}-{SPAN}-00"),
            _ => {
                assert!(!message.headers.contains_key("traceparent"), "relay adds none");
                continue;
            }
        };
        assert_eq!(message.text("traceparent"), expected, "it passes unchanged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_exported_unless_it_is_asked_for() {
    let rig = Rig::new().await;
    let collector = Collector::start().await;
    let silent = [
        rig.relay().env("OTEL_TRACES_SAMPLER", "always_on").env("OTEL_BSP_SCHEDULE_DELAY", "10"),
        traced(&rig, &collector.url()).env("OTEL_SDK_DISABLED", "true"),
        traced(&rig, &collector.url()).env("OTEL_TRACES_EXPORTER", "none"),
        traced(&rig, &collector.url()).env("OTEL_TRACES_SAMPLER", "always_off"),
    ];
    for (round, relay) in (1..).zip(silent) {
        let mut relay = relay.ready().await;
        insert(&rig.database, "placed", 10, "01").await;
        wait_published(&rig.database, 10 * round).await;
        relay.drain().await;
        assert_eq!(relay.complaints(), [""; 0]);
    }
    assert_eq!(collector.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_one_line_and_the_spans() {
    let rig = Rig::new().await;
    // Nobody listens there, and nobody else gets the address.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    let mut relay = traced(&rig, &url).env("OTEL_BSP_MAX_QUEUE_SIZE", "100").ready().await;
    insert(&rig.database, "placed", 2000, "01").await;
    wait_published(&rig.database, 2000).await;
    relay.wait_metric("relay_spans_total", &["dropped"], wait::LONG, |dropped| dropped >= 1500.0).await;
    assert_eq!(relay.metric("relay_spans_total", &["exported"]), 0.0);
    insert(&rig.database, "placed", 2000, "01").await;
    wait_published(&rig.database, 4000).await;
    let said = relay.complaints();
    assert!(matches!(&said[..], [one] if one.starts_with("spans are not exported: ")), "{said:?}");
    relay.drain().await;
    rig.assert_all_went_out(wait::LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_holds_up_neither_rows_nor_the_end() {
    let rig = Rig::new().await;
    let collector = Collector::start().await;
    collector.script([Reply::Silence; 100]);
    let mut relay = traced(&rig, &collector.url()).ready().await;
    insert(&rig.database, "placed", 100, "01").await;
    wait_published(&rig.database, 100).await;
    wait::until("the collector is asked", wait::LONG, async || collector.requests() > 0).await;
    relay.signal("TERM");
    let code = relay.wait_exit(Duration::from_secs(10)).await.code();
    assert_eq!(code, Some(0), "less than the 10 s that it would wait for an answer");
    assert!(relay.log().contains("the last spans are lost"), "{}", relay.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_puts_off_is_sent_again_and_what_it_refuses_is_not() {
    let rig = Rig::new().await;
    let collector = Collector::start().await;
    collector.script([Reply::Later(503), Reply::Status(200), Reply::Status(400)]);
    let relay = traced(&rig, &collector.url()).ready().await;
    insert(&rig.database, "first", 1, "01").await;
    let spans = collector.wait_spans("the first span", |spans| !spans.is_empty()).await;
    assert_eq!(of_kind(&spans, &rig.broker, "first").len(), 1, "it came once: {spans:#?}");
    relay.wait_log("spans are exported again").await;
    insert(&rig.database, "second", 1, "01").await;
    relay.wait_metric("relay_spans_total", &["refused"], wait::LONG, |refused| refused == 1.0).await;
    insert(&rig.database, "third", 1, "01").await;
    let spans = collector.wait_spans("the third span", |spans| spans.len() == 2).await;
    assert_eq!(of_kind(&spans, &rig.broker, "third").len(), 1, "{spans:#?}");
    // The collector has it before relay has the answer.
    relay.wait_metric("relay_spans_total", &["exported"], wait::LONG, |exported| exported == 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_variables_is_said_and_relay_works() {
    let rig = Rig::new().await;
    let collector = Collector::start().await;
    let wrong = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "na me=value"),
    ];
    for (name, value) in wrong {
        let mut relay = traced(&rig, &collector.url()).env(name, value).ready().await;
        let said = relay.complaints();
        assert!(matches!(&said[..], [one] if one.contains(name)), "{said:?}");
        relay.drain().await;
    }
}
