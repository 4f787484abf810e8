//! When a notification is tried again. Pure: randomness is an argument.

use std::{str::FromStr, time::Duration};

/// The longest that anything waits: what the inbox allows.
const LONGEST: Duration = crate::consumer::LONGEST_WAIT;
/// The most attempts that a schedule may have.
const MOST: usize = 50;
/// By so much of itself a wait may be shorter, so that what failed together does not come back together.
const JITTER: f64 = 0.1;

/// The waits before each attempt but the first, which is made at once. One schedule for webhooks and mail: a receiver
/// that is away for a night, or a mail server that puts off strangers, is to be reached all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Vec<Duration>);

/// A schedule that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not a list of times.
    #[error("{0:?} is no time to wait; a schedule is a list such as 5s,5m,30m")]
    NoTime(String),
    /// A wait is too long.
    #[error("a wait is longer than 24h, which is the most")]
    TooLong,
    /// Too many waits.
    #[error("a schedule has at most {} waits", MOST - 1)]
    TooMany,
}

impl Default for Schedule {
    /// 10 attempts in 75.6 hours, the waits that Standard Webhooks proposes.
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let waits =
            [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self(waits.map(Duration::from_secs).to_vec())
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    /// Reads `5s,5m,30m`; an empty text is a single attempt.
    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let wait = |part: &str| {
            humantime::parse_duration(part)
                .map_err(|_| ScheduleError::NoTime(part.chars().take(40).collect()))
        };
        Self::new(parts.map(wait).collect::<Result<_, _>>()?)
    }
}

impl Schedule {
    /// One attempt at once, and one after each of these waits.
    ///
    /// # Errors
    /// When there are too many, or one is too long.
    pub fn new(waits: Vec<Duration>) -> Result<Self, ScheduleError> {
        if waits.len() >= MOST {
            return Err(ScheduleError::TooMany);
        }
        if waits.iter().any(|wait| *wait > LONGEST) {
            return Err(ScheduleError::TooLong);
        }
        Ok(Self(waits))
    }

    /// Attempts in all.
    #[must_use]
    pub fn attempts(&self) -> u16 {
        u16::try_from(self.0.len() + 1).unwrap_or(u16::MAX)
    }

    /// The wait after so many attempts, given what the receiver asked for and a random `unit` in `[0, 1)`; `None` when
    /// that was the last one. Nobody waits less than he was asked to, within a day.
    #[must_use]
    pub fn wait(&self, attempts: i32, asked: Option<Duration>, unit: f64) -> Option<Duration> {
        let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
        let wait = self.0.get(index)?.mul_f64(1.0 - JITTER * unit.clamp(0.0, 1.0));
        Some(asked.map_or(wait, |asked| asked.max(wait)).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_schedule_is_ten_attempts_over_three_days() {
        let schedule = Schedule::default();
        assert_eq!(schedule.attempts(), 10);
        let waits: Vec<u64> = (1..10).map(|n| schedule.wait(n, None, 0.0).unwrap().as_secs()).collect();
        assert_eq!(waits, [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]);
        assert_eq!(schedule.wait(10, None, 0.0), None, "the tenth was the last");
        assert_eq!(schedule.wait(0, None, 0.0), None, "nothing was tried yet");
    }

    #[test]
    fn a_schedule_is_read_or_refused_with_the_reason() {
        assert_eq!("5s,5m,30m,2h,5h,10h,14h,20h,24h".parse(), Ok(Schedule::default()));
        assert_eq!("".parse::<Schedule>().map(|schedule| schedule.attempts()), Ok(1));
        assert_eq!("5s,soon".parse::<Schedule>(), Err(ScheduleError::NoTime("soon".to_owned())));
        assert_eq!("25h".parse::<Schedule>(), Err(ScheduleError::TooLong));
        assert_eq!("1s,".repeat(50).parse::<Schedule>(), Err(ScheduleError::TooMany));
    }

    proptest! {
        #[test]
        fn a_wait_is_the_schedules_a_tenth_less_at_most_or_what_was_asked_for(
            attempts in 1_i32..10, asked: Option<u32>, unit in 0.0..1.0_f64
        ) {
            let schedule = Schedule::default();
            let full = schedule.wait(attempts, None, 0.0).unwrap();
            let asked = asked.map(|asked| Duration::from_secs(asked.into()));
            let wait = schedule.wait(attempts, asked, unit).unwrap();
            prop_assert!(wait <= LONGEST && wait >= full.mul_f64(0.899));
            prop_assert!(wait >= asked.unwrap_or_default().min(LONGEST));
            prop_assert!(wait <= full.max(asked.unwrap_or_default()));
        }
    }
}
