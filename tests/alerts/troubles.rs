//! Troubles, and which alerts they raise: those that are named, and no other. Each file says what is different from a healthy
//! deployment; what that makes of all series together is handed to promtool.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::{assert_none, promtool, query::matchers, rules, yaml};

const FILES: [&str; 7] = ["none", "servers", "progress", "rows", "objective", "consumers", "shipping"];

/// Of an alert, unless it says otherwise.
fn labels_of(alert: &str) -> Value {
    if alert.starts_with("RelayConsumer") {
        json!({"job": "consumer", "consumer": "revenue"})
    } else {
        json!({"job": "relay", "outbox": "orders"})
    }
}

fn troubles() -> Vec<Value> {
    let load = |name| yaml::load(&format!("tests/alerts/troubles/{name}.yaml")).as_array().unwrap().clone();
    FILES.into_iter().flat_map(load).collect()
}

/// Minutes of `30m` or `2h`.
fn minutes(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("{text} is a time"));
    number * if unit == "h" { 60 } else { 1 }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Between two samples of a trouble, in minutes. Where there are few no rate is seen, which is all right for what takes days.
fn step(trouble: &Value) -> u64 {
    trouble["every"].as_str().map_or(1, minutes)
}

/// Every series of a trouble with its values, as promtool writes them.
fn series(healthy: &Map<String, Value>, trouble: &Value, last: u64) -> BTreeMap<String, String> {
    let (still, step) = (trouble["still"] == true, step(trouble));
    let last = last / step;
    let gone = object(&trouble["gone"]);
    let instance = |name: &str| format!("instance=\"{name}\"");
    let mut all = BTreeMap::new();
    // From when on until when, if it ends.
    let values = |name: &str, value: &Value, from: u64, until: Option<u64>| {
        let mut value = yaml::text(value);
        // What it does every second shows even when nothing happens.
        if still && !name.starts_with("relay_last_progress") {
            value = value.split('+').next().unwrap().to_owned();
        }
        let wait = if from > 0 { format!("_x{from} ") } else { String::new() };
        match until {
            Some(until) => format!("{wait}{value}x{} stale", until - 1),
            None => format!("{wait}{value}x{last}"),
        }
    };
    for (name, value) in healthy {
        let ends = gone.iter().find(|(who, _)| name.contains(&instance(who)));
        match ends.map(|(_, when)| minutes(&yaml::text(when)) / step) {
            Some(0) => {}
            until => drop(all.insert(name.clone(), values(name, value, 0, until))),
        }
        for (new, born) in object(&trouble["born"]) {
            let (like, when) = (yaml::text(&born[0]), minutes(&yaml::text(&born[1])) / step);
            if name.contains(&instance(&like)) {
                all.insert(name.replace(&instance(&like), &instance(&new)), values(name, value, when, None));
            }
        }
    }
    for (wanted, value) in object(&trouble["series"]) {
        let (metric, labels) = wanted.split_once('{').expect("a series is named with its labels");
        let labels = matchers(labels.trim_end_matches('}'));
        let mut found = 0;
        for (name, values) in &mut all {
            let has = |(label, value): &(String, String)| name.contains(&format!("{label}=\"{value}\""));
            if name.strip_prefix(metric).is_some_and(|rest| rest.starts_with('{')) && labels.iter().all(has) {
                let given = yaml::text(&value);
                *values = if given.contains('x') { given } else { format!("{given}x{last}") };
                found += 1;
            }
        }
        assert!(found > 0, "{}: no series is {wanted}", trouble["trouble"]);
    }
    if step > 1 {
        all.retain(|name, _| !name.starts_with("relay_last_progress"));
    }
    all
}

/// Names of the alerts that are expected at some time.
fn expected(names: &Value) -> BTreeSet<String> {
    names.as_array().expect("a list of alerts").iter().map(yaml::text).collect()
}

