//! What the breaker promises.

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
