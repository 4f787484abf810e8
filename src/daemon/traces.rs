//! Spans of what was published, for the rows whose producers named a trace. Without tracing nothing looks at a row.

use std::sync::Arc;

use super::OutboxSettings;
use crate::{
    message::Message,
    publisher::Outcome,
    telemetry::{Server, Tracer, context_of, published, unix_nanos},
};

/// Makes them, for one outbox. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Traces(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    tracer: Tracer,
    server: Server,
    outbox: String,
}

impl Traces {
    pub(super) fn new(tracer: Tracer, settings: &OutboxSettings, outbox: &str) -> Self {
        Self(tracer.is_on().then(|| {
            let uri = &settings.amqp.uri;
            let server = Server { address: uri.host().to_owned(), port: uri.port() };
            Arc::new(Inner { tracer, server, outbox: outbox.to_owned() })
        }))
    }

    /// The time, if anybody will ask for it.
    pub(super) fn now(&self) -> Option<u64> {
        self.0.as_ref().map(|_| unix_nanos())
    }

    /// These were on a channel together, from then until now. A row without a trace is in none: relay begins no traces,
    /// for its message says what the producer said, and nothing could follow from them.
    pub(super) fn published(&self, since: Option<u64>, messages: &[Message], outcomes: &[Outcome]) {
        let (Some(inner), Some(since)) = (&self.0, since) else { return };
        let now = unix_nanos();
        let span = |(message, outcome): (&Message, &Outcome)| {
            let begun = inner.tracer.begin_at(Some(context_of(message)?), || since)?;
            let about = (&inner.server, inner.outbox.as_str());
            begun.context.sampled.then(|| published(message, outcome, (begun, now), about))
        };
        inner.tracer.record(messages.iter().zip(outcomes).filter_map(span).collect());
    }
}
