//! Metric names and what they mean, each in one place. Labels are closed sets.

mod api;
mod spans;

use std::collections::{BTreeMap, btree_map::Entry};

pub use api::{ApiMetrics, CARRIER_EVENT_RESULTS};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, proto::MetricFamily,
};
pub use spans::{SPAN_RESULTS, SpanMetrics};

use crate::{
    pause::Scope,
    reason::{DeadReason, RetryReason},
    row::Finished,
};

/// From half a millisecond to an hour: an outage must still be told from a slow minute.
const LAG_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    900.0, 3600.0,
];
const CONFIRM_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Everything one outbox reports.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// `relay_oldest_unpublished_age_seconds`
    pub oldest_unpublished_age: Gauge,
    /// `relay_oldest_ready_age_seconds`
    pub oldest_ready_age: Gauge,
    /// `relay_oldest_dead_age_seconds`
    pub oldest_dead_age: Gauge,
    /// `relay_oldest_held_key_age_seconds`
    pub oldest_held_age: Gauge,
    /// `relay_dead_rows`
    pub dead_rows: IntGauge,
    /// `relay_pending_rows{state}`
    pub pending_rows: IntGaugeVec,
    /// `relay_commit_to_confirm_seconds`
    pub commit_to_confirm: Histogram,
    /// `relay_publish_confirm_seconds`
    pub publish_confirm: Histogram,
    /// `relay_published_total`
    pub published: IntCounter,
    /// `relay_publish_outcomes_total{outcome}`
    pub outcomes: IntCounterVec,
    /// `relay_retries_total{reason}`
    pub retries: IntCounterVec,
    /// `relay_dead_lettered_total{reason}`
    pub dead_lettered: IntCounterVec,
    /// `relay_dlq_depth`
    pub dlq_depth: IntGauge,
    /// `relay_dlq_replayed_total{result}`
    pub dlq_replayed: IntCounterVec,
    /// `relay_held_keys`
    pub held_keys: IntGauge,
    /// `relay_paused{scope}`
    pub paused: IntGaugeVec,
    /// `relay_cleanup_held_seconds{by}`
    pub cleanup_held: GaugeVec,
    /// `relay_lanes_owned`
    pub lanes_owned: IntGauge,
    /// `relay_lanes_unowned`
    pub lanes_unowned: IntGauge,
    /// `relay_lanes_lost_total`
    pub lanes_lost: IntCounter,
    /// `relay_clock_skew_seconds`
    pub clock_skew: Gauge,
    /// `relay_database_connected`
    pub database_connected: IntGauge,
    /// `relay_able`
    pub able: IntGauge,
    /// `relay_wakeups_total{cause}`
    pub wakeups: IntCounterVec,
    /// `relay_amqp_connected`
    pub amqp_connected: IntGauge,
    /// `relay_amqp_blocked`
    pub amqp_blocked: IntGauge,
    /// `relay_listen_connected`
    pub listen_connected: IntGauge,
    /// `relay_breaker_state{target}`: 0 closed, 1 half-open, 2 open.
    pub breaker_state: IntGaugeVec,
    /// `relay_last_progress_timestamp_seconds`
    pub last_progress: Gauge,
    /// `relay_in_flight_rows`
    pub in_flight_rows: IntGauge,
    /// `relay_in_flight_bytes`
    pub in_flight_bytes: IntGauge,
    /// `relay_pruned_rows_total{kind}`
    pub pruned_rows: IntCounterVec,
}

/// Values of `relay_publish_outcomes_total{outcome}`.
pub const OUTCOMES: [&str; 5] = ["confirmed", "returned", "nacked", "refused", "unknown"];
/// Values of `relay_pending_rows{state}`.
pub const STATES: [&str; 3] = ["ready", "waiting", "held"];
/// Values of `relay_cleanup_held_seconds{by}`.
pub const HOLDERS: [&str; 3] = ["session", "prepared", "slot"];
/// Values of `relay_wakeups_total{cause}`.
pub const CAUSES: [&str; 2] = ["notify", "poll"];
/// Values of `relay_dlq_replayed_total{result}`.
pub const REPLAY_RESULTS: [&str; 2] = ["replayed", "discarded"];
/// Values of `relay_pruned_rows_total{kind}`: those rows that relay removes by itself.
pub const PRUNED: [Finished; 2] = [Finished::Published, Finished::Discarded];

