//! Order within an aggregate key, for the rows in memory.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::row::{KeyHash, Origin, Row, Seq};

/// How strictly the rows of a key follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ordering {
    /// One row of a key is in flight at a time.
    #[default]
    Strict,
    /// Rows of a key are sent in order without waiting for each other's confirm; a refusal may invert two.
    Pipelined,
    /// No order at all.
    None,
}

/// What to do with a row that came in.
#[derive(Debug)]
pub enum Admission<B> {
    /// Nothing is in front of it.
    Go(Row<B>),
    /// Its key's earlier rows are under way; it waits here.
    Queued,
    /// Its key is held, or too many of its rows are here already: it waits in the database.
    Hold(Row<B>),
    /// It is held in the database already and its key is held again.
    Drop(Row<B>),
}

#[derive(Debug)]
struct Key<B> {
    /// Rows handed out and not yet done.
    sent: u32,
    /// Rows behind them, by seq.
    pending: VecDeque<Row<B>>,
    /// What these weigh.
    pending_bytes: usize,
    /// The row handed out is published apart, and nobody knows when it will be done: so much may wait behind it.
    apart: Option<Weight>,
    hold: Hold,
    /// It is held because its head failed: rows of it that a scan released before are to stay where they are.
    failing: bool,
    /// The first of the rows on their way to be held: what was held before and comes behind it must wait for it.
    holding: Option<Seq>,
    /// The first of them that comes before all that wait here: the scan that is to bring it back must begin there.
    front: Option<Seq>,
}

impl<B> Key<B> {
    fn new() -> Self {
        Self {
            sent: 0,
            pending: VecDeque::new(),
            pending_bytes: 0,
            apart: None,
            hold: Hold::Open,
            failing: false,
            holding: None,
            front: None,
        }
    }

    /// Whether there is no room for another row behind the one handed out.
    fn is_full(&self, row: &Row<B>, limit: Weight) -> bool {
        if let Some(limit) = self.apart {
            return self.pending.len() >= limit.rows || self.pending_bytes + row.bytes > limit.bytes;
        }
        self.pending.len() >= limit.rows || self.pending_bytes >= limit.bytes
    }

    fn holding(&mut self, seq: Seq) {
        self.holding = Some(self.holding.map_or(seq, |first| first.min(seq)));
        if self.pending.front().is_some_and(|first| seq < first.seq) {
            self.front = Some(self.front.map_or(seq, |first| first.min(seq)));
        }
    }
}

/// Whether rows of the key must go to the database rather than the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Open,
    /// So many writes that hold the key are not done yet: a scan would not show it held.
    Writing(u32),
    /// All are done. A scan that began before may still come back without knowing; the next one won't.
    Written,
}

/// What rows take of the memory there is for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weight {
    /// How many.
    pub rows: usize,
    /// How many bytes.
    pub bytes: usize,
}

/// The keys that have rows in memory, and those whose holding is under way.
#[derive(Debug)]
pub struct Keys<B> {
    ordering: Ordering,
    pending_limit: Weight,
    keys: FxHashMap<KeyHash, Key<B>>,
    written: Vec<KeyHash>,
}

impl<B> Keys<B> {
    /// No keys yet. Of one key no more than `pending_limit` waits in memory, so that a hot one leaves room for the others.
    #[must_use]
    pub fn new(ordering: Ordering, pending_limit: Weight) -> Self {
        Self { ordering, pending_limit, keys: FxHashMap::default(), written: Vec::new() }
    }

