//! What the chart says of the program is what the program does.

use std::{collections::BTreeSet, process::Command};

use relay::config::{Config, KEYS};
use serde_json::Value;

use crate::{
    container::{Container, SECRET},
    report::{Object, Scenario, assert_none, list, map, read, report, scenario, scenarios, text},
};

/// The pods that run `relay` or `shipments` with this first argument.
fn running<'a>(scenario: &'a Scenario, program: &str, command: &str) -> Vec<&'a Object> {
    let runs = |pod: &Value| {
        let container = &pod["spec"]["containers"][0];
        container["command"][0] == program && container["args"][0] == command
    };
    scenario.pods().filter(|(_, pod)| runs(pod)).map(|(object, _)| object).collect()
}

/// A setting as the program understands it, wherever in its answer that stands.
fn setting(shown: &Value, key: &str) -> Option<String> {
    match shown {
        Value::Object(fields) if fields.get("key").is_some_and(|found| found == key) => {
            Some(fields["value"].as_str().map_or_else(|| fields["value"].to_string(), str::to_owned))
        }
        Value::Object(fields) => fields.values().find_map(|below| setting(below, key)),
        Value::Array(items) => items.iter().find_map(|below| setting(below, key)),
        _ => None,
    }
}

/// What `relay config show` makes of a container's file and environment.
fn shown(container: &Container, outbox: Option<&str>) -> Value {
    let chosen = outbox.map(|name| format!("--outbox={name}"));
    let mut args = vec!["config", "show", "-o", "json"];
    args.extend(chosen.as_deref());
    let output = container.finish(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_program_finds_nothing_wrong_with_what_a_pod_is_told() {
    let (mut broken, mut tried) = (Vec::new(), 0);
    for scenario in scenarios() {
        for command in ["run", "migrate", "doctor"] {
            for object in running(scenario, "relay", command) {
                tried += 1;
                let output = Container::of(scenario, object).finish(&["config", "check"]);
                let said = String::from_utf8_lossy(&output.stderr);
                if !output.status.success() || said.contains("warning") {
                    broken.push(format!("{}: {}: {said}", scenario.name, object.title()));
                }
            }
        }
    }
    assert!(tried > 15, "only {tried} pods were found: the search is broken");
    assert_none(&broken);
}

#[test]
fn every_key_of_the_values_reaches_the_program() {
    let mut tried = 0;
    for scenario in scenarios() {
        let [relay] = running(scenario, "relay", "run")[..] else { panic!("{} has no relay", scenario.name) };
        let container = Container::of(scenario, relay);
        let mut expect = |name: Option<&str>, section: &str, keys: &Value| {
            let shown = shown(&container, name);
            for (key, value) in map(keys).iter().filter(|(_, value)| !value.is_object()) {
                tried += 1;
                let path = format!("{section}.{key}");
                let found = setting(&shown, &path).unwrap_or_else(|| panic!("there is no {path}"));
                assert!(same(&found, value), "{}: {path} is {found}, not {value}", scenario.name);
            }
        };
        if let Some(sections) = scenario.values["config"].as_object() {
            let first = list(&scenario.values["outbox"]).first().map(|outbox| text(&outbox["name"]));
            for (section, keys) in sections {
                expect(first, section, keys);
            }
        }
        for outbox in list(&scenario.values["outbox"]) {
            let name = Some(text(&outbox["name"]));
            expect(name, "outbox", outbox);
            for (section, keys) in map(outbox).iter().filter(|(_, keys)| keys.is_object()) {
                expect(name, section, keys);
            }
        }
    }
    assert!(tried > 20, "only {tried} keys were found: the search is broken");
}

#[test]
fn the_test_of_a_release_fails_on_failures_alone() {
    let mut tried = 0;
    for scenario in scenarios() {
        for object in running(scenario, "relay", "doctor") {
            tried += 1;
            let pod = object.pod().unwrap();
            let args: Vec<&str> = list(&pod["spec"]["containers"][0]["args"]).iter().map(text).collect();
            assert_eq!(args, ["doctor", "--fail-on=failure"], "{}", scenario.name);
            let output = Container::of(scenario, object).finish(&[&args[..], &["--help"]].concat());
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert!(tried > 3, "only {tried} pods were found: the search is broken");
}

/// Whether a value of the program's is one of the chart's: 67108864 is 64 MiB, and `1m 30s` is `1m 30s`.
fn same(found: &str, given: &Value) -> bool {
    let plain = |text: &str| text.replace(['"', '[', ']', ' '], "");
    let given = given.as_str().map_or_else(|| given.to_string(), str::to_owned);
    let durations = [found, given.as_str()].map(humantime::parse_duration);
    match durations {
        [Ok(one), Ok(other)] => one == other,
        _ => bytes(&plain(found)) == bytes(&plain(&given)),
    }
}

fn bytes(text: &str) -> String {
    let mib = text.strip_suffix("MiB").and_then(|number| number.parse::<u64>().ok());
    mib.map_or_else(|| text.to_owned(), |number| (number << 20).to_string())
}

#[test]
fn an_outbox_with_servers_of_its_own_reaches_these() {
    let scenario = scenario("outboxes");
    let [relay] = running(scenario, "relay", "run")[..] else { panic!("there is no relay") };
    let container = Container::of(scenario, relay);
    let names = |name: &str| container.env.get(name).map(String::as_str);
    let url = |secret: &str| format!("postgres://shop:{SECRET}@127.0.0.1:1/{secret}");
    assert_eq!(names("RELAY_OUTBOX_STOCK_EU_DATABASE_URL"), Some(url("stock_database").as_str()));
    assert_eq!(names("RELAY_DATABASE_URL"), Some(url("shop_database").as_str()));
}

#[test]
fn commands_of_operators_have_their_connection_in_relays_pod() {
    for name in ["production", "everything"] {
        let scenario = scenario(name);
        let [relay] = running(scenario, "relay", "run")[..] else { panic!("{name} has no relay") };
        let container = Container::of(scenario, relay);
        assert!(container.env.contains_key("RELAY_DATABASE_OPERATOR_URL"), "{name}: {:?}", container.env);
        let shown = setting(&shown(&container, None), "database.operator_url");
        assert!(shown.is_some_and(|url| url != "null"), "{name}");
        let variables = list(&relay.pod().unwrap()["spec"]["containers"][0]["env"]);
        let variable = variables.iter().find(|one| one["name"] == "RELAY_DATABASE_OPERATOR_URL").unwrap();
        let from = &variable["valueFrom"]["secretKeyRef"];
        assert_eq!((text(&from["name"]), text(&from["key"])), ("shop-database", "operator-url"), "{name}");
    }
}

/// The port of an address.
fn port(address: &str) -> i64 {
    address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{address}"))
}

/// What a program says of a command, in a line.
fn help(program: &str, command: &str) -> String {
    let path = if program == "relay" { env!("CARGO_BIN_EXE_relay") } else { env!("CARGO_BIN_EXE_shipments") };
    let output = Command::new(path).args([command, "--help"]).env_clear().output().unwrap();
    assert!(output.status.success(), "{program} {command}: {output:?}");
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The default of a variable, as a program's help has it.
fn default_of(command: &str, variable: &str) -> String {
    let help = help("shipments", command);
    let (_, rest) = help.split_once(&format!("[env: {variable}=")).unwrap_or_else(|| panic!("no {variable}"));
    let (_, rest) = rest.split_once("[default: ").unwrap();
    rest.split(']').next().unwrap().to_owned()
}

#[test]
fn ports_are_the_programs_defaults_and_pods_listen_for_others() {
    let mut tried = 0;
    for scenario in scenarios() {
        for (program, command, variable, name) in [
            ("relay", "run", "RELAY_ADMIN_LISTEN", "metrics"),
            ("shipments", "worker", "SHIPMENTS_ADMIN_LISTEN", "metrics"),
            ("shipments", "api", "SHIPMENTS_API_LISTEN", "http"),
            ("shipments", "api", "SHIPMENTS_API_ADMIN_LISTEN", "metrics"),
        ] {
            for object in running(scenario, program, command) {
                tried += 1;
                let ports = list(&object.pod().unwrap()["spec"]["containers"][0]["ports"]);
                let declared = ports.iter().find(|port| port["name"] == name);
                let declared = declared.unwrap_or_else(|| panic!("{} has no port {name}", object.title()));
                let address = &Container::of(scenario, object).env[variable];
                let default = match program {
                    "relay" => Config::default().admin.listen.to_string(),
                    _ => default_of(command, variable),
                };
                assert_eq!(declared["containerPort"], port(&default), "{}", object.title());
                assert_eq!(port(address), port(&default), "{}", object.title());
                let parsed: std::net::SocketAddr = address.parse().unwrap();
                assert!(parsed.ip().is_unspecified(), "{} listens on {address}", object.title());
            }
        }
    }
    assert!(tried > 12, "only {tried} ports were found: the search is broken");
}

#[test]
fn pods_have_more_time_to_end_than_the_program_takes() {
    let mut tried = 0;
    for scenario in scenarios() {
        for (program, command, variable) in [
            ("relay", "run", "shutdown.grace"),
            ("shipments", "worker", "SHIPMENTS_GRACE"),
            ("shipments", "api", "SHIPMENTS_API_GRACE"),
        ] {
            for object in running(scenario, program, command) {
                tried += 1;
                let container = Container::of(scenario, object);
                let first = list(&scenario.values["outbox"]).first().map(|outbox| text(&outbox["name"]));
                let grace = match program {
                    "relay" => setting(&shown(&container, first), variable).unwrap(),
                    _ => {
                        container.env.get(variable).cloned().unwrap_or_else(|| default_of(command, variable))
                    }
                };
                let grace = humantime::parse_duration(&grace).unwrap();
                let given = object.pod().unwrap()["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
                let given = std::time::Duration::from_secs(given);
                let margin = std::time::Duration::from_secs(5);
                assert!(given >= grace + margin, "{}: {given:?} for {grace:?}", object.title());
            }
        }
    }
    assert!(tried > 10, "only {tried} pods were found: the search is broken");
}

#[test]
fn every_pod_starts_as_rendered_answers_its_probes_and_ends_at_sigterm() {
    let scenarios = ["everything", "external-secrets", "own-file", "shipping"].map(scenario);
    let mut tried = BTreeSet::new();
    for scenario in scenarios {
        for object in scenario.of_kind("Deployment") {
            tried.insert(object.pod().unwrap()["spec"]["containers"][0]["args"][0].clone().to_string());
            let container = &object.pod().unwrap()["spec"]["containers"][0];
            let running = Container::of(scenario, object).start();
            for (probe, status) in [("startupProbe", 200), ("livenessProbe", 200), ("readinessProbe", 503)] {
                assert_eq!(container[probe]["httpGet"]["port"], "metrics");
                let path = text(&container[probe]["httpGet"]["path"]);
                // No server is there: it lives, and is not ready.
                assert_eq!(running.get(path), status, "{}: {path}", object.title());
            }
            assert_eq!(running.get("/metrics"), 200, "{}", object.title());
            assert_eq!(running.terminate(), Some(0), "{}", object.title());
        }
    }
    assert_eq!(tried.len(), 3, "{tried:?}");
}

#[test]
fn every_variable_and_flag_of_a_pod_is_one_of_its_program() {
    let (mut broken, mut tried) = (Vec::new(), 0);
    for scenario in scenarios() {
        for (object, pod) in scenario.pods() {
            let container = &pod["spec"]["containers"][0];
            let (program, command) = (text(&container["command"][0]), text(&container["args"][0]));
            let help = help(program, command);
            for arg in list(&container["args"]).iter().skip(1).map(text) {
                tried += 1;
                let flag = arg.split('=').next().unwrap();
                if !help.contains(&format!("{flag} <")) {
                    broken.push(format!("{}: {program} {command} has no {flag}", object.title()));
                }
            }
            for variable in list(&container["env"]).iter().map(|variable| text(&variable["name"])) {
                tried += 1;
                if !is_known(variable, program, &help) && !in_extra(scenario, variable) {
                    broken.push(format!("{}: {program} {command} has no {variable}", object.title()));
                }
            }
        }
    }
    assert!(tried > 100, "only {tried} were found: the search is broken");
    assert_none(&broken);
}

fn is_known(variable: &str, program: &str, help: &str) -> bool {
    if program == "relay" {
        let of_outbox = variable.starts_with("RELAY_OUTBOX_STOCK_EU_");
        return of_outbox || variable == "RELAY_CONFIG" || KEYS.iter().any(|key| key.variable() == variable);
    }
    // Workers and API have one set of settings, and each some that mean nothing to the other.
    let settings =
        &report()["schema"]["properties"]["shipping"]["properties"]["settings"]["propertyNames"]["enum"];
    let of_part =
        |rest: &str| rest.ends_with("_DATABASE_URL") && help.contains("SHIPMENTS_LABEL_DATABASE_URL");
    help.contains(&format!("[env: {variable}=]"))
        || help.contains(&format!("[env: {variable}]"))
        || list(settings).iter().any(|name| name == variable)
        || variable.strip_prefix("SHIPMENTS_").is_some_and(of_part)
}

fn in_extra(scenario: &Scenario, variable: &str) -> bool {
    list(&scenario.values["extraEnv"]).iter().any(|extra| extra["name"] == variable)
}

#[test]
fn workers_scale_by_the_queues_they_consume() {
    // The table at the top of that file.
    let source = read("src/shipping/worker.rs");
    let table = |part: &str| -> BTreeSet<String> {
        let row = source.lines().find(|line| line.starts_with(&format!("//! | {part} |"))).unwrap();
        row.split('`').filter_map(|span| span.strip_prefix("shipping.")).map(str::to_owned).collect()
    };
    let scenario = scenario("everything");
    let mut tried = 0;
    for worker in list(&scenario.values["shipping"]["workers"]) {
        let title = format!("ScaledObject/shop-outbox-worker-{}", text(&worker["name"]));
        let triggers = list(&scenario.find(&title).body["spec"]["triggers"]);
        let scaled_by: BTreeSet<String> = triggers
            .iter()
            .map(|trigger| text(&trigger["metadata"]["queueName"]))
            .map(|queue| queue.strip_prefix("shop.").expect("the prefix of the settings").to_owned())
            .collect();
        let consumed: BTreeSet<String> =
            list(&worker["parts"]).iter().flat_map(|part| table(text(part))).collect();
        assert_eq!(scaled_by, consumed, "{title}");
        tried += consumed.len();
    }
    assert_eq!(tried, 8, "queues");
}
