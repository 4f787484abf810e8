//! Changes of lanes: one relay, whose lane another has for a while.

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
    script.outbox.release(1, |_| true);
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
    script.outbox.release(1, |_| true);
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
    script.outbox.release(1, |_| true);
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