    /// Takes a row in.
    pub fn admit(&mut self, row: Row<B>) -> Admission<B> {
        if self.ordering == Ordering::None {
            return Admission::Go(row);
        }
        let behind_a_head = row.key_head.is_some() && !row.is_head();
        let key = self.keys.entry(row.key).or_insert_with(Key::new);
        let held = behind_a_head || (key.hold != Hold::Open && !row.is_head());
        match row.origin {
            Origin::Released if held && (key.failing || key.holding.is_some_and(|first| first < row.seq)) => {
                return Admission::Drop(row);
            }
            Origin::Released => {}
            Origin::Ready | Origin::Due if held => {
                key.holding(row.seq);
                return Admission::Hold(row);
            }
            Origin::Ready | Origin::Due => {}
        }
        if key.sent == 0 || self.ordering == Ordering::Pipelined {
            key.sent += 1;
            return Admission::Go(row);
        }
        // A head among the held would be found by nobody.
        if key.is_full(&row, self.pending_limit) && !row.is_head() {
            if let Some(room) = &mut key.apart {
                // A lighter one after it would fit, and overtake it.
                *room = Weight::default();
            }
            if row.origin == Origin::Released {
                return Admission::Drop(row);
            }
            key.holding(row.seq);
            return Admission::Hold(row);
        }
        // Nearly always the last: rows come in by seq, but a released or late one may be lower.
        let place = key.pending.iter().rposition(|other| other.seq < row.seq).map_or(0, |before| before + 1);
        key.pending_bytes += row.bytes;
        key.front = key.front.filter(|front| *front < row.seq);
        key.pending.insert(place, row);
        Admission::Queued
    }

    /// A row handed out is done: the key's next, if there is one.
    pub fn done(&mut self, hash: KeyHash) -> Option<Row<B>> {
        let key = self.keys.get_mut(&hash)?;
        key.sent = key.sent.saturating_sub(1);
        key.apart = None;
        if let Some(next) = key.pending.pop_front() {
            key.sent += 1;
            key.pending_bytes -= next.bytes;
            return Some(next);
        }
        self.forget_if_idle(hash);
        None
    }

    /// A row handed out failed: its key is held from now on. Returns the rows behind it.
    pub fn fail(&mut self, hash: KeyHash) -> VecDeque<Row<B>> {
        let Some(key) = self.keys.get_mut(&hash) else { return VecDeque::new() };
        key.sent = key.sent.saturating_sub(1);
        key.apart = None;
        let behind = std::mem::take(&mut key.pending);
        (key.pending_bytes, key.front) = (0, None);
        self.forget_if_idle(hash);
        behind
    }

    /// The key's row handed out is published apart from now on, which may take long. Returns the rows behind it for which
    /// there is no room until it is done: they are to be held.
    pub fn apart(&mut self, hash: KeyHash, room: Weight) -> VecDeque<Row<B>> {
        let mut over = VecDeque::new();
        let Some(key) = self.keys.get_mut(&hash) else { return over };
        key.apart = Some(room);
        // A head among the held would be found by nobody.
        while (key.pending.len() > room.rows || key.pending_bytes > room.bytes)
            && key.pending.back().is_some_and(|row| !row.is_head())
            && let Some(row) = key.pending.pop_back()
        {
            key.pending_bytes -= row.bytes;
            // Released ones as well: a scan under way passes them by, for they were in memory, and must bring none behind them.
            key.holding(row.seq);
            over.push_front(row);
        }
        over
    }

    /// A write that holds the key is on its way.
    pub fn writing(&mut self, hash: KeyHash) {
        if self.ordering == Ordering::None {
            return;
        }
        let key = self.keys.entry(hash).or_insert_with(Key::new);
        key.hold = match key.hold {
            Hold::Writing(writes) => Hold::Writing(writes + 1),
            Hold::Open | Hold::Written => Hold::Writing(1),
        };
    }

    /// The key's head failed: see [`Self::admit`]. Lasts until the key's writes are done and a scan has begun.
    pub fn failing(&mut self, hash: KeyHash) {
        if self.ordering != Ordering::None {
            self.keys.entry(hash).or_insert_with(Key::new).failing = true;
        }
    }

    /// A write that holds the key is done.
    pub fn written(&mut self, hash: KeyHash) {
        let Some(key) = self.keys.get_mut(&hash) else { return };
        match key.hold {
            Hold::Writing(writes) if writes > 1 => key.hold = Hold::Writing(writes - 1),
            Hold::Writing(_) => {
                key.hold = Hold::Written;
                self.written.push(hash);
            }
            Hold::Open | Hold::Written => {}
        }
    }

    /// A scan begins: from here on the database itself says which keys are held.
    pub fn scan_begins(&mut self) {
        for hash in std::mem::take(&mut self.written) {
            if let Some(key) = self.keys.get_mut(&hash)
                && key.hold == Hold::Written
            {
                key.hold = Hold::Open;
                key.failing = false;
                key.holding = None;
                self.forget_if_idle(hash);
            }
        }
    }

