//! Times as operators give them.

use std::{
    str::FromStr,
    time::{Duration, SystemTime},
};

use crate::row::micros;

/// A time: given as such, or as how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Microseconds since the Unix epoch.
    At(i64),
    /// So long before now.
    Ago(Duration),
}

impl When {
    /// What to write.
    pub const EXPECTED: &'static str = "a time in UTC such as 2026-01-31T08:00:00Z, or a duration such as 2h";

    /// Understands a duration ("2h", "1day 12h") or a time in UTC ("2026-01-31T08:00:00Z").
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(ago) = humantime::parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        time(text).map(Self::At)
    }

    /// Microseconds since the Unix epoch, by a clock that shows `now_us`.
    #[must_use]
    pub fn micros(self, now_us: i64) -> i64 {
        match self {
            Self::At(micros) => micros,
            Self::Ago(ago) => now_us.saturating_sub(micros(ago)),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

/// A time in UTC, in microseconds since the Unix epoch.
///
/// # Errors
/// When it is none.
pub fn time(text: &str) -> Result<i64, String> {
    let time = humantime::parse_rfc3339_weak(text).map_err(|_| format!("expected {}", When::EXPECTED))?;
    Ok(time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_durations_ago_or_utc() {
        assert_eq!(When::parse("2h").map(|when| when.micros(7_200_000_001)), Ok(1));
        assert_eq!(When::parse("1970-01-01T00:00:02Z").map(|when| when.micros(9)), Ok(2_000_000));
        assert_eq!(When::parse("1970-01-01 00:00:02").map(|when| when.micros(9)), Ok(2_000_000));
        assert!(When::parse("yesterday").is_err());
    }
}
