//! What is exposed.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_metric_is_there_from_the_start_with_the_outbox_label() {
    let text = text_of(&["shop"]);
    for name in
        ["relay_published_total", "relay_retries_total", "relay_dead_lettered_total", "relay_build_info"]
    {
        assert!(text.contains(&format!("\n{name}{{")), "{name} is missing:\n{text}");
    }
    assert!(text.lines().filter(|line| !line.starts_with('#')).all(|line| line.contains("outbox=\"shop\"")));
}

#[test]
fn the_lines_of_a_name_stand_together_whatever_outbox_they_are_of() {
    let text = text_of(&["shop", "billing"]);
    let (mut helps, mut names) = (BTreeSet::new(), Vec::new());
    for line in text.lines() {
        match line.strip_prefix("# HELP ") {
            Some(help) => {
                let name = help.split(' ').next().unwrap_or_default();
                assert!(helps.insert(name.to_owned()), "{name} is introduced twice");
                names.push(name.to_owned());
            }
            None => {
                let current = names.last().map(String::as_str).unwrap_or_default();
                assert!(line.trim_start_matches("# TYPE ").starts_with(current), "{line} under {current}");
            }
        }
    }
    for outbox in ["shop", "billing"] {
        assert!(text.contains(&format!("\nrelay_published_total{{outbox=\"{outbox}\"}} 0")), "{text}");
    }
}

fn text_of(outboxes: &[&str]) -> String {
    let metrics: Result<Vec<_>, _> = outboxes.iter().map(|outbox| Metrics::new(outbox)).collect();
    metrics.and_then(|metrics| render(&metrics)).unwrap_or_default()
}
