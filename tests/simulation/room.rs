//! Memory full of rows that are published apart, while what is under way there gets no answer: everything else goes on.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use relay::{
    publisher::Outcome,
    relay::{
        input::{Input, Scan},
        keys::Ordering,
    },
    row::KeyHash,
};

use super::script::{KEY, Script};

const OTHER: KeyHash = KeyHash(9);
/// More rows than fit in memory.
const MANY: u64 = 200;

/// Whether a row of another key, written last, is published although what was sent apart is not answered.
fn another_goes_on(script: &mut Script) -> bool {
    script.produce(OTHER);
    for _ in 0..100 {
        script.poll();
        script.settle();
    }
    !script.seqs_ever_sent(OTHER).is_empty()
}

#[test]
fn rows_that_die_hold_up_no_other() {
    let mut script = Script::with_row_in_flight();
    script.settle();
    for key in 0..MANY {
        script.produce_poison(KeyHash(100 + key));
    }
    assert!(another_goes_on(&mut script));
    assert_eq!(script.letters.len(), 1, "one letter at a time");
}

#[test]
fn nor_do_those_that_wait_behind_them() {
    let mut script = Script::with_row_in_flight();
    script.settle();
    for row in 0..MANY {
        match row {
            0..6 => script.produce_poison(KeyHash(100 + row)),
            _ => script.produce(KeyHash(100 + row % 6)),
        }
    }
    assert!(another_goes_on(&mut script));
}

#[test]
fn nor_do_heavy_ones_behind_one_that_dies() {
    let mut script = Script::with_row_in_flight();
    script.settle();
    script.produce_poison(KEY);
    let writer = script.outbox.begin();
    for _ in 0..20 {
        script.insert_bytes(writer, KEY, 1 << 17);
    }
    script.outbox.commit(writer);
    assert!(another_goes_on(&mut script));
}

#[test]
fn nor_do_suspects() {
    let mut script = Script::with_row_in_flight();
    script.settle();
    for key in 0..MANY / 2 {
        script.produce(KeyHash(100 + key));
        script.poll();
        script.close_channel();
    }
    assert!(another_goes_on(&mut script));
    assert_eq!(script.suspects.len(), 1, "one suspect at a time");
}

#[test]
fn a_row_waits_for_a_late_one_although_all_other_room_is_taken_by_rows_that_die() {
    let mut script = Script::with_row_in_flight();
    script.settle();
    let writer = script.outbox.begin();
    script.insert(writer, OTHER);
    for key in 0..8 {
        script.produce_poison(KeyHash(100 + key));
        script.poll();
    }
    script.outbox.commit(writer);
    // As many bytes as there may be.
    let next = script.outbox.begin();
    script.insert_bytes(next, OTHER, 1 << 20);
    script.outbox.commit(next);
    assert!(another_goes_on(&mut script));
    assert_eq!(script.seqs_ever_sent(OTHER).len(), 3);
    assert!(script.seqs_ever_sent(OTHER).is_sorted());
}

#[test]
fn rows_as_large_as_can_be_behind_a_suspect_and_one_that_dies_leave_room() {
    let mut script = Script::with_row_in_flight();
    script.settle();
    // Payloads have a quarter of memory at most, by default.
    let (largest, suspect) = (1 << 18, KeyHash(100));
    script.produce_bytes(suspect, largest);
    script.poll();
    script.close_channel();
    script.produce_poison_bytes(KEY, largest);
    for _ in 0..4 {
        script.produce_bytes(suspect, largest);
        script.produce_bytes(KEY, largest);
    }
    assert!(another_goes_on(&mut script));
}

