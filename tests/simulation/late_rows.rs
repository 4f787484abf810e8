//! Rows that commit late, and those of their key that were written because of them.

use std::time::Duration;

use relay::{
    relay::input::{Fence, Scan, Write},
    row::KeyHash,
};

use super::script::{KEY, Script};

/// A writer with so many rows, the last of them of `KEY`, has been open for so long that scans begin behind them. Then it
/// commits, somebody who waited for that adds the key's next row, and only then comes a scan.
fn after_a_late_commit(rows: usize) -> Script {
    let mut script = Script::with_row_in_flight();
    script.settle();
    let writer = script.outbox.begin();
    for _ in 1..rows {
        script.insert(writer, KeyHash(100));
    }
    script.insert(writer, KEY);
    for other in 200..204 {
        script.produce(KeyHash(other));
        script.poll();
        script.settle();
    }
    assert_eq!(script.history.len(), 5, "the rows of others do not wait for it");
    script.outbox.commit(writer);
    script.produce(KEY);
    script.poll();
    script.settle();
    script
}

#[test]
fn a_row_waits_for_the_one_before_it_that_the_scan_began_behind() {
    assert_eq!(after_a_late_commit(1).seqs_ever_sent(KEY), [1, 2, 7]);
}

#[test]
fn it_waits_as_well_when_there_are_more_late_rows_than_one_scan_takes() {
    assert_eq!(after_a_late_commit(20).seqs_ever_sent(KEY), [1, 21, 26]);
}

#[test]
fn it_finds_room_for_the_one_before_it_although_a_row_that_is_locked_stays() {
    let mut script = Script::with_row_in_flight();
    script.locked = Some(1);
    script.settle();
    let writer = script.outbox.begin();
    script.insert(writer, KEY);
    for other in 200..204 {
        script.produce(KeyHash(other));
        script.poll();
        script.settle();
    }
    script.outbox.commit(writer);
    // As many bytes as there may be.
    let next = script.outbox.begin();
    script.insert_bytes(next, KEY, 1 << 20);
    script.outbox.commit(next);
    for _ in 0..3 {
        script.poll();
        script.settle();
    }
    assert_eq!(script.seqs_ever_sent(KEY), [1, 2, 7]);
    assert_eq!(script.outbox.rows()[&1].published_at, None);
}

#[test]
fn an_idle_relay_does_not_scan_from_the_start_for_ever() {
    let mut script = Script::with_row_in_flight();
    for _ in 0..20 {
        script.produce(KEY);
    }
    for _ in 0..5 {
        script.poll();
        script.settle();
    }
    script.outbox.release(1, |_, _| true);
    let fence = script.lease(1);
    script.leased(fence);
    for _ in 0..5 {
        script.poll();
        script.settle();
    }
    let last = script.scans.iter().rev().find_map(|scan| match scan {
        Scan::Ready { after, .. } => Some(*after),
        _ => None,
    });
    assert_eq!(last, Some(21), "everything up to there is done");
}

#[test]
fn a_sweep_that_takes_longer_than_a_statement_may_stops_nobody_and_comes_more_rarely() {
    let mut script = Script::with_row_in_flight();
    script.settle();
    for _ in 0..5 {
        script.produce(KEY);
        script.poll();
        script.settle();
    }
    script.no_scan_from_the_first = true;
    script.scans.clear();
    script.run_for(Duration::from_secs(1000));
    let sweeps = script.scans.iter().filter(|scan| matches!(scan, Scan::Ready { after: 0, .. })).count();
    assert_eq!(sweeps, 2, "after 300 s, and 500 s after that one, which took five");
    script.produce(KEY);
    script.run_for(Duration::from_secs(2));
    assert_eq!(script.history.len(), 7, "its row is found all the same");
}

#[test]
fn a_key_that_was_held_and_let_go_by_hand_is_found_by_the_sweep() {
    let mut script = Script::with_row_in_flight();
    script.settle();
    script.run_for(Duration::from_secs(2));
    script.produce(KEY);
    let hold = Write::Hold(script.outbox.leases(script.relay), vec![2]);
    assert_eq!(script.outbox.write(script.relay, &hold, true, false), 1);
    script.run_for(Duration::from_secs(310));
    assert_eq!(script.history.len(), 2, "relay knew of no key that is held");
}

/// One that never was there before, and finds the index entries of all that was published since somebody's old snapshot.
#[test]
fn a_relay_whose_first_scan_takes_longer_than_a_statement_may_gets_there_bit_by_bit() {
    const DONE: i64 = 250_000;
    let mut script = Script::with_row_in_flight();
    script.settle();
    script.outbox.skip(DONE);
    let late = script.outbox.begin();
    script.insert(late, KEY);
    for key in 100..120 {
        script.produce(KeyHash(key));
    }
    script.outbox.release(1, |_, _| true);
    script.leased(Fence::default());
    script.longest_scan = Some(30_000);
    let fence = script.lease(1);
    script.scans.clear();
    script.leased(fence);
    script.run_for(Duration::from_secs(30));
    assert_eq!(script.history.len(), 21, "all there is");
    let bounded =
        script.scans.iter().filter(|scan| matches!(scan, Scan::Ready { until: Some(_), .. })).count();
    assert!((10..40).contains(&bounded), "no more ranges than it takes: {bounded}");
    script.outbox.commit(late);
    script.produce(KEY);
    script.run_for(Duration::from_secs(30));
    assert_eq!(script.seqs_ever_sent(KEY), [1, DONE + 2, DONE + 23], "and in order");
}
