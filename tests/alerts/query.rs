//! What a query asks for. Whether it is one, promtool says.

use std::collections::BTreeSet;

use crate::exposed::Exposed;

/// Of `by`, `on` and the like, in front of labels.
const BEFORE_LABELS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
/// What Prometheus itself records of alerts.
const ALERTS: &str = "ALERTS";

/// `name="value"`, however they are compared.
pub fn matchers(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once(['=', '!']) {
        let Some((_, after)) = after.split_once('"') else { break };
        let Some((value, after)) = after.split_once('"') else { break };
        found.push((name.trim_matches([',', ' ', '\n']).to_owned(), value.to_owned()));
        rest = after;
    }
    found
}

/// What is wrong with a query: names that nobody exposes or records. `$variables` are a dashboard's own.
pub fn problems(query: &str, exposed: &Exposed, recorded: &BTreeSet<String>) -> Vec<String> {
    let mut broken = Vec::new();
    let mut rest = query;
    let mut labels_follow = false;
    while let Some(first) = rest.chars().next() {
        let name_ends = rest
            .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'))
            .unwrap_or(rest.len());
        if name_ends == 0 || first.is_ascii_digit() {
            let skip = match first {
                '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
                '(' if labels_follow => {
                    let end = rest.find(')').unwrap_or(rest.len());
                    let labels = rest[1..end].split(',').map(str::trim).filter(|label| !label.is_empty());
                    broken.extend(
                        labels
                            .filter(|label| !exposed.has_label(label) && *label != "alertname")
                            .map(|label| format!("no metric has the label {label}")),
                    );
                    end
                }
                _ => name_ends.max(first.len_utf8()),
            };
            labels_follow &= first.is_whitespace();
            rest = &rest[skip.min(rest.len())..];
            continue;
        }
        let (name, after) = rest.split_at(name_ends);
        rest = after;
        labels_follow = BEFORE_LABELS.contains(&name);
        let asked = match after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            Some((inside, after)) => {
                rest = after;
                matchers(inside)
            }
            None => Vec::new(),
        };
        if name.contains(':') {
            if !recorded.contains(name) {
                broken.push(format!("no rule records {name}"));
            }
        } else if name.starts_with("relay_") || name.starts_with("shipments_") {
            broken.extend(exposed.problem(name, None));
            broken.extend(
                asked.iter().filter_map(|(label, value)| exposed.problem(name, Some((label, value)))),
            );
        } else if !asked.is_empty() && name != ALERTS {
            broken.push(format!("{name} is no metric of ours"));
        }
    }
    broken
}

#[test]
fn the_search_would_notice_what_is_wrong() {
    let exposed = Exposed::collect();
    let recorded = BTreeSet::from(["relay:late:ratio_rate5m".to_owned()]);
    for wrong in [
        "relay_publishd_total",
        "rate(relay_published_total[5m]) + relay:late",
        "relay_retries_total{reason=\"unroutabel\"}",
        "relay_retries_total{reason=~\"nacked|unroutabel\"}",
        "relay_retries_total{reson=\"unroutable\"}",
        "sum by (outbocks) (relay_published_total)",
        "relay_dead_rows and on (job, outbocks) relay_dead_rows",
        "relay_commit_to_confirm_seconds_bucket{le=\"4\"}",
        "relay_commit_to_confirm_seconds",
        "up{job=\"relay\"}",
    ] {
        assert_ne!(problems(wrong, &exposed, &recorded), [""; 0], "nothing is wrong with {wrong}");
    }
    for right in [
        "sum by (namespace, outbox) (rate(relay_retries_total{reason=~\"nacked|suspect\", outbox=\"x\"}[5m])) > 0.5",
        "relay:late:ratio_rate5m{outbox=\"x\"} unless on () ALERTS{alertname=\"X\"}",
        "histogram_quantile(0.9, sum by (le) (rate(relay_commit_to_confirm_seconds_bucket[$__rate_interval])))",
    ] {
        assert_eq!(problems(right, &exposed, &recorded), [""; 0], "{right}");
    }
}
