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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> BreakerSettings {
        BreakerSettings {
            window: Duration::from_secs(10),
            minimum_calls: 10,
            failure_rate: 0.5,
            consecutive: 4,
            open_for: Duration::from_secs(1),
            open_cap: Duration::from_secs(8),
            probes: 2,
        }
    }

    fn call(breaker: &mut Breaker, now: Instant, outcome: Outcome) {
        let permit = breaker.admit(now).expect("it lets a call pass");
        breaker.report(now, permit, outcome);
    }

    fn opened(start: Instant) -> Breaker {
        let mut breaker = Breaker::new(settings(), start);
        (0..4).for_each(|_| call(&mut breaker, start, Outcome::Failed));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings(), now);
        for outcome in [Outcome::Failed, Outcome::Failed, Outcome::Failed, Outcome::Reachable] {
            call(&mut breaker, now, outcome);
        }
        (0..3).for_each(|_| call(&mut breaker, now, Outcome::Failed));
        assert_eq!(breaker.state(now), BreakerState::Closed);
        call(&mut breaker, now, Outcome::Failed);
        assert_eq!(breaker.state(now), BreakerState::Open);
        assert_eq!(breaker.admit(now), Err(Duration::from_secs(1)));
    }

    #[test]
    fn a_share_of_failures_opens_it_once_there_are_enough_calls() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings(), now);
        for turn in 0..9 {
            call(&mut breaker, now, if turn % 2 == 0 { Outcome::Reachable } else { Outcome::Failed });
        }
        assert_eq!(breaker.state(now), BreakerState::Closed, "nine calls are too few to judge");
        call(&mut breaker, now, Outcome::Failed);
        assert_eq!(breaker.state(now), BreakerState::Open);
    }

    #[test]
    fn failures_are_forgotten_when_they_leave_the_window() {
        let start = Instant::now();
        let mut breaker = Breaker::new(settings(), start);
        for turn in 0..8 {
            call(&mut breaker, start, if turn % 2 == 0 { Outcome::Reachable } else { Outcome::Failed });
        }
        let later = start + Duration::from_secs(11);
        for turn in 0..3 {
            call(&mut breaker, later, if turn == 0 { Outcome::Reachable } else { Outcome::Failed });
        }
        assert_eq!(breaker.state(later), BreakerState::Closed);
    }

    #[test]
    fn as_many_probes_as_allowed_pass_and_their_success_closes_it() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let later = start + Duration::from_secs(1);
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        let (first, second) = (breaker.admit(later).expect("one"), breaker.admit(later).expect("two"));
        assert!(breaker.admit(later).is_err(), "no third");
        breaker.report(later, first, Outcome::Reachable);
        assert!(breaker.admit(later).is_err(), "two are enough to decide");
        breaker.report(later, second, Outcome::Reachable);
        assert_eq!(breaker.state(later), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_for_longer_and_longer_up_to_the_cap() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for seconds in [2, 4, 8, 8, 8] {
            now += breaker.admit(now).expect_err("it is open");
            call(&mut breaker, now, Outcome::Failed);
            assert_eq!(breaker.admit(now), Err(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn a_probe_that_was_cancelled_gives_its_place_back() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let later = start + Duration::from_secs(1);
        for _ in 0..100 {
            let permit = breaker.admit(later).expect("there is a place");
            breaker.report(later, permit, Outcome::Neutral);
        }
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
    }

    #[test]
    fn throttling_opens_it_at_once_for_what_was_asked_within_bounds() {
        let now = Instant::now();
        for (asked, waits) in [(0, 1), (5, 5), (1_000_000_000, 8)] {
            let mut breaker = Breaker::new(settings(), now);
            call(&mut breaker, now, Outcome::Throttled(Duration::from_secs(asked)));
            assert_eq!(breaker.admit(now), Err(Duration::from_secs(waits)), "asked for {asked} s");
        }
    }

    #[test]
    fn what_was_asked_before_it_opened_neither_closes_nor_opens_it_again() {
        let start = Instant::now();
        let mut breaker = Breaker::new(settings(), start);
        let old = breaker.admit(start).expect("closed");
        (0..4).for_each(|_| call(&mut breaker, start, Outcome::Failed));
        let later = start + Duration::from_secs(1);
        let probe = breaker.admit(later).expect("half open");
        breaker.report(later, old, Outcome::Failed);
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        breaker.report(later, probe, Outcome::Reachable);
        breaker.report(later, old, Outcome::Reachable);
        assert_eq!(breaker.state(later), BreakerState::HalfOpen, "one probe is not two");
    }

    #[test]
    fn every_refusal_counts_as_reachable_but_those_that_mean_later() {
        let wait = Some(Duration::from_secs(3));
        for status in 100..600 {
            let expected = match status {
                408 | 425 | 500.. => Outcome::Failed,
                429 => Outcome::Throttled(Duration::from_secs(3)),
                _ => Outcome::Reachable,
            };
            assert_eq!(Outcome::of_status(status, wait), expected, "{status}");
        }
        assert_eq!(Outcome::of_status(429, None), Outcome::Failed);
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            3 => Just(Outcome::Reachable),
            3 => Just(Outcome::Failed),
            1 => (0_u64..100).prop_map(|seconds| Outcome::Throttled(Duration::from_secs(seconds))),
            1 => Just(Outcome::Neutral),
        ]
    }

    /// A step of a random history: time passes, a call starts, or the n-th call under way ends.
    #[derive(Debug, Clone)]
    enum Step {
        Pass(u64),
        Ask,
        End(usize, Outcome),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u64..3_000).prop_map(Step::Pass),
            Just(Step::Ask),
            Just(Step::Ask),
            (0_usize..8, outcome()).prop_map(|(which, outcome)| Step::End(which, outcome)),
            (0_usize..8, outcome()).prop_map(|(which, outcome)| Step::End(which, outcome)),
        ]
    }

    proptest! {
        #[test]
        fn it_never_wedges_never_floods_and_never_waits_beyond_the_cap(
            steps in prop::collection::vec(step(), 0..300)
        ) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(settings(), now);
            let mut under_way: Vec<Permit> = vec![];
            for step in steps {
                match step {
                    Step::Pass(millis) => now += Duration::from_millis(millis),
                    Step::Ask => {
                        let before = breaker.state(now);
                        match breaker.admit(now) {
                            Ok(permit) => {
                                prop_assert_ne!(before, BreakerState::Open);
                                under_way.push(permit);
                            }
                            Err(wait) => {
                                prop_assert_ne!(before, BreakerState::Closed);
                                prop_assert!(wait <= settings().open_cap && wait > Duration::ZERO);
                            }
                        }
                        if breaker.state(now) == BreakerState::HalfOpen {
                            let probes = under_way.iter().filter(|permit| permit.epoch == breaker.epoch);
                            prop_assert!(probes.count() <= 2, "more probes than allowed");
                        }
                    }
                    Step::End(which, outcome) if !under_way.is_empty() => {
                        let permit = under_way.remove(which % under_way.len());
                        let (before, stale) = (breaker.state(now), permit.epoch != breaker.epoch);
                        breaker.report(now, permit, outcome);
                        if stale && !matches!(outcome, Outcome::Throttled(_)) {
                            prop_assert_eq!(breaker.state(now), before, "a stale answer changed something");
                        }
                    }
                    Step::End(..) => {}
                }
            }
            // Whatever happened: once all calls have ended and the destination is well, it closes.
            under_way.drain(..).for_each(|permit| breaker.report(now, permit, Outcome::Neutral));
            for _ in 0..4 {
                match breaker.admit(now) {
                    Ok(permit) => breaker.report(now, permit, Outcome::Reachable),
                    Err(wait) => now += wait,
                }
            }
            prop_assert_eq!(breaker.state(now), BreakerState::Closed);
        }
    }
}
