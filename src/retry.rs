//! When a failed row is tried again: exponential with full jitter over a floor. Pure; the delay is added to the
//! database's clock.

use std::time::Duration;

/// How often, and after which delays, a row is tried.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts after which a row is dead; at least 1.
    pub max_attempts: u32,
    /// The shortest delay. Full jitter alone may draw zero, which is no delay at all.
    pub floor: Duration,
    /// The longest delay.
    pub cap: Duration,
}

impl RetryPolicy {
    /// The delay after `attempts` failures, for a random `unit` in `[0, 1)`.
    ///
    /// Drawn evenly between the floor and `floor * 2^attempts`, capped: full jitter spreads retries best
    /// (AWS Builders' Library, "Timeouts, retries and backoff with jitter").
    #[must_use]
    pub fn delay(&self, attempts: u32, unit: f64) -> Duration {
        let ceiling = self.floor.saturating_mul(2_u32.saturating_pow(attempts.min(31))).min(self.cap);
        let spread = ceiling.saturating_sub(self.floor);
        self.floor.min(self.cap) + spread.mul_f64(unit.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy { max_attempts: 8, floor: Duration::from_secs(1), cap: Duration::from_secs(300) }
    }

    proptest! {
        #[test]
        fn a_delay_is_never_below_the_floor_nor_above_the_cap(attempts: u32, unit in 0.0..1.0_f64) {
            let delay = policy().delay(attempts, unit);
            prop_assert!(delay >= policy().floor && delay <= policy().cap);
        }

        #[test]
        fn the_longest_delay_grows_with_attempts(attempts in 0_u32..40) {
            prop_assert!(policy().delay(attempts + 1, 1.0) >= policy().delay(attempts, 1.0));
        }
    }

    #[test]
    fn the_first_retry_waits_up_to_twice_the_floor() {
        assert_eq!(policy().delay(1, 0.0), Duration::from_secs(1));
        assert_eq!(policy().delay(1, 1.0), Duration::from_secs(2));
        assert_eq!(policy().delay(3, 0.5), Duration::from_millis(4500));
    }
}
