//! What became of spans (docs/tracing.md).

use prometheus::{IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

/// Values of `relay_spans_total{result}`.
pub const SPAN_RESULTS: [&str; 3] = ["exported", "dropped", "refused"];

/// What a process that traces reports of it. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct SpanMetrics {
    registry: Registry,
    spans: IntCounterVec,
}

impl SpanMetrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Only if a name is registered twice, which a test would find.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let spans = IntCounterVec::new(
            Opts::new(
                "relay_spans_total",
                "Spans that the collector took, that had no room here, that it refused.",
            ),
            &["result"],
        )?;
        registry.register(Box::new(spans.clone()))?;
        SPAN_RESULTS.iter().for_each(|result| spans.with_label_values(&[result]).reset());
        Ok(Self { registry, spans })
    }

    fn of(&self, result: &str) -> IntCounter {
        self.spans.with_label_values(&[result])
    }

    /// The collector took so many.
    pub fn exported(&self, spans: usize) {
        self.of("exported").inc_by(spans as u64);
    }

    /// So many had no room.
    pub fn dropped(&self, spans: usize) {
        self.of("dropped").inc_by(spans as u64);
    }

    /// The collector refused so many.
    pub fn refused(&self, spans: usize) {
        self.of("refused").inc_by(spans as u64);
    }

    /// Everything, in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// When a metric can't be encoded.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
