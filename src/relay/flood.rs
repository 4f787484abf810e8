//! The flood guard: a bad deploy must not bury the table.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The window in which deaths are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Lets at most so many rows die in any minute. Further ones wait, while publishing goes on.
#[derive(Debug)]
pub struct FloodGuard {
    limit: usize,
    deaths: VecDeque<Instant>,
}

impl FloodGuard {
    /// A guard for `limit` deaths a minute; 0 is no limit.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, deaths: VecDeque::new() }
    }

    /// Counts one death if there is room for it, else says how long until there is.
    ///
    /// # Errors
    /// The wait until the oldest counted death leaves the window.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        if self.limit == 0 {
            return Ok(());
        }
        while self.deaths.front().is_some_and(|death| now.duration_since(*death) >= WINDOW) {
            self.deaths.pop_front();
        }
        match self.deaths.front() {
            Some(oldest) if self.deaths.len() >= self.limit => {
                Err(WINDOW.saturating_sub(now.duration_since(*oldest)))
            }
            _ => {
                self.deaths.push_back(now);
                Ok(())
            }
        }
    }

    /// Takes the last death back: it did not happen.
    pub fn retract(&mut self) {
        self.deaths.pop_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_past_the_limit_wait_until_the_oldest_is_a_minute_old() {
        let start = Instant::now();
        let mut guard = FloodGuard::new(2);
        assert_eq!(guard.admit(start), Ok(()));
        assert_eq!(guard.admit(start + Duration::from_secs(10)), Ok(()));
        assert_eq!(guard.admit(start + Duration::from_secs(20)), Err(Duration::from_secs(40)));
        assert_eq!(guard.admit(start + Duration::from_secs(60)), Ok(()));
        assert_eq!(guard.admit(start + Duration::from_secs(61)), Err(Duration::from_secs(9)));
    }

    #[test]
    fn a_death_that_did_not_happen_leaves_its_place_to_another() {
        let start = Instant::now();
        let mut guard = FloodGuard::new(1);
        assert_eq!(guard.admit(start), Ok(()));
        guard.retract();
        assert_eq!(guard.admit(start), Ok(()));
        assert!(guard.admit(start).is_err());
    }

    #[test]
    fn a_limit_of_zero_is_no_limit() {
        let mut guard = FloodGuard::new(0);
        assert!((0..10_000).all(|_| guard.admit(Instant::now()).is_ok()));
    }
}
