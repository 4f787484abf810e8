//! Which traces are recorded: the samplers that OpenTelemetry's variables name. Pure.

use crate::trace_context::TraceContext;

/// `OTEL_TRACES_SAMPLER`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampler {
    /// Whether a span with a parent does as its parent did.
    by_parent: bool,
    /// Which of 2^63 others are recorded.
    below: u64,
}

const ALL: u64 = 1 << 63;

impl Sampler {
    /// By its name and argument; the error says what is wrong.
    pub(super) fn named(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let (by_parent, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let below = match root {
            "always_on" => ALL,
            "always_off" => 0,
            "traceidratio" => ratio(argument)?,
            _ => {
                return Err(
                    "it is none of always_on, always_off, traceidratio, nor one of them with parentbased_ before it"
                        .to_owned(),
                );
            }
        };
        Ok(Self { by_parent, below })
    }

    /// Whether a span of this trace is recorded. By a ratio every process decides alike, for the trace's id decides.
    pub(super) fn takes(&self, trace_id: u128, parent: Option<&TraceContext>) -> bool {
        match parent {
            Some(parent) if self.by_parent => parent.sampled,
            #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
            _ => (trace_id as u64) >> 1 < self.below,
        }
    }
}

impl Default for Sampler {
    /// What OpenTelemetry says is the default: `parentbased_always_on`.
    fn default() -> Self {
        Self { by_parent: true, below: ALL }
    }
}

fn ratio(argument: Option<&str>) -> Result<u64, String> {
    let ratio = argument.map_or(Ok(1.0), str::parse::<f64>).ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 0 and 2^63"
    )]
    ratio
        .map(|ratio| (ratio * ALL as f64) as u64)
        .ok_or_else(|| "its argument, OTEL_TRACES_SAMPLER_ARG, is no number from 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(sampled: bool) -> TraceContext {
        TraceContext { trace_id: 1, span_id: 1, sampled }
    }

    #[test]
    fn a_parent_decides_where_it_is_asked() {
        for name in ["parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"] {
            let sampler = Sampler::named(name, Some("0.5")).expect(name);
            assert!(sampler.takes(1, Some(&parent(true))), "{name}");
            assert!(!sampler.takes(1, Some(&parent(false))), "{name}");
        }
        let on = Sampler::named("always_on", None).expect("it is one");
        let off = Sampler::named("always_off", None).expect("it is one");
        assert!(on.takes(1, Some(&parent(false))) && !off.takes(1, Some(&parent(true))));
        assert_eq!(Sampler::named("parentbased_always_on", None), Ok(Sampler::default()));
    }

    #[test]
    fn a_ratio_takes_its_part_of_the_traces_and_the_same_ones_everywhere() {
        let sampler = Sampler::named("traceidratio", Some("0.25")).expect("it is one");
        let taken = (0..10_000).filter(|_| sampler.takes(rand::random(), None)).count();
        assert!((2_000..3_000).contains(&taken), "{taken}");
        for (argument, taken) in [("0", false), ("1", true), ("1.0", true)] {
            let sampler = Sampler::named("traceidratio", Some(argument)).expect(argument);
            assert_eq!(sampler.takes(u128::MAX, None), taken, "{argument}");
        }
    }

    #[test]
    fn what_is_none_is_said() {
        for (name, argument) in
            [("sometimes", None), ("traceidratio", Some("2")), ("traceidratio", Some("x"))]
        {
            assert!(Sampler::named(name, argument).is_err(), "{name} {argument:?}");
        }
    }
}
