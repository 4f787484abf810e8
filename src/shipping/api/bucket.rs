//! How often somebody may ask: a token bucket. Pure; time is an argument.

use std::time::{Duration, Instant};

/// A rate with room for bursts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Requests a second, in the long run.
    pub per_second: f64,
    /// Requests at once, after a pause.
    pub burst: f64,
}

/// What one caller has left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self { level: rate.burst, at: now }
    }

    /// Takes one out.
    ///
    /// # Errors
    /// When it is empty: after how long there will be one. Nothing was taken.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * rate.per_second).min(rate.burst);
        self.at = self.at.max(now);
        if self.level >= 1.0 {
            self.level -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - self.level) / rate.per_second;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::from_secs(3600)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3.0 };

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        assert!((0..3).all(|_| bucket.take(RATE, start).is_ok()));
        assert_eq!(bucket.take(RATE, start), Err(Duration::from_millis(500)));
        let later = start + Duration::from_millis(500);
        assert_eq!(bucket.take(RATE, later), Ok(()));
        assert!(bucket.take(RATE, later).is_err());
        assert!(bucket.take(RATE, start).is_err(), "an older time gives nothing");
    }

    proptest! {
        #[test]
        fn no_more_pass_than_burst_and_rate_allow(pauses in prop::collection::vec(0_u64..2000, 1..200)) {
            let start = Instant::now();
            let (mut bucket, mut now, mut passed) = (Bucket::full(RATE, start), start, 0.0);
            for pause in pauses {
                now += Duration::from_millis(pause);
                if bucket.take(RATE, now).is_ok() {
                    passed += 1.0;
                }
            }
            prop_assert!(passed <= RATE.burst + RATE.per_second * (now - start).as_secs_f64() + 1e-6);
        }
    }
}
