//! One relay, and an operator who pauses things at the wrong moment.

use std::time::Duration;

use relay::{
    outbox::memory::{Holding, State},
    publisher::Outcome,
    relay::input::Input,
    row::KeyHash,
};

use super::script::{KEY, Script};

/// Of another key, in another lane.
const OTHER: KeyHash = KeyHash(2);
/// Until everything that can go out has.
const WHILE: Duration = Duration::from_secs(5);

#[test]
fn a_paused_row_holds_its_key_and_no_other_and_nobody_is_charged() {
    let mut script = Script::with_row_in_flight();
    let pause = script.outbox.pause();
    (0..3).for_each(|_| script.produce(KEY));
    script.poll();
    script.answer(Outcome::Paused(pause));
    script.settle();
    script.produce(KEY);
    script.produce(OTHER);
    script.poll();
    script.settle();
    for seq in [1, 2, 3, 4, 5] {
        let row = &script.outbox.rows()[&seq];
        assert_eq!((row.state, row.attempts, row.published_at), (State::Held, 0, None), "row {seq}");
    }
    let held = &script.outbox.held_keys()[&KEY];
    assert_eq!((held.reason, held.head_seq, held.paused_by), (Holding::Paused, 1, Some(pause)));
    assert!(script.outbox.rows()[&6].published_at.is_some(), "the other key went on");
    assert_eq!(script.engine.rows_in_memory(), 0, "what is paused takes no memory");
    script.outbox.resume(pause);
    script.outbox.release_paused();
    script.run_for(WHILE);
    assert_eq!(script.seqs_ever_sent(KEY), [1, 1, 2, 3, 4, 5], "in order");
    assert!(script.outbox.rows().values().all(|row| row.published_at.is_some()));
}

#[test]
fn a_key_held_for_a_pause_that_is_over_goes_on_at_once() {
    let mut script = Script::with_row_in_flight();
    let pause = script.outbox.pause();
    script.answer(Outcome::Paused(pause));
    // Ended, and its keys let go, while the write that holds one more is on its way.
    script.outbox.resume(pause);
    script.outbox.release_paused();
    script.settle();
    script.run_for(WHILE);
    assert!(script.outbox.rows()[&1].published_at.is_some(), "it waits for nobody");
}

#[test]
fn while_everything_is_paused_nothing_is_read_or_sent_and_what_was_in_flight_is_marked() {
    let mut script = Script::with_row_in_flight();
    script.produce(KEY);
    script.poll();
    script.handle(Input::Paused(true));
    script.settle();
    assert!(script.outbox.rows()[&1].published_at.is_some(), "its confirm counts");
    let scans = script.scans.len();
    script.produce(OTHER);
    script.poll();
    // A session that comes up does not end it.
    script.handle(Input::BrokerDown);
    script.handle(Input::BrokerUp);
    script.poll();
    assert_eq!((script.scans.len(), script.seqs_sent()), (scans, vec![]));
    assert_eq!(script.engine.lanes_owned(), 32, "the leases stay");
    script.handle(Input::Paused(false));
    script.run_for(WHILE);
    assert!(script.outbox.rows().values().all(|row| row.published_at.is_some()));
    assert_eq!(script.seqs_ever_sent(KEY), [1, 2]);
}
