//! `Retry-After`: how long a server asks to be left alone (RFC 9110, section 10.2.3). Pure.

use std::time::{Duration, SystemTime};

/// Reads the header: seconds, or a date. Negative and past is no wait at all; more than the cap is the cap, so that
/// neither a mistake nor malice stops us for years. `None` when it is neither a number nor a date.
#[must_use]
pub fn retry_after(value: &str, now: SystemTime, cap: Duration) -> Option<Duration> {
    let value = value.trim();
    let (digits, negative) = match value.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (value, false),
    };
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if negative {
            return Some(Duration::ZERO);
        }
        // A number that does not fit is longer than any cap.
        return Some(digits.parse().map_or(cap, Duration::from_secs).min(cap));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO).min(cap))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAP: Duration = Duration::from_secs(600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777) // Sun, 06 Nov 1994 08:49:37 GMT
    }

    #[test]
    fn seconds_dates_and_nonsense_are_told_apart_and_clamped() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (value, expected) in [
            ("0", seconds(0)),
            ("120", seconds(120)),
            (" 7 ", seconds(7)),
            ("1000000000", Some(CAP)),
            ("99999999999999999999999999", Some(CAP)),
            ("-5", seconds(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", seconds(60)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", seconds(10)),
            ("Sun Nov  6 08:49:38 1994", seconds(1)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", seconds(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(CAP)),
            ("", None),
            ("-", None),
            ("soon", None),
            ("1.5", None),
            ("+3", None),
            ("12 minutes", None),
        ] {
            assert_eq!(retry_after(value, now(), CAP), expected, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_wait_beyond_the_cap(value in ".*") {
            prop_assert!(retry_after(&value, now(), CAP).is_none_or(|wait| wait <= CAP));
        }
    }
}
