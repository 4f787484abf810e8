//! What documents refer each other to.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{assert_none, documents, files, read, root};

/// The anchors of a document's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings =
        text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#'));
    headings
        .map(|heading| {
            let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
            heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_section_that_is_named_exists() {
    let manual = read("docs/operations.md");
    let sections = anchors(&manual);
    let (mut broken, mut named) = (Vec::new(), 0);
    let mut look = |path: &str, text: &str, before: &str| {
        for (name, rest) in text.split(before).skip(1).filter_map(|rest| rest.split_once('"')) {
            if rest.starts_with(" in the [") {
                continue;
            }
            named += 1;
            // Of a string in the source, over the end of its line.
            let name: String =
                name.split(['\\', '\n', ' ']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
            let name = name.trim_end_matches('-').to_lowercase().replace(',', "");
            if !sections.iter().any(|section| section.starts_with(&name)) {
                broken.push(format!("{path} names the section {name}, which docs/operations.md has not"));
            }
        }
    };
    look("docs/operations.md", &manual, "see \"");
    look("docs/operations.md", &manual, "(\"");
    for path in files("src", "rs") {
        look(&path, &read(&path), "docs/operations.md, \\\"");
        look(&path, &read(&path), "docs/operations.md: \\\"");
    }
    assert!(named > 5, "only {named} sections were found: the search is broken");
    assert_none(&broken);
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let (mut broken, mut followed) = (Vec::new(), 0);
    for (path, text) in documents() {
        let folder = root().join(&path).parent().map(Path::to_owned).expect("a file has a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let file = if file.is_empty() { root().join(&path) } else { folder.join(file) };
            if !file.exists() {
                broken.push(format!("{path} links to {link}, which does not exist"));
            } else if !anchor.is_empty()
                && !anchors(&fs::read_to_string(&file).unwrap_or_default()).contains(anchor)
            {
                broken.push(format!("{path} links to {link}, where there is no such heading"));
            }
        }
    }
    assert!(followed > 20, "only {followed} links were found: the search is broken");
    assert_none(&broken);
}
