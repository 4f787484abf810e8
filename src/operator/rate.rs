//! How fast an operator's act may go.

use std::{str::FromStr, time::Duration};

/// So many a second, minute or hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    per_second: f64,
}

impl Rate {
    /// How long the first `count` may take at the least.
    #[must_use]
    pub fn time_for(self, count: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a pause may be off by one part in 2^53")]
        Duration::try_from_secs_f64(count as f64 / self.per_second).unwrap_or(Duration::MAX)
    }

    /// How many may go at once: a second's worth, one at the least.
    #[must_use]
    pub fn burst(self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
        let burst = self.per_second as u64;
        burst.max(1)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err("expected N/s, N/m or N/h".to_owned()),
        };
        match number.trim().parse::<u32>() {
            Ok(number) if number > 0 => Ok(Self { per_second: f64::from(number) / seconds }),
            _ => Err("expected a whole number above 0, such as 50/s".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_unit_and_is_per_second_without_one() {
        let rate = |text: &str| text.parse::<Rate>().map(|rate| (rate.burst(), rate.time_for(120)));
        assert_eq!(rate("60"), Ok((60, Duration::from_secs(2))));
        assert_eq!(rate("60/s"), Ok((60, Duration::from_secs(2))));
        assert_eq!(rate("30/m"), Ok((1, Duration::from_secs(240))));
        for text in ["0", "-1", "1.5/s", "10/day", "", "/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
