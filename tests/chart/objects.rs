//! Objects find each other.

use serde_json::Value;

use crate::report::{Object, Scenario, assert_none, list, map, scenarios, text};

/// Whether a selector selects pods with these labels.
fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = match selector["matchLabels"].as_object() {
        Some(wanted) => wanted.iter().all(|(key, value)| labels[key] == *value),
        None => true,
    };
    equal
        && list(&selector["matchExpressions"]).iter().all(|wanted| {
            assert_eq!(wanted["operator"], "In");
            list(&wanted["values"]).contains(&labels[text(&wanted["key"])])
        })
}

/// Titles of what has pods that this selects.
fn selected(scenario: &Scenario, selector: &Value) -> Vec<String> {
    let selected = scenario.pods().filter(|(_, pod)| selects(selector, &pod["metadata"]["labels"]));
    selected.map(|(object, _)| object.title()).collect()
}

#[test]
fn every_selector_selects_the_pods_that_it_is_for() {
    let mut tried = 0;
    for scenario in scenarios() {
        for deployment in scenario.of_kind("Deployment") {
            tried += 1;
            let selector = &deployment.body["spec"]["selector"];
            assert_eq!(selected(scenario, selector), [deployment.title()], "{}", scenario.name);
        }
        for disruption in scenario.of_kind("PodDisruptionBudget") {
            tried += 1;
            let found = selected(scenario, &disruption.body["spec"]["selector"]);
            assert_eq!(found, [format!("Deployment/{}", disruption.name())], "{}", scenario.name);
        }
        for service in scenario.of_kind("Service") {
            tried += 1;
            let selector = serde_json::json!({ "matchLabels": service.body["spec"]["selector"] });
            let found = selected(scenario, &selector);
            assert_eq!(found, [format!("Deployment/{}", service.name())], "{}", scenario.name);
            let ports = &scenario.find(&found[0]).pod().unwrap()["spec"]["containers"][0]["ports"];
            for port in list(&service.body["spec"]["ports"]) {
                let there = list(ports).iter().any(|one| one["name"] == port["targetPort"]);
                assert!(there, "{}: {port}", service.title());
            }
        }
    }
    assert!(tried > 25, "only {tried} selectors were found: the search is broken");
}

#[test]
fn scaling_and_scraping_reach_every_deployment() {
    let mut with_authorities = 0;
    for scenario in scenarios() {
        for scaled in scenario.of_kind("ScaledObject") {
            let target = format!("Deployment/{}", text(&scaled.body["spec"]["scaleTargetRef"]["name"]));
            // Else each upgrade sets the number back.
            assert!(scenario.find(&target).body["spec"]["replicas"].is_null(), "{target}");
            for trigger in list(&scaled.body["spec"]["triggers"]) {
                let name = text(&trigger["authenticationRef"]["name"]);
                let given = &scenario.find(&format!("TriggerAuthentication/{name}")).body["spec"];
                let references = || {
                    ["secretTargetRef", "configMapTargetRef"]
                        .into_iter()
                        .filter_map(|kind| given[kind].as_array())
                        .flatten()
                };
                // KEDA takes no notice of the authorities otherwise.
                if references().any(|one| one["parameter"] == "ca") {
                    let tls = references().find(|one| one["parameter"] == "tls").expect("TLS is named");
                    let map = scenario.find(&format!("ConfigMap/{}", text(&tls["name"])));
                    assert_eq!(map.body["data"][text(&tls["key"])], "enable", "{name}");
                    with_authorities += 1;
                }
            }
        }
        for monitor in scenario.of_kind("PodMonitor") {
            let endpoint = &monitor.body["spec"]["podMetricsEndpoints"][0];
            for deployment in scenario.of_kind("Deployment") {
                let pod = deployment.pod().unwrap();
                assert!(selects(&monitor.body["spec"]["selector"], &pod["metadata"]["labels"]));
                let ports = list(&pod["spec"]["containers"][0]["ports"]);
                assert!(ports.iter().any(|port| port["name"] == endpoint["port"]), "{}", deployment.title());
            }
        }
    }
    assert!(with_authorities > 0, "no scenario scales with authorities of its own");
}

#[test]
fn in_a_closed_network_every_pod_reaches_what_it_needs_and_nothing_else() {
    let (mut broken, mut tried) = (Vec::new(), 0);
    for scenario in scenarios().iter().filter(|one| !one.of_kind("NetworkPolicy").is_empty()) {
        let values = &scenario.values["networkPolicy"];
        for (object, pod) in scenario.pods() {
            tried += 1;
            let policies: Vec<&Value> = scenario
                .of_kind("NetworkPolicy")
                .iter()
                .filter(|policy| is_there_for(policy, object))
                .map(|policy| &policy.body["spec"])
                .filter(|spec| selects(&spec["podSelector"], &pod["metadata"]["labels"]))
                .collect();
            let title = format!("{}: {}", scenario.name, object.title());
            let open = |direction: &str| -> Vec<i64> {
                let rules = policies.iter().flat_map(|spec| list(&spec[direction]));
                rules.flat_map(|rule| list(&rule["ports"])).filter_map(|port| port["port"].as_i64()).collect()
            };
            let wanted = if values["database"]["ports"].is_null() { 5432 } else { 6432 };
            if !open("egress").contains(&wanted) || !open("egress").contains(&53) {
                broken.push(format!("{title} does not reach the database: {:?}", open("egress")));
            }
            let talks_amqp =
                ["run", "worker", "doctor"].contains(&text(&pod["spec"]["containers"][0]["args"][0]));
            if talks_amqp != open("egress").contains(&5671) && object.kind() != "Job" {
                broken.push(format!("{title}: AMQP is {:?}", open("egress")));
            }
            for port in list(&pod["spec"]["containers"][0]["ports"]) {
                if !open("ingress").contains(&port["containerPort"].as_i64().unwrap()) {
                    broken.push(format!("{title} is not reached on {port}"));
                }
            }
            let unasked =
                policies.iter().flat_map(|spec| list(&spec["egress"])).any(|rule| rule["ports"].is_null());
            if unasked {
                broken.push(format!("{title} reaches every port of somebody"));
            }
        }
    }
    assert!(tried > 8, "only {tried} pods were found: the search is broken");
    assert_none(&broken);
}

/// Whether a policy is there when these pods start: a hook's go before the rest, and after those of lower weight.
fn is_there_for(policy: &Object, pods: &Object) -> bool {
    match (pods.hook_weight(), policy.hook_weight()) {
        (Some(weight), Some(first)) => first < weight,
        (None, None) => true,
        _ => false,
    }
}

#[test]
fn names_and_labels_are_those_kubernetes_and_others_expect() {
    let mut broken = Vec::new();
    for scenario in scenarios() {
        for object in &scenario.objects {
            if object.name().len() > 63 {
                broken.push(format!("{} is too long", object.title()));
            }
            // What users add as it is.
            if object.name().ends_with("-more") {
                continue;
            }
            let labels = map(&object.body["metadata"]["labels"]);
            for label in ["name", "instance", "version"] {
                if !labels.contains_key(&format!("app.kubernetes.io/{label}")) {
                    broken.push(format!(
                        "{}: {} ({}) has no {label}",
                        scenario.name,
                        object.title(),
                        object.template
                    ));
                }
            }
        }
    }
    assert_none(&broken);
}
