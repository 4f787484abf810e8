//! Scans for due and released rows that begin where the last one ended, and the whole ones in between.

use std::time::Duration;

use relay::{
    publisher::Outcome,
    relay::input::{Scan, Write},
    row::KeyHash,
};

use super::script::{KEY, Script};

/// A key that was held is let go. Many of its rows are on their way, and some are in memory.
fn release(script: &mut Script) {
    script.answer(Outcome::Nacked);
    script.write_all();
    for _ in 0..200 {
        script.produce(KEY);
    }
    while script.seqs_ever_sent(KEY).len() < 10 {
        script.step();
    }
}

#[test]
fn a_scan_for_released_rows_begins_with_the_first_that_waits_in_memory() {
    let mut script = Script::with_row_in_flight();
    release(&mut script);
    for _ in 0..20 {
        script.step();
        let waiting = script.seqs_sent().first().map(|seq| seq + 1);
        assert!(script.queued.len() == 1 && waiting >= script.queued.first().copied(), "{:?}", script.queued);
    }
    assert!(script.queued > vec![10], "it moves on: {:?}", script.queued);
}

#[test]
fn what_is_put_in_front_of_those_in_memory_is_found_a_second_later() {
    let mut script = Script::with_row_in_flight();
    let late = script.outbox.begin();
    script.insert(late, KEY);
    release(&mut script);
    script.outbox.commit(late);
    // Not by this relay, which would know where to look.
    let fence = script.outbox.leases(script.relay);
    script.outbox.write(script.relay, &Write::Hold(fence, vec![2]), true, false);
    for _ in 0..100 {
        script.step();
    }
    let sent = script.seqs_ever_sent(KEY);
    assert!(sent.contains(&2) && sent.len() < 150, "before all the others: {sent:?}");
}

#[test]
fn a_scheduled_row_of_a_key_that_is_let_go_takes_its_place_when_it_is_due() {
    let mut script = Script::with_row_in_flight();
    script.produce_for_later(KEY, Duration::from_millis(1500));
    release(&mut script);
    while script.clock < 1_500_000 {
        script.step();
    }
    let before = script.seqs_ever_sent(KEY).len();
    for _ in 0..10 {
        script.step();
    }
    let sent = script.seqs_ever_sent(KEY);
    assert!(
        !sent[..before].contains(&2) && sent[before..].contains(&2),
        "{before} before it was due: {sent:?}"
    );
}

#[test]
fn who_keeps_lanes_that_were_to_be_given_away_looks_at_all_due_rows() {
    let mut script = Script::with_row_in_flight();
    script.poll();
    script.poll();
    let fence = script.lease(1);
    script.leased_but(fence.clone(), vec![0]);
    let scans = script.scans.len();
    // What came due of the lane meanwhile was passed by.
    script.leased(fence);
    let mut due = script.scans[scans..].iter().filter_map(|scan| match scan {
        Scan::Due { within } => Some(*within),
        _ => None,
    });
    assert_eq!(due.next(), Some(None));
}

#[test]
fn scans_for_due_rows_look_back_as_far_as_the_last_that_found_all_and_all_the_way_now_and_then() {
    let second = Duration::from_secs(1);
    let mut script = Script::with_row_in_flight();
    for n in 1..60 {
        script.produce_for_later(KeyHash(100 + n), Duration::from_millis(50 * n));
    }
    for _ in 0..160 {
        script.step();
    }
    let due = script.scans.iter().filter_map(|scan| match scan {
        Scan::Due { within } => Some(*within),
        _ => None,
    });
    let (lately, whole): (Vec<_>, Vec<_>) = due.partition(Option::is_some);
    assert!(lately.iter().flatten().all(|within| (5 * second..6 * second).contains(within)), "{lately:?}");
    assert!(lately.len() > 30 && (3..6).contains(&whole.len()), "{} and {}", lately.len(), whole.len());
    assert_eq!(script.history.len(), 60);
}

#[test]
fn many_rows_that_an_operator_makes_due_long_ago_are_fetched_one_scan_after_the_other() {
    let mut script = Script::with_row_in_flight();
    script.settle();
    for n in 0..200 {
        script.produce(KeyHash(100 + n));
    }
    script.run_for(Duration::from_secs(20));
    let long_ago = script.outbox.rows()[&1].available_at;
    for _ in 0..2 {
        // A statement that took long: the time that it says is when it began.
        script.outbox.publish_again(long_ago);
        let (before, scans) = (script.history.len(), script.scans.len());
        script.run_for(Duration::from_secs(3));
        assert_eq!(script.history.len(), before + 201, "as fast as they can be fetched, eight at a time");
        let later =
            script.scans[scans..].iter().rposition(|scan| matches!(scan, Scan::Due { within: Some(_) }));
        assert!(later.is_some(), "and then it looks back as far as before");
        script.run_for(Duration::from_secs(5));
    }
}