    /// Forgets the rows that wait in such keys as this one's, and returns them; rows handed out stay counted.
    pub fn take_pending(&mut self, such: impl Fn(&Row<B>) -> bool) -> Vec<Row<B>> {
        let mut taken = Vec::new();
        self.keys.retain(|_, key| {
            if key.pending.front().is_some_and(&such) {
                taken.extend(key.pending.drain(..));
                (key.pending_bytes, key.front) = (0, None);
            }
            key.sent > 0 || key.hold != Hold::Open
        });
        taken
    }

    fn forget_if_idle(&mut self, hash: KeyHash) {
        if let Some(key) = self.keys.get(&hash)
            && key.sent == 0
            && key.pending.is_empty()
            && key.hold == Hold::Open
        {
            self.keys.remove(&hash);
        }
    }

    /// What waits behind the key's rows that are handed out.
    #[must_use]
    pub fn pending(&self, hash: KeyHash) -> Weight {
        let key = self.keys.get(&hash);
        key.map_or_else(Weight::default, |key| Weight { rows: key.pending.len(), bytes: key.pending_bytes })
    }

    /// Of each key of which so many rows wait, the first that came from the held ones, and the first of those that were sent to
    /// be held in front of it since: a row that was scheduled takes its place when it is due.
    pub fn queued(&self, least: usize) -> impl Iterator<Item = Seq> + '_ {
        let many = self.keys.values().filter(move |key| key.pending.len() >= least);
        let first = |key: &Key<B>| {
            let row = key.pending.iter().find(|row| row.origin == Origin::Released)?;
            Some([Some(row.seq), key.front].into_iter().flatten())
        };
        many.filter_map(first).flatten()
    }

    /// How many keys are tracked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is tracked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: Seq, origin: Origin, key_head: Option<Seq>) -> Row<()> {
        Row {
            seq,
            generation: 0,
            lane: 0,
            key: KeyHash(1),
            origin,
            due: true,
            key_head,
            attempts: 0,
            suspect: false,
            bytes: 1,
            poison: None,
            body: (),
        }
    }

    fn strict() -> Keys<()> {
        Keys::new(Ordering::Strict, Weight { rows: 2, bytes: 100 })
    }

    #[test]
    fn one_row_of_a_key_goes_at_a_time_and_the_rest_by_seq() {
        let mut keys = strict();
        assert!(matches!(keys.admit(row(1, Origin::Ready, None)), Admission::Go(_)));
        assert!(matches!(keys.admit(row(5, Origin::Ready, None)), Admission::Queued));
        assert!(matches!(keys.admit(row(3, Origin::Ready, None)), Admission::Queued));
        assert!(matches!(keys.admit(row(6, Origin::Ready, None)), Admission::Hold(_)), "no room for a third");
        let next: Vec<_> = std::iter::from_fn(|| keys.done(KeyHash(1))).map(|row| row.seq).collect();
        assert_eq!(next, [3, 5]);
        assert!(keys.is_empty());
    }

    #[test]
    fn what_waits_of_a_key_is_bounded_in_bytes_too() {
        let mut keys = Keys::new(Ordering::Strict, Weight { rows: 100, bytes: 10 });
        let heavy = |seq| Row { bytes: 10, ..row(seq, Origin::Ready, None) };
        assert!(matches!(keys.admit(heavy(1)), Admission::Go(_)));
        assert!(matches!(keys.admit(heavy(2)), Admission::Queued));
        assert!(matches!(keys.admit(heavy(3)), Admission::Hold(_)));
        assert_eq!(keys.pending(KeyHash(1)), Weight { rows: 1, bytes: 10 });
        assert_eq!(keys.done(KeyHash(1)).map(|row| row.seq), Some(2));
        assert_eq!(keys.pending(KeyHash(1)), Weight::default());
    }

    #[test]
    fn a_lighter_row_does_not_overtake_one_that_found_no_room_behind_a_row_that_is_published_apart() {
        for origin in [Origin::Released, Origin::Ready] {
            let mut keys = Keys::new(Ordering::Strict, Weight { rows: 100, bytes: 40 });
            let weighs = |seq, bytes| Row { bytes, ..row(seq, origin, None) };
            assert!(matches!(keys.admit(weighs(1, 5)), Admission::Go(_)));
            keys.apart(KeyHash(1), Weight { rows: 100, bytes: 10 });
            for (seq, bytes) in [(2, 11), (3, 1)] {
                assert!(!matches!(keys.admit(weighs(seq, bytes)), Admission::Queued));
            }
        }
    }

    #[test]
    fn less_waits_behind_a_row_that_is_published_apart() {
        let mut keys = Keys::new(Ordering::Strict, Weight { rows: 100, bytes: 40 });
        let heavy = |seq| Row { bytes: 5, ..row(seq, Origin::Ready, None) };
        assert!(matches!(keys.admit(heavy(1)), Admission::Go(_)));
        for seq in 2..7 {
            assert!(matches!(keys.admit(heavy(seq)), Admission::Queued));
        }
        let over: Vec<_> =
            keys.apart(KeyHash(1), Weight { rows: 100, bytes: 10 }).into_iter().map(|row| row.seq).collect();
        assert_eq!(over, [4, 5, 6]);
        keys.writing(KeyHash(1));
        assert!(
            matches!(keys.admit(row(7, Origin::Released, None)), Admission::Drop(_)),
            "it waits for those"
        );
        keys.written(KeyHash(1));
        keys.scan_begins();
        assert!(
            matches!(keys.admit(row(4, Origin::Released, None)), Admission::Drop(_)),
            "there is no room yet"
        );
        assert_eq!(keys.done(KeyHash(1)).map(|row| row.seq), Some(2));
        assert!(matches!(keys.admit(heavy(4)), Admission::Queued));
    }

    #[test]
    fn a_held_key_stays_held_until_a_scan_begins_after_its_last_write() {
        let mut keys = strict();
        keys.writing(KeyHash(1));
        keys.writing(KeyHash(1));
        keys.written(KeyHash(1));
        keys.scan_begins();
        assert!(
            matches!(keys.admit(row(1, Origin::Ready, None)), Admission::Hold(_)),
            "one is not written yet"
        );
        keys.written(KeyHash(1));
        assert!(
            matches!(keys.admit(row(1, Origin::Ready, None)), Admission::Hold(_)),
            "read before the hold"
        );
        keys.scan_begins();
        assert!(matches!(keys.admit(row(1, Origin::Ready, None)), Admission::Go(_)));
    }

    #[test]
    fn a_released_row_waits_for_one_before_it_that_is_on_its_way_to_be_held() {
        let mut keys = strict();
        assert!(matches!(keys.admit(row(4, Origin::Ready, Some(13))), Admission::Hold(_)));
        keys.writing(KeyHash(1));
        assert!(matches!(keys.admit(row(13, Origin::Released, None)), Admission::Drop(_)));
        assert!(matches!(keys.admit(row(3, Origin::Released, None)), Admission::Go(_)));
    }

    #[test]
    fn rows_released_before_their_new_head_failed_stay_where_they_are() {
        let mut keys = strict();
        assert!(matches!(keys.admit(row(1, Origin::Released, None)), Admission::Go(_)));
        assert!(matches!(keys.admit(row(2, Origin::Released, None)), Admission::Queued));
        assert_eq!(keys.fail(KeyHash(1)).len(), 1);
        keys.failing(KeyHash(1));
        keys.writing(KeyHash(1));
        assert!(matches!(keys.admit(row(3, Origin::Released, None)), Admission::Drop(_)));
        let head = keys.admit(row(1, Origin::Due, Some(1)));
        assert!(matches!(head, Admission::Go(_)), "the head itself may go");
    }

    #[test]
    fn without_order_every_row_goes_and_nothing_is_remembered() {
        let mut keys = Keys::new(Ordering::None, Weight { rows: 1, bytes: 1 });
        assert!((1..9).all(|seq| matches!(keys.admit(row(seq, Origin::Ready, Some(1))), Admission::Go(_))));
        assert!(keys.is_empty());
    }
}
