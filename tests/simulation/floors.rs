//! Where whoever is given lanes begins to look.

use std::time::Duration;

use relay::{relay::input::Input, row::KeyHash};

use super::script::{KEY, Script, settings};

/// Twenty rows done, and a while for the floors to be left.
fn done() -> Script {
    let mut script = Script::with_row_in_flight();
    for key in 1..20 {
        script.produce(KeyHash(key));
    }
    script.run_for(Duration::from_secs(5));
    assert_eq!(script.history.len(), 20);
    script
}

#[test]
fn a_successor_begins_where_its_predecessor_ended() {
    let mut script = done();
    script.produce(KEY);
    script.succeeded_by(2, settings());
    assert_eq!(script.began_after(), Some(20));
    assert_eq!(script.seqs_sent(), [21]);
}

#[test]
fn it_begins_in_front_of_what_was_in_flight_and_of_what_was_given_away_unread() {
    let mut script = done();
    script.produce(KEY);
    script.poll();
    assert_eq!(script.seqs_sent(), [21]);
    let fence = script.outbox.leases(1);
    // The row after this is of a lane that is given away: it is passed by.
    script.leased_but(fence, vec![0]);
    script.produce(KEY);
    for _ in 0..10 {
        script.now += Duration::from_millis(300);
        script.handle(Input::Tick);
        script.settle();
    }
    assert_eq!(script.outbox.below_a_floor(), None);
    assert_eq!(script.released.len(), 1);
    script.produce(KEY);
    script.succeeded_by(2, settings());
    assert_eq!(script.began_after(), Some(20));
    assert_eq!(script.seqs_sent(), [22]);
}

#[test]
fn it_begins_in_front_of_whatever_an_open_writer_may_yet_commit() {
    let mut script = done();
    let late = script.outbox.begin();
    script.insert(late, KEY);
    for key in 100..120 {
        script.produce(KeyHash(key));
    }
    script.run_for(Duration::from_secs(5));
    script.succeeded_by(2, settings());
    assert_eq!(script.began_after(), Some(20));
    script.run_for(Duration::from_secs(5));
    script.outbox.commit(late);
    script.run_for(Duration::from_secs(5));
    assert!(script.seqs_ever_sent(KEY).contains(&21));
}

#[test]
fn a_drain_leaves_the_floor_below_the_rows_it_drops() {
    let mut script = Script::with_row_in_flight();
    for _ in 0..5 {
        script.produce(KEY);
    }
    script.poll();
    script.handle(Input::Drain);
    assert_eq!(script.outbox.below_a_floor(), None);
}

#[test]
fn a_table_that_was_truncated_with_its_sequence_is_gone_through_from_its_first_row() {
    let mut script = done();
    script.outbox.truncate();
    // Further than it was.
    for key in 0..30 {
        script.produce(KeyHash(key));
    }
    script.history.clear();
    script.succeeded_by(2, settings());
    assert_eq!(script.began_after(), Some(0));
    script.run_for(Duration::from_secs(5));
    assert_eq!(script.history.len(), 30);
}

#[test]
fn so_it_is_when_that_happens_under_a_relay_that_runs() {
    let mut script = done();
    script.outbox.truncate();
    for key in 0..30 {
        script.produce(KeyHash(key));
    }
    script.history.clear();
    script.run_for(Duration::from_secs(5));
    assert_eq!(script.history.len(), 30);
}
