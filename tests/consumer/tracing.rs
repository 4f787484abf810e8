//! Spans of what consumers process, and what follows from it.

use relay::{
    metrics::SpanMetrics,
    telemetry::{Telemetry, TelemetrySettings},
};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::{
    collector::{Collector, Span},
    rig::{Kind, Rig, post},
    support::wait,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// Exports soon, to there.
fn telemetry(collector: &Collector) -> Telemetry {
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()), ("OTEL_BSP_SCHEDULE_DELAY", "20".into())];
    let understood = TelemetrySettings::read("shop", |name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    });
    Telemetry::start(understood.settings, SpanMetrics::new().unwrap()).unwrap()
}

fn of<'a>(spans: &'a [Span], id: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.get("messaging.message.id") == id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_a_span_of_the_messages_trace_and_what_follows_is_a_part_of_it() {
    for kind in [Kind::Inside, Kind::Outside] {
        let rig = Rig::new().await;
        let collector = Collector::start().await;
        let posts = ["a", "c", "d"].map(|id| post(id).body("{\"follow\": true}"));
        rig.publish_all(&posts).await;
        // Once more each: duplicates are not processed.
        rig.publish_all(&posts).await;
        let telemetry = telemetry(&collector);
        let tracer = telemetry.tracer();
        let consumer = rig.start_with(kind, |settings| settings.tracer = tracer);
        consumer.wait_count("duplicate", 3).await;
        // Alone, so that it has no part in a batch that would be tried again without it.
        rig.trouble("b", "before:fail", 1).await;
        rig.publish(&post("b").body("{\"follow\": true}")).await;
        for id in ["a", "b", "c", "d"] {
            rig.wait_done(id).await;
        }
        consumer.drain().await;
        telemetry.finish(wait::LONG).await;

        let spans = collector.spans();
        assert_eq!(spans.len(), 5, "{kind:?}: {spans:#?}");
        for span in &spans {
            assert_eq!((span.service.as_str(), span.kind), ("shop", SpanKind::Consumer));
            assert_eq!(span.name, format!("process {}", rig.queue()));
            assert_eq!((span.trace.as_str(), span.parent.as_str()), (TRACE, SPAN));
            assert_eq!(span.links, [(TRACE.to_owned(), SPAN.to_owned())]);
            let destination = format!("{}:order.placed:{}", rig.broker.exchange, rig.queue());
            assert_eq!(span.get("messaging.destination.name"), destination);
            assert_eq!(span.get("messaging.operation.type"), "process");
            assert_eq!(span.get("relay.consumer"), "shop");
        }
        let attempts: Vec<_> =
            of(&spans, "b").iter().map(|span| (span.get("relay.attempt"), span.get("error.type"))).collect();
        assert_eq!(attempts, [("1", "retry"), ("2", "")], "{kind:?}");
        for id in ["a", "b", "c", "d"] {
            let sql = "select headers->>'traceparent' from relay.outbox where payload->>'because' = $1";
            let follows: String = rig.database.query(sql, &[&id]).await[0].get(0);
            let cause = of(&spans, id).pop().expect("it was processed");
            assert_eq!(follows, format!("00-{TRACE}-{}-01", cause.id), "{kind:?}: {id}");
        }
    }
}
