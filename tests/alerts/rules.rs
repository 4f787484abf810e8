//! The rules themselves.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{assert_none, exposed::Exposed, promtool, query, yaml};

pub const RULES: &str = "helm/relay/files/alerts.yaml";

/// Every rule.
pub fn all() -> Vec<Value> {
    let groups = yaml::load(RULES)["groups"].as_array().expect("there are groups").clone();
    groups.iter().flat_map(|group| group["rules"].as_array().expect("a group has rules").clone()).collect()
}

/// The names of the groups, in order: what is recorded comes before what asks for it.
pub fn groups() -> Vec<String> {
    let groups = yaml::load(RULES)["groups"].as_array().expect("there are groups").clone();
    groups.iter().map(|group| yaml::text(&group["name"])).collect()
}

/// The rules that alert.
pub fn alerts() -> Vec<Value> {
    let alerts: Vec<Value> = all().into_iter().filter(|rule| rule["alert"].is_string()).collect();
    assert!(alerts.len() > 30, "the search is broken");
    alerts
}

/// The names that the others record under.
pub fn recorded() -> BTreeSet<String> {
    all().iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned)).collect()
}

/// An alert's name as that of a page: `RelayDown` is `relay-down`.
pub fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

#[test]
fn prometheus_accepts_the_rules() {
    promtool::run(&["check", "rules", crate::root().join(RULES).to_str().unwrap()], "");
}

#[test]
fn every_alert_says_how_bad_what_and_where_to_read_on() {
    let (mut broken, mut names) = (Vec::new(), BTreeSet::new());
    for rule in alerts() {
        let (name, notes) = (rule["alert"].as_str().unwrap(), &rule["annotations"]);
        let mut wrong = |what: &str| broken.push(format!("{name} {what}"));
        if !names.insert(name.to_owned()) {
            wrong("is there twice");
        }
        if !["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap_or_default()) {
            wrong("has no severity");
        }
        // One that is the same for all: a headline, under which several are put together.
        if notes["summary"].as_str().is_none_or(|text| text.is_empty() || text.contains("{{")) {
            wrong("has no plain summary");
        }
        if notes["description"].as_str().is_none_or(str::is_empty) {
            wrong("has no description");
        }
        let page = format!("docs/runbooks/{}.md", kebab(name));
        if notes["runbook_url"] != *page {
            wrong(&format!("does not lead to {page}"));
        }
        if !crate::root().join(&page).exists() {
            wrong(&format!("leads to {page}, which is not there"));
        }
    }
    assert_none(&broken);
}

#[test]
fn every_metric_and_label_in_a_rule_is_exposed() {
    let (exposed, recorded) = (Exposed::collect(), recorded());
    let mut broken = Vec::new();
    for rule in all() {
        let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap();
        let query = rule["expr"].as_str().expect("a rule has a query");
        broken.extend(
            query::problems(query, &exposed, &recorded)
                .into_iter()
                .map(|problem| format!("{name}: {problem}")),
        );
    }
    assert_none(&broken);
}

#[test]
fn what_is_recorded_is_used() {
    let rules = all();
    let queries: Vec<&str> = rules.iter().filter_map(|rule| rule["expr"].as_str()).collect();
    let queries = queries.join(" ");
    let unused: Vec<String> = recorded()
        .into_iter()
        .filter(|name| {
            !queries
                .split(|letter: char| letter.is_whitespace() || "[](){}".contains(letter))
                .any(|word| word == name)
        })
        .collect();
    assert_none(&unused);
}
