//! The dashboard: every query is one, asks for what is exposed, and every panel can be read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{assert_none, exposed::Exposed, promtool, query};

const DASHBOARD: &str = "helm/relay/files/dashboard.json";
/// How wide the grid is.
const COLUMNS: u64 = 24;

fn dashboard() -> Value {
    serde_json::from_str(&crate::read(DASHBOARD)).unwrap_or_else(|error| panic!("{DASHBOARD}: {error}"))
}

fn list<'a>(value: &'a Value, what: &str) -> &'a Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{DASHBOARD} has no {what}"))
}

fn title(panel: &Value) -> &str {
    panel["title"].as_str().unwrap_or("one without a title")
}

/// The panels that show something.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels: Vec<&Value> =
        list(&dashboard["panels"], "panels").iter().filter(|panel| panel["type"] != "row").collect();
    assert!(panels.len() > 30, "the search is broken");
    panels
}

/// Each query of a panel, with the title, as Prometheus gets it: variables have their values.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in panels(dashboard) {
        for target in list(&panel["targets"], "targets of a panel") {
            let mut query = target["expr"].as_str().expect("a target has a query").to_owned();
            for (variable, value) in
                [("$__rate_interval", "5m"), ("$outbox", ".*"), ("$instance", ".*"), ("$consumer", ".*")]
            {
                query = query.replace(variable, value);
            }
            found.push((title(panel).to_owned(), query));
        }
    }
    found
}

#[test]
fn prometheus_understands_every_query() {
    let rules: Vec<Value> = queries(&dashboard())
        .iter()
        .enumerate()
        .map(|(number, (_, query))| json!({"record": format!("dashboard:query_{number}"), "expr": query}))
        .collect();
    let file = promtool::file("dashboard.yaml", &json!({"groups": [{"name": "dashboard", "rules": rules}]}));
    promtool::run(&["check", "rules", file.to_str().unwrap()], "");
}

#[test]
fn every_metric_and_label_on_the_dashboard_is_exposed() {
    let exposed = Exposed::collect();
    let broken: Vec<String> = queries(&dashboard())
        .iter()
        .flat_map(|(title, query)| {
            let problems = query::problems(query, &exposed, &BTreeSet::new());
            problems.into_iter().map(move |problem| format!("{title}: {problem}"))
        })
        .collect();
    assert_none(&broken);
}

#[test]
fn every_metric_has_its_place_on_the_dashboard() {
    let dashboard = dashboard();
    let shown: Vec<String> = queries(&dashboard).into_iter().map(|(_, query)| query).collect();
    let shown = shown.join(" ");
    let words: BTreeSet<&str> = shown
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .map(|word| word.trim_end_matches("_bucket").trim_end_matches("_count"))
        .collect();
    let missing: Vec<String> = Exposed::collect()
        .names()
        .filter(|name| !["_bucket", "_sum", "_count"].iter().any(|suffix| name.ends_with(suffix)))
        .filter(|name| !words.contains(name))
        .map(|name| format!("{name} is shown nowhere"))
        .collect();
    assert_none(&missing);
}

#[test]
fn every_panel_says_what_it_shows_in_which_unit_and_what_is_too_much() {
    let dashboard = dashboard();
    let mut broken = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in list(&dashboard["panels"], "panels") {
        let mut wrong = |what: &str| broken.push(format!("{}: {what}", title(panel)));
        if !ids.insert(panel["id"].as_u64()) {
            wrong("its id is another's");
        }
        if panel["title"].as_str().is_none_or(str::is_empty) {
            wrong("no title");
        }
        if panel["type"] == "row" {
            continue;
        }
        let defaults = &panel["fieldConfig"]["defaults"];
        if panel["description"].as_str().is_none_or(|text| text.len() < 20) {
            wrong("no description");
        }
        if defaults["unit"].as_str().is_none_or(str::is_empty) {
            wrong("no unit");
        }
        let steps = defaults["thresholds"]["steps"].as_array().map_or(0, Vec::len);
        if steps == 0 {
            wrong("no thresholds");
        }
        for target in list(&panel["targets"], "targets of a panel") {
            if target["datasource"]["uid"] != "${datasource}" {
                wrong("its source is not the variable");
            }
            if target["legendFormat"].as_str().is_none_or(str::is_empty) {
                wrong("no legend");
            }
            // What relays say is of an outbox, and a reader may want one.
            let query = target["expr"].as_str().unwrap_or_default();
            let chosen = [
                "$outbox",
                "$consumer",
                "relay_shipments",
                "shipments",
                "target=",
                "relay_compensations",
                "relay_spans",
            ];
            if !chosen.iter().any(|choice| query.contains(choice)) {
                wrong("it ignores the variables");
            }
        }
    }
    assert_none(&broken);
    for name in ["datasource", "outbox", "instance", "consumer"] {
        let variables = list(&dashboard["templating"]["list"], "variables");
        assert!(variables.iter().any(|variable| variable["name"] == name), "there is no variable {name}");
    }
}

#[test]
fn no_panel_covers_another() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for panel in list(&dashboard["panels"], "panels") {
        let side = |name: &str| panel["gridPos"][name].as_u64().expect("a panel has its place");
        let (left, top, width, height) = (side("x"), side("y"), side("w"), side("h"));
        assert!(left + width <= COLUMNS, "{} is wider than the page", title(panel));
        for x in left..left + width {
            for y in top..top + height {
                assert!(taken.insert((x, y)), "{} covers another at {x}, {y}", title(panel));
            }
        }
    }
}
