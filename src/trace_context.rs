//! W3C Trace Context, as it stands in `traceparent`, and the ids that lines of a log are found by. Pure.

use std::fmt;

/// The longest `x-request-id` that is taken for one.
const LONGEST_ID: usize = 128;
/// The longest `tracestate` that is passed on, as the standard asks for at least.
const LONGEST_STATE: usize = 512;
/// A `traceparent` of version 00, in bytes.
const LENGTH: usize = 55;

/// A place in a trace: the trace, the span in it, and whether it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never zero.
    pub trace_id: u128,
    /// The span; never zero.
    pub span_id: u64,
    /// Whether whoever made it records it.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`, neither id all zeros. A later version may have more behind
    /// that, which is not looked at; ff is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let version = hex(bytes.get(..2)?)?;
        let is_whole = match version {
            0 => bytes.len() == LENGTH,
            255 => false,
            _ => bytes.len() == LENGTH || bytes.get(LENGTH) == Some(&b'-'),
        };
        let parts = [bytes.get(3..35)?, bytes.get(36..52)?, bytes.get(53..LENGTH)?];
        if !is_whole || [2, 35, 52].iter().any(|at| bytes.get(*at) != Some(&b'-')) {
            return None;
        }
        let [trace_id, span_id, flags] = [hex(parts[0])?, hex(parts[1])?, hex(parts[2])?];
        let span_id = u64::try_from(span_id).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }

    /// The trace's id, as others write it.
    #[must_use]
    pub fn trace(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

/// A span that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Its own place.
    pub context: TraceContext,
    /// What it is a part of, if it does not begin a trace. It was made by another process.
    pub parent: Option<TraceContext>,
    /// When it began, nanoseconds since the Unix epoch.
    pub since: u64,
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// Lower-case hex, at most 32 digits.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// Whether this is an `x-request-id` that may go into headers and log lines as it is.
#[must_use]
pub fn is_request_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte))
}

/// Whether this is a `tracestate` that may be passed on.
#[must_use]
pub fn is_tracestate(state: &str) -> bool {
    (1..=LONGEST_STATE).contains(&state.len()) && state.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written_alike() {
        let context = TraceContext::parse(PARENT).expect("it is one");
        assert_eq!(context.to_string(), PARENT);
        assert_eq!(context.trace(), "0af7651916cd43dd8448eb211c80319c");
        let unsampled = PARENT.replace("-01", "-00");
        assert_eq!(TraceContext::parse(&unsampled).map(|context| context.to_string()), Some(unsampled));
    }

    #[test]
    fn what_is_none_is_not_taken_for_one() {
        let zeros = |part: &str| PARENT.replace(part, &"0".repeat(part.len()));
        let others = [
            String::new(),
            PARENT.to_uppercase(),
            PARENT.replace("00-", "ff-"),
            PARENT.replace("00-", "0-"),
            PARENT.replace('-', "_"),
            PARENT.replace("0af", "0éf"),
            zeros("0af7651916cd43dd8448eb211c80319c"),
            zeros("b7ad6b7169203331"),
            format!("{PARENT}-more"),
            PARENT[..54].to_owned(),
        ];
        for other in others {
            assert_eq!(TraceContext::parse(&other), None, "{other}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for later in [PARENT.replace("00-", "01-"), PARENT.replace("00-", "cc-") + "-what-may-come"] {
            assert_eq!(TraceContext::parse(&later), TraceContext::parse(PARENT), "{later}");
        }
        assert_eq!(TraceContext::parse(&(PARENT.replace("00-", "01-") + "1")), None);
    }
}
