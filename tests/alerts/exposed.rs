//! What the programs expose: names of metrics, their labels, and the values of labels that are closed sets.

use std::collections::{BTreeMap, BTreeSet};

use relay::metrics::{ApiMetrics, ConsumerMetrics, Metrics, SpanMetrics, WorkerMetrics, render};

use crate::promtool;

/// Labels that a Prometheus sets for what it scrapes.
const OF_THE_TARGET: &[&str] = &["namespace", "job", "instance", "pod"];
/// Labels whose values are known at run time alone.
const OPEN: &[&str] = &["outbox", "consumer", "route", "method", "status", "version"];

/// Labels, each with the values that are there from the start.
type Labels = BTreeMap<String, BTreeSet<String>>;

/// Every series, by name; those of histograms under the names that they are asked for by.
#[derive(Debug)]
pub struct Exposed(BTreeMap<String, Labels>);

/// What every program says of itself, as it starts.
fn text() -> Vec<String> {
    let consumers = ConsumerMetrics::new().unwrap();
    consumers.introduce("revenue");
    let workers = WorkerMetrics::new().unwrap();
    workers.consumers.introduce("shipping.label");
    ["carrier", "mail"].iter().for_each(|target| workers.breaker(target, 0));
    let api = ApiMetrics::new(["some-problem"]).unwrap();
    api.requests.with_label_values(&["/shipments", "POST", "202"]).inc();
    api.seconds.with_label_values(&["/shipments", "POST"]).observe(0.1);
    let spans = SpanMetrics::new().unwrap();
    [
        render(&[Metrics::new("orders").unwrap()]),
        consumers.render(),
        workers.render(),
        api.render(),
        spans.render(),
    ]
    .map(Result::unwrap)
    .into()
}

impl Exposed {
    pub fn collect() -> Self {
        let mut exposed = Self(BTreeMap::new());
        for line in text().iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#')) {
            let (series, _value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let known = exposed.0.entry(name.to_owned()).or_default();
            for (label, value) in crate::query::matchers(labels.trim_end_matches('}')) {
                known.entry(label).or_default().insert(value);
            }
        }
        assert!(exposed.0.len() > 50, "the search is broken: {exposed:?}");
        exposed
    }

    /// What is wrong with asking for this, if anything. Values may be several, as in `a|b`.
    pub fn problem(&self, name: &str, label: Option<(&str, &str)>) -> Option<String> {
        let Some(labels) = self.0.get(name) else {
            return Some(format!("there is no metric {name}"));
        };
        let (label, values) = label?;
        if OF_THE_TARGET.contains(&label) {
            return None;
        }
        let Some(known) = labels.get(label) else {
            return Some(format!("{name} has no label {label}"));
        };
        if OPEN.contains(&label) {
            return None;
        }
        let mut values = values.split('|');
        // A bucket is written in one way by relay, and in another by newer Prometheus.
        let found = match label {
            "le" => values.any(|value| known.contains(value)),
            _ => values.all(|value| known.contains(value)),
        };
        (!found).then(|| format!("{label} of {name} is never so; it is one of {known:?}"))
    }

    /// The name of every series.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether any metric, or Prometheus, has this label.
    pub fn has_label(&self, label: &str) -> bool {
        OF_THE_TARGET.contains(&label) || self.0.values().any(|labels| labels.contains_key(label))
    }
}

/// Names of metrics in a source, which stand in quotes.
fn named(source: &str) -> impl Iterator<Item = &str> {
    source.split('"').filter(|text| {
        ["relay_", "shipments_"].iter().any(|start| text.starts_with(start))
            && text.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_')
    })
}

/// Nothing but what is collected here is looked for in rules and on the dashboard.
#[test]
fn every_metric_that_a_program_has_is_collected() {
    let folder = std::fs::read_dir(crate::root().join("src/metrics")).unwrap();
    let files = folder.map(|entry| format!("src/metrics/{}", entry.unwrap().file_name().to_str().unwrap()));
    let sources: Vec<String> =
        files.chain(["src/metrics.rs".to_owned()]).map(|file| crate::read(&file)).collect();
    let names: BTreeSet<&str> = sources.iter().flat_map(|source| named(source)).collect();
    assert!(names.len() > 40, "the search is broken: {names:?}");
    let exposed = Exposed::collect();
    let missing: Vec<String> = names
        .into_iter()
        .filter(|name| {
            exposed.problem(name, None).and(exposed.problem(&format!("{name}_count"), None)).is_some()
        })
        .map(|name| format!("{name} is not collected"))
        .collect();
    crate::assert_none(&missing);
}

#[test]
fn what_is_exposed_is_as_prometheus_wants_it() {
    for text in text() {
        promtool::run(&["check", "metrics"], &text);
    }
}
