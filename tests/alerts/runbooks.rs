//! A page for each alert, and each page for an alert.

use std::collections::BTreeSet;

use crate::{assert_none, rules};

const FOLDER: &str = "docs/runbooks";
/// What whoever was just woken looks for, in this order.
const SECTIONS: [&str; 4] = ["## How bad", "## See", "## Mend", "## Afterwards"];

/// Names of the alerts.
fn names() -> Vec<String> {
    rules::alerts().iter().map(|rule| crate::yaml::text(&rule["alert"])).collect()
}

#[test]
fn every_page_is_of_an_alert_and_says_what_to_do() {
    let mut broken = Vec::new();
    for name in names() {
        let path = format!("{FOLDER}/{}.md", rules::kebab(&name));
        let text = crate::read(&path);
        let Some((head, _)) = text.split_once(SECTIONS[0]) else {
            broken.push(format!("{path} has no {}", SECTIONS[0]));
            continue;
        };
        let means = head.strip_prefix(&format!("# {name}\n\n")).map_or(0, |means| means.trim().len());
        if means < 20 {
            broken.push(format!("{path} does not say what {name} means"));
        }
        let mut rest = text.as_str();
        for section in SECTIONS {
            match rest.split_once(&format!("\n{section}\n\n")) {
                Some((_, after)) if !after.trim().is_empty() && !after.starts_with('#') => rest = after,
                _ => broken.push(format!("{path} lacks {section}, or has it elsewhere")),
            }
        }
    }
    let known: BTreeSet<String> = names().iter().map(|name| format!("{}.md", rules::kebab(name))).collect();
    for entry in std::fs::read_dir(crate::root().join(FOLDER)).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if file != "README.md" && !known.contains(&file) {
            broken.push(format!("{FOLDER}/{file} is of no alert"));
        }
    }
    assert_none(&broken);
}

#[test]
fn the_index_has_every_alert_with_its_severity() {
    let index = crate::read(&format!("{FOLDER}/README.md"));
    let missing: Vec<String> = rules::alerts()
        .iter()
        .map(|rule| {
            let (name, severity) = (crate::yaml::text(&rule["alert"]), &rule["labels"]["severity"]);
            format!("| [{name}]({}.md) | {} |", rules::kebab(&name), crate::yaml::text(severity))
        })
        .filter(|row| !index.contains(row))
        .map(|row| format!("{FOLDER}/README.md lacks {row}"))
        .collect();
    assert_none(&missing);
    assert!(crate::read("docs/operations.md").contains("(runbooks/README.md)"), "the manual leads to it");
}
