//! Alerts and dashboard reach their operators as they stand in files/.

use std::collections::BTreeSet;

use crate::report::{list, map, read, scenario, scenarios, text};

#[test]
fn every_alert_of_the_file_is_in_the_rule_with_the_labels_that_were_asked_for() {
    let file = read("helm/relay/files/alerts.yaml");
    let written: BTreeSet<&str> =
        file.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!written.is_empty(), "no alert was found: the search is broken");
    let scenario = scenario("everything");
    let [rule] = scenario.of_kind("PrometheusRule")[..] else { panic!("there is no rule") };
    let groups = list(&rule.body["spec"]["groups"]);
    let alerts: Vec<_> = groups
        .iter()
        .flat_map(|group| list(&group["rules"]))
        .filter(|rule| rule["alert"].is_string())
        .collect();
    let rendered: BTreeSet<&str> = alerts.iter().map(|alert| text(&alert["alert"])).collect();
    assert_eq!(rendered, written);
    for alert in alerts {
        assert_eq!(alert["labels"]["team"], "shop", "{alert}");
        if let Some(runbook) = alert["annotations"]["runbook_url"].as_str() {
            let page = runbook.strip_prefix("https://example.com/relay/").expect("where the pages are");
            assert!(!page.contains("://"), "{runbook}");
        }
        // Prometheus fills these in, Helm must not.
        assert_eq!(
            alert.to_string().contains("{{"),
            file_has_template(&file, text(&alert["alert"])),
            "{alert}"
        );
    }
}

/// Whether the alert, up to the next one, has a template of Prometheus'.
fn file_has_template(file: &str, alert: &str) -> bool {
    let (_, rest) = file.split_once(&format!("- alert: {alert}\n")).unwrap();
    rest.split("- alert: ").next().unwrap().contains("{{")
}

#[test]
fn the_dashboard_is_the_file() {
    let scenario = scenario("everything");
    let map_of_files = scenario.find("ConfigMap/shop-outbox-dashboard");
    let (name, content) = map(&map_of_files.body["data"]).iter().next().unwrap();
    assert_eq!(name, "relay.json");
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parsed(text(content)), parsed(&read("helm/relay/files/dashboard.json")));
    assert!(text(content).len() < 1 << 20, "a ConfigMap takes no more than a mebibyte");
}

#[test]
fn whoever_has_no_operators_needs_none() {
    for scenario in
        scenarios().iter().filter(|one| !["everything", "production"].contains(&one.name.as_str()))
    {
        for object in &scenario.objects {
            let group = text(&object.body["apiVersion"]).split('/').next().unwrap();
            assert!(!group.ends_with("coreos.com") && !group.ends_with("keda.sh"), "{}", object.title());
        }
    }
}
