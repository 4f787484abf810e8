//! Reconnecting: the one place where the `backoff` crate is used. It keeps a clock and state of its own, so it paces
//! reconnects and nothing else; a row's delay is a pure function (see [`crate::retry`]).

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};

/// The longest pause between two attempts at a server that may come back by itself.
const CAP: Duration = Duration::from_secs(5);
/// The pause where somebody has to change something first: a refused login, a missing table.
const OPERATOR: Duration = Duration::from_secs(5);

/// Delays between attempts to reach one server: growing, jittered, without end.
#[derive(Debug)]
pub struct Reconnect(ExponentialBackoff);

impl Default for Reconnect {
    fn default() -> Self {
        Self(
            ExponentialBackoffBuilder::new()
                .with_initial_interval(Duration::from_millis(100))
                .with_multiplier(2.0)
                .with_randomization_factor(0.5)
                .with_max_interval(CAP)
                // Its default gives up after 15 minutes; an outage may take a night.
                .with_max_elapsed_time(None)
                .build(),
        )
    }
}

impl Reconnect {
    /// How long to wait after a failure.
    pub fn failed(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(CAP)
    }

    /// How long to wait after a failure that needs an operator.
    pub fn refused(&mut self) -> Duration {
        self.failed().max(OPERATOR)
    }

    /// A connection worked: the next failure is a first one.
    pub fn succeeded(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_cap_and_never_end() {
        let mut reconnect = Reconnect::default();
        let pauses: Vec<_> = (0..1000).map(|_| reconnect.failed()).collect();
        assert!(pauses[0] <= Duration::from_millis(150));
        assert!(pauses.iter().all(|pause| *pause <= CAP + CAP / 2));
        reconnect.succeeded();
        assert!(reconnect.failed() <= Duration::from_millis(150));
    }
}