/// A trouble in promtool's words.
fn as_test(healthy: &Map<String, Value>, trouble: &Value, alerts: &BTreeMap<String, Value>) -> Value {
    let times = object(&trouble["expect"]);
    let last = times.keys().map(|time| minutes(time)).max().expect("something is expected");
    let input: Vec<Value> = series(healthy, trouble, last)
        .into_iter()
        .map(|(series, values)| json!({"series": series, "values": values}))
        .collect();
    let firing: Vec<Value> = times
        .iter()
        .map(|(time, names)| {
            let samples: Vec<Value> = expected(names)
                .iter()
                .map(|name| json!({"labels": format!("{{alertname=\"{name}\"}}"), "value": 1}))
                .collect();
            json!({
                "expr": "group by (alertname) (ALERTS{alertstate=\"firing\"})",
                "eval_time": format!("{}m", minutes(time)),
                "exp_samples": samples,
            })
        })
        .collect();
    let said: Vec<Value> = object(&trouble["says"])
        .iter()
        .map(|(name, said)| {
            let rule = alerts.get(name).unwrap_or_else(|| panic!("{name} is no alert"));
            let when = times.iter().filter(|(_, names)| expected(names).contains(name));
            let when = when.map(|(time, _)| minutes(time)).max().expect("what says something fires");
            let mut labels = object(said.get("labels").unwrap_or(&labels_of(name)));
            labels.insert("severity".to_owned(), rule["labels"]["severity"].clone());
            let mut notes = object(&rule["annotations"]);
            notes.insert("description".to_owned(), said["description"].clone());
            json!({
                "eval_time": format!("{when}m"),
                "alertname": name,
                "exp_alerts": [{"exp_labels": labels, "exp_annotations": notes}],
            })
        })
        .collect();
    json!({
        "name": trouble["trouble"],
        "interval": format!("{}m", step(trouble)),
        "input_series": input,
        "promql_expr_test": firing,
        "alert_rule_test": said,
    })
}

#[test]
fn every_trouble_raises_its_alert_and_no_other() {
    let healthy = object(&yaml::load("tests/alerts/healthy.yaml"));
    let alerts: BTreeMap<String, Value> =
        rules::alerts().into_iter().map(|rule| (yaml::text(&rule["alert"]), rule)).collect();
    let (slow, quick): (Vec<Value>, Vec<Value>) =
        troubles().into_iter().partition(|trouble| step(trouble) > 1);
    // As many files as there are processors, more or less, and one for what takes days.
    let (some, others) = quick.split_at(quick.len() / 2);
    let files: Vec<_> = [(some, "2m"), (others, "2m"), (&slow[..], "30m")]
        .into_iter()
        .enumerate()
        .map(|(number, (troubles, every))| {
            let tests: Vec<Value> =
                troubles.iter().map(|trouble| as_test(&healthy, trouble, &alerts)).collect();
            let content = json!({
                "rule_files": [crate::root().join(rules::RULES)],
                "evaluation_interval": every,
                // Else in any order, and an alert would see what was recorded a round before.
                "group_eval_order": rules::groups(),
                "tests": tests,
            });
            promtool::file(&format!("troubles-{number}.yaml"), &content)
        })
        .collect();
    std::thread::scope(|scope| {
        for file in &files {
            scope.spawn(|| promtool::run(&["test", "rules", file.to_str().unwrap()], ""));
        }
    });
}

#[test]
fn every_alert_has_a_trouble_that_raises_it_and_what_it_says_then() {
    let troubles = troubles();
    let mut broken = Vec::new();
    for rule in rules::alerts() {
        let name = yaml::text(&rule["alert"]);
        let raised = troubles
            .iter()
            .any(|trouble| object(&trouble["expect"]).values().any(|names| expected(names).contains(&name)));
        let says = troubles.iter().any(|trouble| trouble["says"][&name]["description"].is_string());
        if !raised || !says {
            broken.push(format!("{name}: raised {raised}, what it says {says}"));
        }
    }
    assert_none(&broken);
}

/// A series that is missing there can raise nothing, so that nothing would be known of its alert.
#[test]
fn what_is_healthy_shows_every_metric_that_the_rules_ask_for() {
    let healthy = object(&yaml::load("tests/alerts/healthy.yaml"));
    let shown: BTreeSet<&str> = healthy.keys().filter_map(|series| series.split('{').next()).collect();
    let rules = rules::all();
    let queries: Vec<&str> = rules.iter().filter_map(|rule| rule["expr"].as_str()).collect();
    let queries = queries.join(" ");
    let missing: Vec<String> = queries
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'))
        .filter(|word| word.starts_with("relay_") || word.starts_with("shipments_"))
        .filter(|word| !shown.contains(word))
        .map(|word| format!("tests/alerts/healthy.yaml does not show {word}"))
        .collect();
    assert_none(&missing);
}
