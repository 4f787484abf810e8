//! Memory full of rows that are published apart, while what is under way there gets no answer: everything else goes on.

use relay::row::KeyHash;

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
