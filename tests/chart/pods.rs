//! What pods may do, and what they know.

use std::collections::BTreeSet;

use relay::config::KEYS;
use serde_json::{Value, json};

use crate::{
    container::SECRET,
    report::{assert_none, list, map, report, scenarios, text},
};

#[test]
fn every_container_has_the_restricted_security_context() {
    let (mut broken, mut tried) = (Vec::new(), 0);
    for scenario in scenarios() {
        for (object, pod) in scenario.pods() {
            let spec = &pod["spec"];
            let mut expect = |what: &str, found: &Value, wanted: Value| {
                if *found != wanted {
                    broken.push(format!("{}: {}: {what} is {found}", scenario.name, object.title()));
                }
            };
            expect("service account token", &spec["automountServiceAccountToken"], json!(false));
            expect("runAsNonRoot", &spec["securityContext"]["runAsNonRoot"], json!(true));
            expect(
                "seccomp profile",
                &spec["securityContext"]["seccompProfile"]["type"],
                json!("RuntimeDefault"),
            );
            let volumes: BTreeSet<&String> =
                list(&spec["volumes"]).iter().flat_map(|volume| map(volume).keys()).collect();
            let readable = ["name", "configMap", "secret"];
            expect(
                "volumes",
                &json!(volumes.iter().all(|kind| readable.contains(&kind.as_str()))),
                json!(true),
            );
            for key in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
                expect(key, &spec[key], Value::Null);
            }
            for container in list(&spec["containers"]) {
                tried += 1;
                let context = &container["securityContext"];
                expect("allowPrivilegeEscalation", &context["allowPrivilegeEscalation"], json!(false));
                expect("readOnlyRootFilesystem", &context["readOnlyRootFilesystem"], json!(true));
                expect("capabilities", &context["capabilities"], json!({"drop": ["ALL"]}));
                expect("privileged", &context["privileged"], Value::Null);
                let limited = container["resources"]["limits"]["memory"].is_string();
                expect("memory limit", &json!(limited), json!(true));
            }
        }
    }
    assert!(tried > 20, "only {tried} containers were found: the search is broken");
    assert_none(&broken);
}

#[test]
fn secrets_stand_in_secrets_alone() {
    let (mut seen, mut broken) = (0, Vec::new());
    for scenario in scenarios() {
        for object in &scenario.objects {
            let found = object.body.to_string().contains(SECRET);
            seen += usize::from(found);
            if found && object.kind() != "Secret" {
                broken.push(format!("{}: {} has a password", scenario.name, object.title()));
            }
        }
        assert!(!scenario.notes.contains(SECRET), "{}", scenario.notes);
        for (object, pod) in scenario.pods() {
            for container in list(&pod["spec"]["containers"]) {
                for variable in list(&container["env"]).iter().filter(|one| is_secret(text(&one["name"]))) {
                    if !variable["value"].is_null() || variable["valueFrom"]["secretKeyRef"].is_null() {
                        broken.push(format!("{}: {} has {variable}", scenario.name, object.title()));
                    }
                }
            }
        }
    }
    assert_eq!(seen, 2, "the trial's Secret, for the hook and for the rest");
    assert_none(&broken);
}

fn is_secret(variable: &str) -> bool {
    KEYS.iter().any(|key| key.secret() && key.variable() == variable)
        || ["DATABASE_URL", "LISTEN_URL", "AMQP_URL", "API_KEY", "PASSWORD", "WEBHOOK_SECRET"]
            .iter()
            .any(|end| variable.ends_with(end))
}

#[test]
fn a_hook_needs_nothing_that_is_made_after_it() {
    let (mut broken, mut tried) = (Vec::new(), 0);
    for scenario in scenarios() {
        // Whatever the values name exists before the release.
        let given = [&scenario.values, &report()["values"]].map(Value::to_string).concat();
        for (object, pod) in scenario.pods() {
            for (kind, name) in references(&pod["spec"]) {
                let made: Vec<_> =
                    scenario.objects.iter().filter(|one| one.kind() == kind && one.name() == name).collect();
                let there = match (object.hook_weight(), &made[..]) {
                    (_, []) => {
                        given.contains(&format!("\"{name}\""))
                            || (kind, name) == ("ServiceAccount", "default")
                    }
                    (None, [one]) => one.hook_weight().is_none(),
                    (Some(weight), [one]) => one.hook_weight().is_some_and(|first| first < weight),
                    _ => false,
                };
                tried += 1;
                if !there {
                    broken.push(format!("{}: {} needs {kind}/{name}", scenario.name, object.title()));
                }
            }
        }
    }
    assert!(tried > 60, "only {tried} references were found: the search is broken");
    assert_none(&broken);
}

/// Objects that a pod needs to start.
fn references(spec: &Value) -> Vec<(&'static str, &str)> {
    let mut found = vec![("ServiceAccount", text(&spec["serviceAccountName"]))];
    for volume in list(&spec["volumes"]) {
        found.extend(volume["configMap"]["name"].as_str().map(|name| ("ConfigMap", name)));
        found.extend(volume["secret"]["secretName"].as_str().map(|name| ("Secret", name)));
    }
    for container in list(&spec["containers"]) {
        let names = list(&container["env"])
            .iter()
            .filter_map(|one| one["valueFrom"]["secretKeyRef"]["name"].as_str());
        found.extend(names.map(|name| ("Secret", name)));
    }
    found
}
