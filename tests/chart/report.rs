//! What dev/chart says of the chart: run once for all tests.

use std::{
    path::Path,
    process::Command,
    sync::{LazyLock, OnceLock},
};

use serde_json::{Map, Value};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All of it.
pub(crate) fn report() -> &'static Value {
    static REPORT: OnceLock<Value> = OnceLock::new();
    REPORT.get_or_init(|| {
        let output = Command::new(root().join("dev/chart"))
            .arg("check")
            .env("CHART_RELAY", env!("CARGO_BIN_EXE_relay"))
            .env("CHART_SHIPMENTS", env!("CARGO_BIN_EXE_shipments"))
            .output()
            .expect("dev/chart can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "dev/chart check failed:\n{said}");
        serde_json::from_slice(&output.stdout).expect("dev/chart prints JSON")
    })
}

/// The chart with the values of a file in helm/relay/ci.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) values: Value,
    pub(crate) objects: Vec<Object>,
    pub(crate) notes: String,
}

/// A rendered object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// Where in the chart it comes from.
    pub(crate) template: String,
    pub(crate) body: Value,
}

impl Object {
    pub(crate) fn kind(&self) -> &str {
        text(&self.body["kind"])
    }

    pub(crate) fn name(&self) -> &str {
        text(&self.body["metadata"]["name"])
    }

    /// `Deployment/shop-relay`.
    pub(crate) fn title(&self) -> String {
        format!("{}/{}", self.kind(), self.name())
    }

    /// The template of its pods, or itself; none for what has no pods.
    pub(crate) fn pod(&self) -> Option<&Value> {
        match self.kind() {
            "Deployment" | "Job" => Some(&self.body["spec"]["template"]),
            "Pod" => Some(&self.body),
            _ => None,
        }
    }

    /// Among the hooks that run before an install, the order it has.
    pub(crate) fn hook_weight(&self) -> Option<i64> {
        let annotations = &self.body["metadata"]["annotations"];
        let hooks = annotations["helm.sh/hook"].as_str()?;
        assert!(hooks.contains("pre-upgrade") || hooks == "test", "{hooks}");
        hooks.contains("pre-install").then(|| text(&annotations["helm.sh/hook-weight"]).parse().unwrap())
    }
}

/// Every scenario.
pub(crate) fn scenarios() -> &'static [Scenario] {
    static SCENARIOS: LazyLock<Vec<Scenario>> = LazyLock::new(|| {
        let scenarios = map(&report()["scenarios"]).iter().map(|(name, said)| Scenario {
            name: name.clone(),
            values: said["values"].clone(),
            objects: list(&said["objects"])
                .iter()
                .map(|one| Object {
                    template: text(&one["template"]).to_owned(),
                    body: one["object"].clone(),
                })
                .collect(),
            notes: text(&said["notes"]).to_owned(),
        });
        let scenarios: Vec<Scenario> = scenarios.collect();
        assert!(scenarios.len() >= 8, "only {} scenarios: the search is broken", scenarios.len());
        scenarios
    });
    &SCENARIOS
}

pub(crate) fn scenario(name: &str) -> &'static Scenario {
    scenarios().iter().find(|one| one.name == name).unwrap_or_else(|| panic!("there is no scenario {name}"))
}

impl Scenario {
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<&Object> {
        self.objects.iter().filter(|object| object.kind() == kind).collect()
    }

    pub(crate) fn find(&self, title: &str) -> &Object {
        let found = self.objects.iter().find(|object| object.title() == title);
        found.unwrap_or_else(|| panic!("{} has no {title}", self.name))
    }

    /// Everything with pods, and the template of those.
    pub(crate) fn pods(&self) -> impl Iterator<Item = (&Object, &Value)> {
        self.objects.iter().filter_map(|object| Some((object, object.pod()?)))
    }
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

pub(crate) fn map(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no map"))
}

/// A list, or nothing where it was left out.
pub(crate) fn list(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        value => value.as_array().unwrap_or_else(|| panic!("{value} is no list")),
    }
}

#[track_caller]
pub(crate) fn assert_none(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}
