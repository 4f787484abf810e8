//! The tracer and its queue.

use super::{span::Kind, *};

fn tracer(limit: usize, sampler: Sampler) -> (Tracer, Arc<Queue>) {
    let metrics = SpanMetrics::new().expect("metrics");
    let queue = Arc::new(Queue::new(limit, limit, metrics));
    (Tracer(Some(Arc::new(Inner { sampler, queue: Arc::clone(&queue) }))), queue)
}

fn spans(tracer: &Tracer, count: usize) -> Vec<Span> {
    let span = |begun| Span::new("x".to_owned(), Kind::Client, begun, 0);
    (0..count).filter_map(|_| tracer.begin(None)).map(span).collect()
}

#[test]
fn what_has_no_room_is_dropped_and_counted() {
    let (tracer, queue) = tracer(10, Sampler::default());
    tracer.record(spans(&tracer, 7));
    tracer.record(spans(&tracer, 7));
    tracer.record(spans(&tracer, 7));
    assert_eq!(queue.take().len(), 10, "the first ones stay");
    assert!(queue.take().is_empty());
    let text = tracer.metrics().expect("they can be rendered");
    assert!(text.contains("relay_spans_total{result=\"dropped\"} 11\n"), "{text}");
    assert!(
        text.contains("relay_spans_total{result=\"exported\"} 0\n"),
        "it is there from the start: {text}"
    );
}

#[test]
fn a_span_is_a_part_of_its_parents_trace_and_one_without_begins_its_own() {
    let (tracer, _) = tracer(1, Sampler::default());
    let root = tracer.begin(None).expect("it is on");
    assert!(root.context.sampled && root.parent.is_none() && root.since > 0);
    let part = tracer.begin(Some(root.context)).expect("it is on");
    assert_eq!((part.context.trace_id, part.parent), (root.context.trace_id, Some(root.context)));
    assert_ne!(part.context.span_id, root.context.span_id);
    let unsampled = TraceContext { sampled: false, ..root.context };
    assert!(!tracer.begin(Some(unsampled)).expect("it goes on, unrecorded").context.sampled);
}

#[test]
fn what_is_off_makes_nothing() {
    let tracer = Tracer::default();
    assert!(tracer.begin(None).is_none() && !tracer.is_on());
    assert_eq!(tracer.metrics().as_deref(), Ok(""));
}
