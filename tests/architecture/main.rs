//! Imports point downward only (DESIGN section 6), and a few rules that no lint can express.

#![allow(clippy::expect_used, unreachable_pub, reason = "a test")]

mod rules;
mod source;

use rules::RULES;
use source::{files, is_within, names, root, spelled_out};

/// No file is longer than this.
const LONGEST: usize = 500;
/// Where queries are.
const QUERIES: &[&str] = &["sql/queries", "sql/shipping/queries"];

#[test]
fn imports_point_downward_only() {
    let mut broken = Vec::new();
    for (file, text) in files("src", "rs") {
        let lines = spelled_out(&text);
        for rule in
            RULES.iter().filter(|rule| is_within(&file, rule.within) && !is_within(&file, rule.except))
        {
            for (number, line) in &lines {
                for word in rule.never.iter().filter(|word| names(line, word)) {
                    broken.push(format!("src/{file}:{number} names {word}; {}", rule.why));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn the_rules_would_notice_a_nested_import() {
    let text = "use std::fmt;\nuse crate::{\n    envelope::{cut, seal},\n    postgres::{\n        connect::connect,\n    },\n    row::Row,\n};\n";
    let named: Vec<String> = spelled_out(text).into_iter().map(|(_, line)| line).collect();
    for what in ["crate::envelope", "crate::postgres", "crate::row"] {
        assert!(named.iter().any(|line| names(line, what)), "{what} is not seen in {named:?}");
    }
    assert!(!named.iter().any(|line| names(line, "crate::connect")), "{named:?}");
    assert!(names("    let now = Instant::now();", "Instant::now"));
    assert!(!names("use tokio_postgres::Row;", "tokio"));
}

#[test]
fn every_place_in_the_rules_exists() {
    // A rule about a file that was renamed guards nothing. `engine` is a file or a folder; operator comes with the CLI.
    let optional = ["relay/engine", "relay/engine.rs", "operator", "operator.rs"];
    for place in RULES.iter().flat_map(|rule| rule.within.iter().chain(rule.except)) {
        assert!(optional.contains(place) || root().join("src").join(place).exists(), "src/{place} is gone");
    }
    assert!(["src/relay/engine.rs", "src/relay/engine"].iter().any(|place| root().join(place).exists()));
}

#[test]
fn every_query_is_included_exactly_once() {
    let sources = files("src", "rs");
    for folder in QUERIES {
        for (query, _) in files(folder, "sql") {
            let included = format!("../{folder}/{query}\")");
            let count: usize = sources.iter().map(|(_, text)| text.matches(&included).count()).sum();
            assert_eq!(count, 1, "{folder}/{query} is included {count} times");
        }
    }
}

#[test]
fn every_query_is_one_statement_with_a_header() {
    for (query, text) in QUERIES.iter().flat_map(|folder| files(folder, "sql")) {
        assert!(text.starts_with("-- "), "{query} does not say what it is for");
        let header = text.lines().take_while(|line| line.starts_with("--")).collect::<Vec<_>>().join("\n");
        let statement: String =
            text.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
        assert!(!statement.trim().is_empty(), "{query} is empty");
        assert!(!statement.contains(';'), "{query} is more than one statement");
        for parameter in 1..20 {
            let name = format!("${parameter}");
            if names(&statement.replace('$', " $"), &name) {
                assert!(header.contains(&name), "{query} does not say what {name} is");
            }
        }
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    for folder in ["src", "tests"] {
        for (file, text) in files(folder, "rs") {
            let lines = text.lines().count();
            assert!(lines <= LONGEST, "{folder}/{file} has {lines} lines; split it, {LONGEST} are enough");
        }
    }
}
