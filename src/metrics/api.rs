//! What the API of shipping reports.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use super::CONFIRM_BUCKETS;

/// What the API of shipping reports. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct ApiMetrics {
    registry: Registry,
    /// `shipments_api_requests_total{route,method,status}`
    pub requests: IntCounterVec,
    /// `shipments_api_request_seconds{route,method}`
    pub seconds: HistogramVec,
    /// `shipments_api_problems_total{code}`
    pub problems: IntCounterVec,
    /// `shipments_api_replays_total`
    pub replays: IntCounter,
    /// `shipments_api_in_flight_requests`
    pub in_flight: IntGauge,
    /// `shipments_api_connections`
    pub connections: IntGauge,
    /// `shipments_api_waiting_requests`
    pub waiting: IntGauge,
    /// `shipments_api_carrier_events_total{result}`
    pub carrier_events: IntCounterVec,
}

/// Values of `shipments_api_carrier_events_total{result}`.
pub const CARRIER_EVENT_RESULTS: [&str; 3] = ["stored", "duplicate", "refused"];

impl ApiMetrics {
    /// Registers everything; problems by these codes.
    ///
    /// # Errors
    /// Only if a name is registered twice, which a test would find.
    pub fn new<'a>(codes: impl IntoIterator<Item = &'a str>) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let opts =
            HistogramOpts::new("shipments_api_request_seconds", "From the head of a request to its answer.")
                .buckets(CONFIRM_BUCKETS.to_vec());
        let seconds = HistogramVec::new(opts, &["route", "method"])?;
        registry.register(Box::new(seconds.clone()))?;
        let replays =
            IntCounter::new("shipments_api_replays_total", "Requests answered from an idempotency key.")?;
        registry.register(Box::new(replays.clone()))?;
        let problems = counters("shipments_api_problems_total", "Answers that were problems.", &["code"])?;
        codes.into_iter().for_each(|code| problems.with_label_values(&[code]).reset());
        let carrier_events =
            counters("shipments_api_carrier_events_total", "Webhooks of the carrier.", &["result"])?;
        CARRIER_EVENT_RESULTS.iter().for_each(|result| carrier_events.with_label_values(&[result]).reset());
        Ok(Self {
            requests: counters(
                "shipments_api_requests_total",
                "Requests answered.",
                &["route", "method", "status"],
            )?,
            in_flight: gauge("shipments_api_in_flight_requests", "Requests being worked at.")?,
            connections: gauge("shipments_api_connections", "Open connections of clients.")?,
            waiting: gauge("shipments_api_waiting_requests", "Requests that wait for a shipment to change.")?,
            seconds,
            problems,
            replays,
            carrier_events,
            registry,
        })
    }

    /// Everything, in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// When a metric can't be encoded.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