/// Fills memory with whatever there is, while nothing that is sent apart is answered.
fn a_mixture(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let ordering = [Ordering::Strict, Ordering::Pipelined, Ordering::None][random.random_range(0..3)];
    let park = random.random_bool(0.5);
    let mut script = Script::under(|settings| (settings.ordering, settings.park) = (ordering, park));
    if random.random_bool(0.5) {
        script.locked = Some(1);
    }
    script.settle();
    let keys = [3, 20, 200][random.random_range(0..3)];
    let late = script.outbox.begin();
    // What closes a channel, or dies, and what is behind it.
    let mut stuck = BTreeSet::new();
    for _ in 0..random.random_range(50..250) {
        let key = KeyHash(100 + random.random_range(0..keys));
        let bytes = [100, 100, 1 << 14, 1 << 17, 1 << 18][random.random_range(0..5)];
        match random.random_range(0..12) {
            0..4 => script.produce_bytes(key, bytes),
            4 | 5 => {
                stuck.insert(key);
                script.produce_poison_bytes(key, bytes);
            }
            6 => {
                stuck.extend(script.sent.iter().map(|row| row.key));
                script.close_channel();
            }
            7 => script.answer(Outcome::Nacked),
            8 => script.insert_bytes(late, key, bytes),
            9 => script.settle(),
            _ => script.poll(),
        }
    }
    script.outbox.commit(late);
    script.produce(OTHER);
    for _ in 0..300 {
        script.poll();
        script.settle();
    }
    let left = script.outbox.rows().iter().filter(|(seq, row)| {
        row.is_unfinished() && !stuck.contains(&row.row.key) && script.locked != Some(**seq)
    });
    let left: Vec<_> = left.map(|(seq, row)| (*seq, row.row.key, row.state)).collect();
    assert!(left.is_empty(), "seed {seed}, {ordering:?}, park {park}: not published: {left:?}");
}

#[test]
fn whatever_fills_memory_what_can_be_published_is() {
    (0..300).for_each(a_mixture);
}

#[test]
fn suspects_that_fit_are_all_tried_however_much_is_behind_them() {
    let mut script = Script::with_row_in_flight();
    script.settle();
    let writer = script.outbox.begin();
    for row in 0..56 {
        script.insert(writer, KeyHash(100 + row % 8));
    }
    script.outbox.commit(writer);
    script.poll();
    assert_eq!(script.sent.len(), 8);
    script.close_channel();
    for _ in 0..100 {
        script.poll();
        for suspect in std::mem::take(&mut script.suspects) {
            script.handle(Input::Quarantined(suspect, Outcome::Confirmed));
        }
        script.settle();
    }
    assert_eq!(script.rescheduled, 0);
    assert!(script.outbox.rows().values().all(|row| row.published_at.is_some()));
}

#[test]
fn rows_that_find_no_room_are_not_put_off_again_and_again() {
    let mut script = Script::under(|settings| settings.retry.cap = Duration::from_secs(300));
    script.settle();
    for key in 0..1000 {
        script.produce_poison(KeyHash(100 + key));
    }
    for key in 0..1000 {
        script.produce(KeyHash(2000 + key));
        script.poll();
        script.close_channel();
    }
    let before = script.rescheduled;
    script.run_for(Duration::from_secs(1800));
    // Each of them once in two to three minutes, on average.
    let times = script.rescheduled - before;
    assert!(times < 2000 * 1800 / 120, "{times} times");
}

#[test]
fn what_is_held_behind_a_row_that_is_not_answered_is_not_read_again_and_again() {
    let mut script = Script::with_row_in_flight();
    script.settle();
    script.produce_poison(KEY);
    for _ in 0..100 {
        script.produce(KEY);
    }
    script.run_for(Duration::from_secs(10));
    let before = script.scans.len();
    script.run_for(Duration::from_secs(100));
    let released = script.scans[before..].iter().filter(|scan| matches!(scan, Scan::Released { .. })).count();
    assert!(released <= 110, "{released} times");
    script.produce(OTHER);
    script.run_for(Duration::from_secs(1));
    assert_eq!(script.seqs_ever_sent(OTHER).len(), 1);
}
