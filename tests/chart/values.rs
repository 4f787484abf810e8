//! values.yaml, values.schema.json, README.md and templates agree, and mistakes are refused.

use serde_json::Value;

use crate::report::{assert_none, list, map, read, report, root, text};

#[test]
fn the_schema_refuses_mistakes_and_says_which() {
    let (mut broken, mut tried) = (Vec::new(), 0);
    for case in list(&report()["refused"]) {
        tried += 1;
        let (values, names) = (text(&case["values"]), text(&case["names"]));
        match case["message"].as_str() {
            None => broken.push(format!("{values} is accepted")),
            Some(message) if message.contains(names) => {}
            Some(message) => {
                broken.push(format!("{values} is refused, but {names:?} is not named:\n{message}"))
            }
        }
    }
    assert!(tried > 20, "only {tried} mistakes were made: the search is broken");
    assert_none(&broken);
}

#[test]
fn every_value_changes_something() {
    let unused: Vec<String> =
        list(&report()["unused"]).iter().map(|path| format!("no template uses {path}")).collect();
    assert_none(&unused);
}

#[test]
fn every_value_that_a_template_names_exists() {
    let (mut broken, mut tried) = (Vec::new(), 0);
    for folder in ["templates", "templates/shipping", "templates/tests"] {
        for entry in std::fs::read_dir(root().join("helm/relay").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for named in text.split(".Values.").skip(1) {
                let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
                let named = named.split(|letter| !is_part(letter)).next().unwrap();
                tried += 1;
                if !exists(&report()["values"], named.trim_end_matches('.')) {
                    broken.push(format!("{} names {named}, which values.yaml has not", path.display()));
                }
            }
        }
    }
    assert!(tried > 80, "only {tried} values were found: the search is broken");
    assert_none(&broken);
}

fn exists(values: &Value, path: &str) -> bool {
    let mut value = values;
    for name in path.split('.') {
        match value.get(name) {
            Some(below) => value = below,
            None => return false,
        }
    }
    true
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    let mut broken = Vec::new();
    compare(&report()["values"], &report()["schema"], "", &mut broken);
    assert_none(&broken);
}

fn compare(values: &Value, schema: &Value, path: &str, broken: &mut Vec<String>) {
    let (Some(values), Some(properties)) = (values.as_object(), schema["properties"].as_object()) else {
        return;
    };
    if path != ".config" {
        for name in properties.keys().filter(|name| !values.contains_key(*name) && *name != "global") {
            broken.push(format!("values.yaml lacks {path}.{name}"));
        }
        if schema["additionalProperties"] != false {
            broken.push(format!("values.schema.json takes anything in {path}"));
        }
    }
    for (name, value) in values {
        match properties.get(name) {
            Some(below) => compare(value, below, &format!("{path}.{name}"), broken),
            None => broken.push(format!("values.schema.json lacks {path}.{name}")),
        }
    }
}

#[test]
fn what_is_written_from_the_program_and_from_the_values_is_up_to_date() {
    let cure = "run `dev/chart write`";
    assert_eq!(report()["written"], true, "values.schema.json is not what the program says: {cure}");
    assert_eq!(
        report()["readme"],
        true,
        "the table in helm/relay/README.md is not that of values.yaml: {cure}"
    );
}

#[test]
fn the_charts_version_of_relay_is_the_version() {
    let metadata = &report()["metadata"];
    assert_eq!(metadata["appVersion"], env!("CARGO_PKG_VERSION"), "helm/relay/Chart.yaml");
    assert_eq!(metadata["name"], env!("CARGO_PKG_NAME"));
}

#[test]
fn the_example_of_the_operators_manual_is_a_scenario() {
    let example = read("helm/relay/ci/production-values.yaml");
    assert!(
        read("docs/operations.md").contains(&format!("```yaml\n{example}```\n")),
        "copy helm/relay/ci/production-values.yaml into docs/operations.md"
    );
}

#[test]
fn every_example_of_the_charts_readme_is_in_its_values() {
    let readme = read("helm/relay/README.md");
    let (mut broken, mut tried) = (Vec::new(), 0);
    for span in readme.split("--set ").skip(1) {
        let path = span.split(['=', ' ', '\n']).next().unwrap();
        tried += 1;
        if !exists(&report()["values"], path) {
            broken.push(format!("README.md sets {path}, which values.yaml has not"));
        }
    }
    for scenario in map(&report()["scenarios"]).keys() {
        if !readme.contains(&format!("(ci/{scenario}-values.yaml)")) {
            broken.push(format!("README.md does not lead to ci/{scenario}-values.yaml"));
        }
    }
    assert!(tried > 1, "only {tried} examples were found: the search is broken");
    assert_none(&broken);
}
