//! A circuit breaker for one destination. Pure: time is an argument.
//!
//! Closed, calls pass and are counted. Too many failures open it: calls are held back, which spares a destination that
//! is down and the attempts of those who would call it. After a while it is half open: a few probes pass, and they
//! decide. That an answer is a refusal does not matter here: whoever answers 404 can be reached.
//!
//! Every permit must be reported, or given back: a probe that never ends would leave the breaker half open for good.
//! `http::gate` sees to that, also when a call is cancelled.

use std::time::{Duration, Instant};

/// When it opens, for how long, and how it closes again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// Opens when, over this time, ...
    pub window: Duration,
    /// ... at least so many calls ended, ...
    pub minimum_calls: u32,
    /// ... and at least this share of them failed, from 0 to 1.
    pub failure_rate: f64,
    /// Opens after so many failures in a row, however few calls there are; at least 1.
    pub consecutive: u32,
    /// How long it stays open the first time. Doubles with each probe that fails.
    pub open_for: Duration,
    /// The longest it stays open, also when the destination asks for more (Retry-After).
    pub open_cap: Duration,
    /// How many probes may be under way while half open, and how many must succeed to close it; at least 1.
    pub probes: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            minimum_calls: 20,
            failure_rate: 0.5,
            consecutive: 5,
            open_for: Duration::from_secs(2),
            open_cap: Duration::from_secs(60),
            probes: 2,
        }
    }
}

/// What the metric and the status show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// A few calls pass, to see.
    HalfOpen,
    /// No call passes.
    Open,
}

impl BreakerState {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half open",
            Self::Open => "open",
        }
    }

    /// The value of `relay_breaker_state{target}`.
    #[must_use]
    pub fn gauge(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// How a call ended, as far as the destination's health goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, be it with a refusal.
    Reachable,
    /// It did not answer, or could not do its work.
    Failed,
    /// It asked to be left alone for so long.
    Throttled(Duration),
    /// Says nothing about it: the call was cancelled, or failed for a reason of ours.
    Neutral,
}

impl Outcome {
    /// What an answer's status says. A Retry-After counts with 429 alone; with 503 the failure itself does.
    #[must_use]
    pub fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        match (status, retry_after) {
            (429, Some(after)) => Self::Throttled(after),
            (408 | 425 | 429 | 500.., _) => Self::Failed,
            _ => Self::Reachable,
        }
    }
}

/// Leave for one call. Belongs to the state it was given in: what was asked before the breaker opened says nothing
/// about whether the destination has recovered since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a permit must be reported, or the breaker may stay half open"]
pub struct Permit {
    epoch: u64,
}

/// Parts of the window: the finer, the more evenly old calls are forgotten.
const SLOTS: usize = 10;

/// Calls that ended within a tenth of the window.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    number: u64,
    calls: u32,
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
enum Inner {
    Closed,
    Open { until: Instant },
    HalfOpen { under_way: u32, succeeded: u32 },
}

/// The breaker of one destination. Its memory is fixed.
#[derive(Debug, Clone)]
pub struct Breaker {
    settings: BreakerSettings,
    inner: Inner,
    /// Rises with each change of state.
    epoch: u64,
    start: Instant,
    slots: [Slot; SLOTS],
    in_a_row: u32,
    /// How often it opened since it was last closed.
    openings: u32,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(settings: BreakerSettings, now: Instant) -> Self {
        Self {
            settings,
            inner: Inner::Closed,
            epoch: 0,
            start: now,
            slots: [Slot::default(); SLOTS],
            in_a_row: 0,
            openings: 0,
        }
    }

