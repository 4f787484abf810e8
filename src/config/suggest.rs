//! "Did you mean": the known name nearest to an unknown one.

/// Below this similarity a suggestion would be a guess, and would mislead.
const SIMILAR: f64 = 0.8;

/// The candidate that `name` was probably meant to be, if any is near.
///
/// A candidate that ends in the whole name wins first: forgetting the section is the commonest mistake.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let known = candidate.to_ascii_lowercase();
        let forgotten_section = known
            .strip_suffix(&name)
            .is_some_and(|section| section.ends_with(['.', '_']) && !name.is_empty());
        let similarity = if forgotten_section { 1.0 } else { similarity(&name, &known) };
        if similarity >= SIMILAR && best.is_none_or(|(highest, _)| similarity > highest) {
            best = Some((similarity, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn similarity(name: &str, known: &str) -> f64 {
    // Separators are what people get wrong most (`in-flight-rows`, `LEASE__DURATION`), so they do not count.
    let plain = |text: &str| text.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>();
    let (name, known) = (plain(name), plain(known));
    let edits = strsim::normalized_damerau_levenshtein(&name, &known);
    // Jaro-Winkler favours a common beginning, as with LOG for LOG_LEVEL, but sees likeness in short words where
    // there is none; a little less than the threshold of edits keeps the two comparable.
    edits.max(strsim::jaro_winkler(&name, &known) - 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["lease.duration", "outbox.poll_interval", "retry.max_attempts", "limits.in_flight_rows"];
        for (name, meant) in [
            ("lease.duraton", Some("lease.duration")),
            ("leases.duration", Some("lease.duration")),
            ("poll_interval", Some("outbox.poll_interval")),
            ("limits.in-flight-rows", Some("limits.in_flight_rows")),
            ("limits.inflight_rows", Some("limits.in_flight_rows")),
            ("retry.attempts_max", Some("retry.max_attempts")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known.iter().copied()), meant, "{name}");
        }
    }
}
