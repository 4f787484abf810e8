//! Changes of lanes: one relay, whose lane another has for a while.

use std::time::Duration;

use relay::{
    outbox::memory::{Holding, State},
    publisher::Outcome,
    reason::RetryReason,
    relay::input::{Fence, Input, Reschedule, Write},
    row::KeyHash,
};

use super::script::{KEY, LEASE, Script};

#[test]
fn a_confirm_that_comes_after_the_next_owner_failed_the_row_lets_the_key_go() {
    let mut script = Script::with_row_in_flight();
    script.outbox.release(1, |_, _| true);
    let theirs = script.lease(2);
    script.leased(Fence::default());
    let failed = Reschedule {
        seq: 1,
        generation: 0,
        reason: RetryReason::Nacked,
        attempts: 0,
        delay: LEASE,
        error: String::new(),
        suspect: false,
    };
    script.outbox.write(2, &Write::Reschedule(theirs, vec![failed]), true, false);
    assert_eq!(script.outbox.held_keys()[&KEY].reason, Holding::Retrying);

    script.answer(Outcome::Confirmed);
    let mark = script.writes.remove(0);
    script.outbox.write(1, &mark, true, false);
    assert!(script.outbox.rows()[&1].published_at.is_some(), "a fact needs no lease");
    assert_eq!(script.outbox.held_keys()[&KEY].reason, Holding::Releasing, "nothing else ever would");
}

#[test]
fn a_row_whose_reschedule_came_too_late_is_found_again() {
    let mut script = Script::with_row_in_flight();
    script.answer(Outcome::Returned { code: 312, text: "NO_ROUTE".to_owned() });
    let late = script.writes.remove(0);
    // The lease ran out before it was carried out, and was taken anew.
    script.outbox.release(1, |_, _| true);
    // The new scan passes it by on its way to this one.
    script.produce(KeyHash(2));
    let fence = script.lease(1);
    script.leased(fence);
    assert_eq!(script.outbox.write(1, &late, true, false), 0, "its token is no longer ours");
    assert_eq!(script.outbox.rows()[&1].state, State::Ready);
    script.handle(Input::Written);
    script.poll();
    assert_eq!(script.seqs_sent(), [1, 2]);
}

#[test]
fn a_mark_that_still_waits_when_the_lanes_go_lets_the_key_go_too() {
    let mut script = Script::with_row_in_flight();
    script.produce(KeyHash(2));
    script.poll();
    // The first mark is under way, so the next one waits.
    script.answer(Outcome::Confirmed);
    let first = script.writes.remove(0);
    script.answer(Outcome::Confirmed);
    assert!(script.writes.is_empty());
    script.outbox.release(1, |_, _| true);
    let theirs = script.lease(2);
    script.leased(Fence::default());
    let failed = Reschedule {
        seq: 2,
        generation: 0,
        reason: RetryReason::Nacked,
        attempts: 0,
        delay: LEASE,
        error: String::new(),
        suspect: false,
    };
    script.outbox.write(2, &Write::Reschedule(theirs, vec![failed]), true, false);
    script.outbox.write(1, &first, true, false);
    script.handle(Input::Written);
    let second = script.writes.remove(0);
    script.outbox.write(1, &second, true, false);
    assert_eq!(script.outbox.held_keys()[&KeyHash(2)].reason, Holding::Releasing, "else only repair would");
}

/// The lane of all rows of a script.
const LANE: u8 = 0;

#[test]
fn a_lane_is_given_away_once_its_last_row_is_marked_and_no_row_of_it_is_sent_meanwhile() {
    let mut script = Script::with_row_in_flight();
    script.produce(KEY);
    script.poll();
    let fence = script.outbox.leases(1);
    script.leased_but(fence.clone(), vec![LANE]);
    script.produce(KeyHash(2));
    script.handle(Input::Woken);
    assert!(script.released.is_empty(), "a row is in flight");
    script.answer(Outcome::Confirmed);
    assert!(script.released.is_empty(), "it is not marked yet");
    let mark = script.writes.remove(0);
    script.outbox.write(1, &mark, true, false);
    script.handle(Input::Written);
    assert_eq!(script.released, [(LANE, 1)]);
    assert_eq!(script.history.len(), 1, "its other rows are for whoever has it next");
    // An answer from before that comes late.
    script.leased(fence);
    assert_eq!((script.engine.lanes_owned(), script.history.len()), (31, 1));
}

#[test]
fn a_lane_that_is_not_to_be_given_away_after_all_goes_on() {
    let mut script = Script::with_row_in_flight();
    let fence = script.outbox.leases(1);
    script.leased_but(fence.clone(), vec![LANE]);
    script.produce(KeyHash(2));
    for _ in 0..3 {
        // It is passed by.
        script.now += Duration::from_millis(100);
        script.handle(Input::Tick);
    }
    assert_eq!(script.seqs_sent(), [1]);
    script.leased(fence);
    script.settle();
    script.poll();
    assert_eq!(script.history.len(), 2);
    assert!(script.released.is_empty());
}

#[test]
fn a_lane_with_a_row_that_somebody_has_locked_goes_on_where_it_is() {
    let mut script = Script::with_row_in_flight();
    script.locked = Some(1);
    script.settle();
    let fence = script.outbox.leases(1);
    script.leased_but(fence.clone(), vec![LANE]);
    script.produce(KeyHash(2));
    script.handle(Input::Woken);
    script.settle();
    assert_eq!(script.history.len(), 2);
    script.locked = None;
    script.poll();
    script.settle();
    assert!(script.outbox.rows()[&1].published_at.is_some());
    script.leased_but(fence, vec![LANE]);
    assert_eq!(script.released, [(LANE, 1)]);
}

#[test]
fn a_lane_whose_dead_letter_gets_no_answer_goes_on_where_it_is() {
    let mut script = Script::with_row_in_flight();
    script.settle();
    script.produce_poison(KeyHash(2));
    script.poll();
    assert_eq!(script.letters.len(), 1);
    let fence = script.outbox.leases(1);
    script.leased_but(fence, vec![LANE]);
    script.produce(KeyHash(3));
    script.handle(Input::Woken);
    script.settle();
    assert_eq!(script.history.len(), 2);
}