impl Metrics {
    /// Registers everything, for the outbox of this name, with every label value present from the start: a counter that
    /// appears with its first increment hides that increment from `rate()`.
    ///
    /// # Errors
    /// Only if a name is registered twice, which a test would find.
    pub fn new(outbox: &str) -> Result<Self, prometheus::Error> {
        let labels = [("outbox".to_owned(), outbox.to_owned())].into_iter().collect();
        let registry = Registry::new_custom(None, Some(labels))?;
        let gauge = |name: &str, help: &str| -> Result<Gauge, prometheus::Error> {
            let metric = Gauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let int_gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let int_gauges = |name: &str, help: &str, label: &str, values: &[&str]| {
            let metric = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(metric.clone()))?;
            values.iter().for_each(|value| metric.with_label_values(&[value]).set(0));
            Ok::<_, prometheus::Error>(metric)
        };
        let counters = |name: &str, help: &str, label: &str, values: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(metric.clone()))?;
            values.iter().for_each(|value| metric.with_label_values(&[value]).reset());
            Ok::<_, prometheus::Error>(metric)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let retry_reasons: Vec<&str> = RetryReason::ALL.iter().map(|reason| reason.as_str()).collect();
        let dead_reasons: Vec<&str> = DeadReason::ALL.iter().map(|reason| reason.as_str()).collect();
        let published =
            IntCounter::new("relay_published_total", "Rows marked published after their confirm.")?;
        registry.register(Box::new(published.clone()))?;
        let lanes_lost = IntCounter::new(
            "relay_lanes_lost_total",
            "Lanes whose lease ran out because this relay did not renew it in time.",
        )?;
        registry.register(Box::new(lanes_lost.clone()))?;
        let cleanup_held = GaugeVec::new(
            Opts::new(
                "relay_cleanup_held_seconds",
                "Age of what keeps vacuum from cleaning furthest: a session, a prepared transaction or a slot; 0 for the others.",
            ),
            &["by"],
        )?;
        registry.register(Box::new(cleanup_held.clone()))?;
        HOLDERS.iter().for_each(|by| cleanup_held.with_label_values(&[by]).set(0.0));
        let info = IntGaugeVec::new(
            Opts::new("relay_build_info", "Always 1; the version is a label."),
            &["version"],
        )?;
        registry.register(Box::new(info.clone()))?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            oldest_unpublished_age: gauge(
                "relay_oldest_unpublished_age_seconds",
                "Age of the oldest due row that is neither published nor dead; 0 when there is none.",
            )?,
            oldest_ready_age: gauge(
                "relay_oldest_ready_age_seconds",
                "Age of the oldest due row that never failed and is not published; 0 when there is none.",
            )?,
            oldest_dead_age: gauge(
                "relay_oldest_dead_age_seconds",
                "Since the first death that nobody has dealt with; 0 when there is none.",
            )?,
            oldest_held_age: gauge(
                "relay_oldest_held_key_age_seconds",
                "Since when the key waits that has waited longest behind a failed or dead head; 0 when none does.",
            )?,
            dead_rows: int_gauge(
                "relay_dead_rows",
                "Dead rows that nobody has dealt with, counted to 10,000 at most.",
            )?,
            pending_rows: int_gauges(
                "relay_pending_rows",
                "Unfinished rows by state, counted to 10,000 at most.",
                "state",
                &STATES,
            )?,
            commit_to_confirm: histogram(
                "relay_commit_to_confirm_seconds",
                "From the start of the producer's transaction (created_at) to the broker's confirm.",
                LAG_BUCKETS,
            )?,
            publish_confirm: histogram(
                "relay_publish_confirm_seconds",
                "From handing a batch to the channel to its last confirm.",
                CONFIRM_BUCKETS,
            )?,
            published,
            outcomes: counters(
                "relay_publish_outcomes_total",
                "What became of the messages in batches; rows sent apart are not counted.",
                "outcome",
                &OUTCOMES,
            )?,
            retries: counters("relay_retries_total", "Rows to be tried again.", "reason", &retry_reasons)?,
            dead_lettered: counters("relay_dead_lettered_total", "Rows that died.", "reason", &dead_reasons)?,
            dlq_depth: int_gauge("relay_dlq_depth", "Messages in the dead-letter queue.")?,
            dlq_replayed: counters(
                "relay_dlq_replayed_total",
                "Dead rows dealt with.",
                "result",
                &REPLAY_RESULTS,
            )?,
            paused: int_gauges(
                "relay_paused",
                "Pauses that operators made and that stand: of everything, of routes, of keys.",
                "scope",
                &Scope::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
            )?,
            held_keys: int_gauge("relay_held_keys", "Keys that wait behind a failed or dead head.")?,
            cleanup_held,
            lanes_owned: int_gauge("relay_lanes_owned", "Lanes this relay holds leases on.")?,
            lanes_unowned: int_gauge("relay_lanes_unowned", "Lanes that no relay holds a lease on.")?,
            lanes_lost,
            clock_skew: gauge(
                "relay_clock_skew_seconds",
                "How far the database's clock is ahead of this relay's; below 0: behind.",
            )?,
            database_connected: int_gauge(
                "relay_database_connected",
                "1 while the backlog can be measured; else the gauges of the backlog show what was.",
            )?,
            able: int_gauge(
                "relay_able",
                "1 while this relay can read, mark and publish; else its lanes are for relays that can.",
            )?,
            wakeups: counters(
                "relay_wakeups_total",
                "Notifications received, and scans for new rows.",
                "cause",
                &CAUSES,
            )?,
            amqp_connected: int_gauge("relay_amqp_connected", "1 while a publishing session is up.")?,
            amqp_blocked: int_gauge(
                "relay_amqp_blocked",
                "1 while the broker blocks publishing (an alarm).",
            )?,
            listen_connected: int_gauge(
                "relay_listen_connected",
                "1 while notifications are proven to arrive; else relay polls.",
            )?,
            breaker_state: int_gauges(
                "relay_breaker_state",
                "Circuit breaker: 0 closed, 1 half-open, 2 open.",
                "target",
                &["broker"],
            )?,
            last_progress: gauge(
                "relay_last_progress_timestamp_seconds",
                "When relay last scanned, published or wrote, in seconds since the Unix epoch.",
            )?,
            in_flight_rows: int_gauge("relay_in_flight_rows", "Rows in memory.")?,
            in_flight_bytes: int_gauge("relay_in_flight_bytes", "Bytes of rows in memory.")?,
            pruned_rows: counters(
                "relay_pruned_rows_total",
                "Rows removed by this relay because they were published, or discarded, long ago.",
                "kind",
                &PRUNED.map(Finished::as_str),
            )?,
            registry,
        })
    }
}

