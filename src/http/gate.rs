//! The breaker of a destination, shared by everybody who calls it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    breaker::{Breaker, BreakerSettings, BreakerState, Outcome, Permit},
    http::{
        client::Response,
        error::{Cause, HttpError},
    },
};

/// A breaker with a clock. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Mutex<Breaker>>);

impl Gate {
    /// A closed breaker.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        Self(Arc::new(Mutex::new(Breaker::new(settings, Instant::now()))))
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the metric and the status.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.lock().state(Instant::now())
    }

    /// Asks for a call.
    ///
    /// # Errors
    /// How long to hold the work back.
    pub fn admit(&self) -> Result<Pass, Duration> {
        let permit = self.lock().admit(Instant::now())?;
        Ok(Pass { gate: self.clone(), permit: Some(permit) })
    }
}

/// Leave for one call. Dropped without a report, it is given back: a cancelled call says nothing.
#[derive(Debug)]
#[must_use = "tell it how the call ended"]
pub struct Pass {
    gate: Gate,
    permit: Option<Permit>,
}

impl Pass {
    /// Tells how the call ended.
    pub fn report(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(permit) = self.permit.take() {
            self.gate.lock().report(Instant::now(), permit, outcome);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.end(Outcome::Neutral);
    }
}

/// What the end of a request says about the destination's health.
#[must_use]
pub fn health(result: &Result<Response, HttpError>) -> Outcome {
    match result {
        Ok(response) => Outcome::of_status(response.status, response.retry_after),
        Err(error) => match error.cause() {
            // Ours: the destination was not even asked.
            Cause::Unusable(_) | Cause::Forbidden { .. } => Outcome::Neutral,
            _ => Outcome::Failed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_that_is_dropped_is_given_back() {
        let settings =
            BreakerSettings { consecutive: 1, probes: 1, open_for: Duration::ZERO, ..Default::default() };
        let gate = Gate::new(settings);
        gate.admit().expect("closed").report(Outcome::Failed);
        for _ in 0..3 {
            drop(gate.admit().expect("the place of the probe before is free again"));
        }
        gate.admit().expect("half open").report(Outcome::Reachable);
        assert_eq!(gate.state(), BreakerState::Closed);
    }
}
