//! Tracing: spans for OpenTelemetry, off unless its variables name a collector (docs/tracing.md).
//!
//! Spans are made where work has come to its end, with its times known, and not around it. So what is not traced costs one
//! look at an [`Option`], and what is traced waits for nobody: a bounded queue takes spans or drops them, and a task of its
//! own exports them ([`Telemetry`]).

mod encode;
mod environment;
mod exporter;
mod http;
mod messaging;
mod queue;
mod sampler;
mod span;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, task::JoinHandle, time::timeout};

pub use environment::{TelemetrySettings, Understood};
pub use exporter::TelemetryError;
pub(crate) use http::{Served, served};
pub use messaging::Server;
pub(crate) use messaging::{Consumer, Processed, context_of, processed, published};
pub(crate) use span::Span;

use crate::{
    metrics::SpanMetrics,
    trace_context::{Begun, TraceContext},
};
use exporter::Exporter;
use queue::Queue;
use sampler::Sampler;

/// Makes spans, if anybody wants them. Cheap to clone; all clones are one. The default makes none.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    sampler: Sampler,
    queue: Arc<Queue>,
}

impl Tracer {
    /// Whether spans are made at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span; nothing while this is off. Recorded or not, it is what follows that belongs to it.
    pub(crate) fn begin(&self, parent: Option<TraceContext>) -> Option<Begun> {
        self.begin_at(parent, unix_nanos)
    }

    /// Likewise, at a time that was noted.
    pub(crate) fn begin_at(
        &self,
        parent: Option<TraceContext>,
        since: impl FnOnce() -> u64,
    ) -> Option<Begun> {
        let inner = self.0.as_deref()?;
        let trace_id = parent.map_or_else(|| rand::random::<u128>().max(1), |parent| parent.trace_id);
        let sampled = inner.sampler.takes(trace_id, parent.as_ref());
        let context = TraceContext { trace_id, span_id: rand::random::<u64>().max(1), sampled };
        Some(Begun { context, parent, since: since() })
    }

    /// Has spans exported, or drops them where there is no room.
    pub(crate) fn record(&self, spans: Vec<Span>) {
        if let Some(inner) = &self.0
            && !spans.is_empty()
        {
            inner.queue.add(spans);
        }
    }

    /// What became of spans, in Prometheus' text format; nothing while this is off.
    ///
    /// # Errors
    /// When a metric can't be encoded.
    pub(crate) fn metrics(&self) -> Result<String, String> {
        let rendered = self.0.as_ref().map(|inner| inner.queue.metrics.render());
        rendered.transpose().map(Option::unwrap_or_default).map_err(|error| error.to_string())
    }
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A tracer, and the task that exports what it records.
#[derive(Debug, Default)]
pub struct Telemetry {
    tracer: Tracer,
    exporting: Option<(JoinHandle<()>, watch::Sender<u8>)>,
}

impl Telemetry {
    /// Starts exporting, on the current runtime; or nothing, without settings.
    ///
    /// # Errors
    /// When the settings can't be used.
    pub fn start(settings: Option<TelemetrySettings>, metrics: SpanMetrics) -> Result<Self, TelemetryError> {
        let Some(settings) = settings else { return Ok(Self::default()) };
        let queue = Arc::new(Queue::new(settings.queue, settings.batch, metrics));
        let tracer = Tracer(Some(Arc::new(Inner { sampler: settings.sampler, queue: Arc::clone(&queue) })));
        let (stop, stopped) = watch::channel(0);
        let exporting = tokio::spawn(Exporter::new(settings, queue)?.run(stopped));
        Ok(Self { tracer, exporting: Some((exporting, stop)) })
    }

    /// What makes spans.
    #[must_use]
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Exports what is left, within the limit: what takes longer is lost.
    pub async fn finish(self, limit: Duration) {
        let Some((mut exporting, stop)) = self.exporting else { return };
        stop.send_replace(1);
        if timeout(limit, &mut exporting).await.is_err() {
            exporting.abort();
            tracing::warn!("the last spans are lost: the collector did not take them within {limit:?}");
        }
    }
}

#[cfg(test)]
mod tests;
