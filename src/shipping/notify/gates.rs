//! A circuit breaker for each endpoint, and a few calls of each at a time; for so many endpoints at most.
//!
//! Receivers are strangers. One that hangs is to cost its own webhooks time, not everybody's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::{
    breaker::{BreakerSettings, BreakerState, Outcome},
    http::gate::{Gate, Pass},
};

/// How long a webhook waits whose endpoint has enough calls under way.
const CROWDED: Duration = Duration::from_secs(1);

/// The breakers. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Gates {
    settings: BreakerSettings,
    /// Calls of one endpoint at a time.
    each: usize,
    /// Endpoints remembered.
    most: usize,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Rises with every use.
    uses: u64,
    by_endpoint: HashMap<Uuid, One>,
}

#[derive(Debug)]
struct One {
    gate: Gate,
    seats: Arc<Semaphore>,
    used: u64,
}

/// Leave for one call of an endpoint. Dropped, it is given back.
#[derive(Debug)]
#[must_use = "tell it how the call ended"]
pub struct Leave {
    pass: Pass,
    _seat: OwnedSemaphorePermit,
}

impl Leave {
    /// Tells how the call ended.
    pub fn report(self, outcome: Outcome) {
        self.pass.report(outcome);
    }
}

impl Gates {
    /// Breakers for at most so many endpoints, with so many calls of each at a time; both at least 1.
    #[must_use]
    pub fn new(settings: BreakerSettings, each: usize, most: usize) -> Self {
        Self { settings, each: each.max(1), most: most.max(1), kept: Arc::default() }
    }

    /// Asks for a call of an endpoint.
    ///
    /// # Errors
    /// How long to hold the webhook back.
    pub fn admit(&self, endpoint: Uuid) -> Result<Leave, Duration> {
        let (gate, seats) = self.of(endpoint);
        // First the seat: a probe that is then not made would have taken another's place.
        let seat = seats.try_acquire_owned().map_err(|_| CROWDED)?;
        Ok(Leave { pass: gate.admit()?, _seat: seat })
    }

    fn of(&self, endpoint: Uuid) -> (Gate, Arc<Semaphore>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let used = kept.uses;
        if kept.by_endpoint.len() >= self.most && !kept.by_endpoint.contains_key(&endpoint) {
            kept.forget_one();
        }
        let one = kept.by_endpoint.entry(endpoint).or_insert_with(|| One {
            gate: Gate::new(self.settings),
            seats: Arc::new(Semaphore::new(self.each)),
            used,
        });
        one.used = used;
        (one.gate.clone(), Arc::clone(&one.seats))
    }

    /// How many endpoints' breakers are not closed, for the status.
    #[must_use]
    pub fn troubled(&self) -> usize {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_endpoint.values().filter(|one| one.gate.state() != BreakerState::Closed).count()
    }
}

impl Kept {
    /// The one that was not used for longest, of those that know nothing first.
    fn forget_one(&mut self) {
        let rank = |one: &One| (one.gate.state() != BreakerState::Closed, one.used);
        let oldest = self.by_endpoint.iter().min_by_key(|(_, one)| rank(one)).map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.by_endpoint.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(each: usize, most: usize) -> Gates {
        let settings = BreakerSettings { consecutive: 1, ..BreakerSettings::default() };
        Gates::new(settings, each, most)
    }

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn a_failing_endpoint_is_held_and_the_others_are_not() {
        let gates = gates(2, 10);
        gates.admit(id(1)).unwrap().report(Outcome::Failed);
        assert!(gates.admit(id(1)).is_err());
        assert!(gates.admit(id(2)).is_ok());
        assert_eq!(gates.troubled(), 1);
    }

    #[test]
    fn an_endpoint_has_so_many_calls_at_a_time_and_a_seat_comes_back() {
        let gates = gates(2, 10);
        let (first, second) = (gates.admit(id(1)).unwrap(), gates.admit(id(1)).unwrap());
        assert_eq!(gates.admit(id(1)).err(), Some(CROWDED));
        drop(first);
        let third = gates.admit(id(1)).unwrap();
        second.report(Outcome::Reachable);
        third.report(Outcome::Reachable);
    }

    #[test]
    fn the_number_of_breakers_is_bounded_and_those_that_are_open_are_kept_longest() {
        let gates = gates(1, 3);
        gates.admit(id(1)).unwrap().report(Outcome::Failed);
        for number in 2..1000 {
            gates.admit(id(number)).unwrap().report(Outcome::Reachable);
            assert!(gates.kept.lock().unwrap().by_endpoint.len() <= 3);
        }
        assert!(gates.admit(id(1)).is_err(), "it is remembered");
        for number in 2..5 {
            gates.admit(id(number)).unwrap().report(Outcome::Failed);
        }
        assert!(gates.admit(id(1)).is_ok(), "where all are open, the oldest is forgotten");
    }
}