/// Everything that these outboxes report, in Prometheus' text format 0.0.4, which wants the lines of a name together.
///
/// # Errors
/// When a metric can't be encoded.
pub fn render(outboxes: &[Metrics]) -> Result<String, prometheus::Error> {
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for mut family in outboxes.iter().flat_map(|outbox| outbox.registry.gather()) {
        match families.entry(family.name().to_owned()) {
            Entry::Vacant(entry) => drop(entry.insert(family)),
            Entry::Occupied(mut entry) => entry.get_mut().mut_metric().extend(family.take_metric()),
        }
    }
    TextEncoder::new().encode_to_string(&families.into_values().collect::<Vec<_>>())
}

/// Values of `relay_consumer_processed_total{result}`.
pub const CONSUMER_RESULTS: [&str; 8] =
    ["done", "duplicate", "held", "held_back", "retried", "dead", "garbage", "stale"];

/// What the consumers of a process report. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct ConsumerMetrics {
    registry: Registry,
    /// `relay_consumer_processed_total{consumer,result}`
    pub processed: IntCounterVec,
    /// `relay_consumer_effect_seconds{consumer}`
    pub effect: HistogramVec,
    /// `relay_time_to_consistency_seconds{consumer}`
    pub consistency: HistogramVec,
}

impl ConsumerMetrics {
    /// Registers everything; [`Self::introduce`] adds a consumer.
    ///
    /// # Errors
    /// Only if a name is registered twice, which a test would find.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let processed = IntCounterVec::new(
            Opts::new("relay_consumer_processed_total", "What became of deliveries and attempts."),
            &["consumer", "result"],
        )?;
        registry.register(Box::new(processed.clone()))?;
        let histogram = |name: &str, help: &str| {
            let opts = HistogramOpts::new(name, help).buckets(LAG_BUCKETS.to_vec());
            let metric = HistogramVec::new(opts, &["consumer"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        Ok(Self {
            effect: histogram(
                "relay_consumer_effect_seconds",
                "Time in the handler, a piece of it at a time.",
            )?,
            consistency: histogram(
                "relay_time_to_consistency_seconds",
                "From the start of the producer's transaction (created_at) to the commit of the effect.",
            )?,
            processed,
            registry,
        })
    }

    /// Has every label value of a consumer there from the start.
    pub fn introduce(&self, consumer: &str) {
        for result in CONSUMER_RESULTS {
            let _ = self.processed.with_label_values(&[consumer, result]);
        }
        let _ = (self.effect.with_label_values(&[consumer]), self.consistency.with_label_values(&[consumer]));
    }

    /// Everything, in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// When a metric can't be encoded.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// The value of `consumer` of `relay_time_to_consistency_seconds` from the acceptance of a shipment to its being shipped.
const SHIPPED: &str = "shipments";
/// Values of `relay_compensations_total{step}`.
const COMPENSATED: [&str; 4] = ["buy_label", "create_invoice", "fulfil_order", "notify"];
/// Values of `relay_compensations_total{result}`.
const COMPENSATION_RESULTS: [&str; 7] = ["done", "not_done", "later", "held", "waiting", "refused", "lost"];

/// What a process of shipping's workers reports. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct WorkerMetrics {
    /// What its consumers report.
    pub consumers: ConsumerMetrics,
    compensations: IntCounterVec,
    breaker_state: IntGaugeVec,
    needing_attention: IntGauge,
}

impl WorkerMetrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Only if a name is registered twice, which a test would find.
    pub fn new() -> Result<Self, prometheus::Error> {
        let consumers = ConsumerMetrics::new()?;
        let registry = &consumers.registry;
        let compensations = IntCounterVec::new(
            Opts::new(
                "relay_compensations_total",
                "Attempts to undo a step of a shipment, by their outcome.",
            ),
            &["step", "result"],
        )?;
        registry.register(Box::new(compensations.clone()))?;
        for step in COMPENSATED {
            COMPENSATION_RESULTS
                .iter()
                .for_each(|result| compensations.with_label_values(&[step, result]).reset());
        }
        let breaker_state = IntGaugeVec::new(
            Opts::new("relay_breaker_state", "Circuit breaker: 0 closed, 1 half-open, 2 open."),
            &["target"],
        )?;
        registry.register(Box::new(breaker_state.clone()))?;
        let _ = consumers.consistency.with_label_values(&[SHIPPED]);
        let needing_attention = IntGauge::new(
            "relay_shipments_needing_attention",
            "Shipments that wait for an operator, counted to 10,000 at most.",
        )?;
        registry.register(Box::new(needing_attention.clone()))?;
        Ok(Self { consumers, compensations, breaker_state, needing_attention })
    }

    /// A shipment of this age is shipped.
    pub fn shipped(&self, age: std::time::Duration) {
        self.consumers.consistency.with_label_values(&[SHIPPED]).observe(age.as_secs_f64());
    }

    /// An attempt to undo a step ended so.
    pub fn compensated(&self, step: &str, result: &str) {
        self.compensations.with_label_values(&[step, result]).inc();
    }

    /// So many shipments wait for an operator.
    pub fn need_attention(&self, shipments: i64) {
        self.needing_attention.set(shipments);
    }

    /// The breaker of a destination is in this state: 0 closed, 1 half-open, 2 open.
    pub fn breaker(&self, target: &str, state: i64) {
        self.breaker_state.with_label_values(&[target]).set(state);
    }

    /// Everything, in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// When a metric can't be encoded.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        self.consumers.render()
    }
}

#[cfg(test)]
mod tests;