    /// The state now. An open one whose time is over is half open, whether or not anybody has called since.
    #[must_use]
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.inner {
            Inner::Closed => BreakerState::Closed,
            Inner::Open { until } if now < until => BreakerState::Open,
            Inner::Open { .. } | Inner::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Asks for a call.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn admit(&mut self, now: Instant) -> Result<Permit, Duration> {
        match self.inner {
            Inner::Closed => {}
            Inner::Open { until } if now < until => return Err(until - now),
            Inner::Open { .. } => {
                self.turn(Inner::HalfOpen { under_way: 1, succeeded: 0 });
            }
            Inner::HalfOpen { under_way, succeeded } => {
                if under_way + succeeded >= self.probes() {
                    return Err(self.settings.open_for);
                }
                self.inner = Inner::HalfOpen { under_way: under_way + 1, succeeded };
            }
        }
        Ok(Permit { epoch: self.epoch })
    }

    /// Tells how a call ended.
    pub fn report(&mut self, now: Instant, permit: Permit, outcome: Outcome) {
        if permit.epoch != self.epoch {
            // Stale. But a wish to be left alone is a wish, whenever it was asked.
            if let (Inner::Open { until }, Outcome::Throttled(after)) = (self.inner, outcome) {
                self.inner = Inner::Open { until: until.max(now + after.min(self.settings.open_cap)) };
            }
            return;
        }
        match self.inner {
            Inner::Closed => self.count(now, outcome),
            // Its epoch began with the opening, and no permit is given while open.
            Inner::Open { .. } => {}
            Inner::HalfOpen { under_way, succeeded } => {
                let under_way = under_way.saturating_sub(1);
                match outcome {
                    Outcome::Reachable if succeeded + 1 >= self.probes() => self.close(),
                    Outcome::Reachable => {
                        self.inner = Inner::HalfOpen { under_way, succeeded: succeeded + 1 };
                    }
                    Outcome::Neutral => self.inner = Inner::HalfOpen { under_way, succeeded },
                    Outcome::Failed => self.open(now, None),
                    Outcome::Throttled(after) => self.open(now, Some(after)),
                }
            }
        }
    }

    fn probes(&self) -> u32 {
        self.settings.probes.max(1)
    }

    fn turn(&mut self, inner: Inner) {
        self.inner = inner;
        self.epoch += 1;
    }

    fn count(&mut self, now: Instant, outcome: Outcome) {
        match outcome {
            Outcome::Neutral => {}
            Outcome::Throttled(after) => self.open(now, Some(after)),
            Outcome::Reachable => {
                self.in_a_row = 0;
                self.slot(now).calls += 1;
            }
            Outcome::Failed => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                let slot = self.slot(now);
                slot.calls += 1;
                slot.failures += 1;
                let (calls, failures) = self.seen(now);
                let too_many = calls >= self.settings.minimum_calls.max(1)
                    && f64::from(failures) >= self.settings.failure_rate * f64::from(calls);
                if too_many || self.in_a_row >= self.settings.consecutive.max(1) {
                    self.open(now, None);
                }
            }
        }
    }

    /// Opens for what was asked, else for `open_for`, doubled with each opening since it was last closed.
    fn open(&mut self, now: Instant, asked: Option<Duration>) {
        let own = self.settings.open_for.saturating_mul(2_u32.saturating_pow(self.openings.min(31)));
        self.openings = self.openings.saturating_add(1);
        let time = asked.map_or(own, |asked| asked.max(self.settings.open_for)).min(self.settings.open_cap);
        self.turn(Inner::Open { until: now + time });
    }

    fn close(&mut self) {
        self.turn(Inner::Closed);
        self.slots = [Slot::default(); SLOTS];
        self.in_a_row = 0;
        self.openings = 0;
    }

    /// The number of the slot that this moment falls into.
    fn number(&self, now: Instant) -> u64 {
        let width = (self.settings.window / SLOTS as u32).as_nanos().max(1);
        u64::try_from(now.saturating_duration_since(self.start).as_nanos() / width).unwrap_or(u64::MAX)
    }

    fn slot(&mut self, now: Instant) -> &mut Slot {
        let number = self.number(now);
        let slot = &mut self.slots[(number % SLOTS as u64) as usize];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot
    }

    /// Calls and failures within the window.
    fn seen(&self, now: Instant) -> (u32, u32) {
        let number = self.number(now);
        self.slots
            .iter()
            .filter(|slot| number.saturating_sub(slot.number) < SLOTS as u64)
            .fold((0, 0), |(calls, failures), slot| (calls + slot.calls, failures + slot.failures))
    }
}

#[cfg(test)]
mod tests;
