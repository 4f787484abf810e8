//! The rows in memory: which, of which lane, and what they weigh.

use rustc_hash::FxHashMap;

use crate::row::{LANES, Lane, Row, Seq};

/// Every row that was read and is not settled yet, wherever in the engine or outside of it it is.
#[derive(Debug, Default)]
pub struct Known {
    rows: FxHashMap<Seq, (Lane, usize)>,
    bytes: usize,
    in_lane: [usize; LANES as usize],
}

impl Known {
    /// Adds a row; says whether it was new.
    pub fn add<B>(&mut self, row: &Row<B>) -> bool {
        if self.rows.contains_key(&row.seq) {
            return false;
        }
        self.rows.insert(row.seq, (row.lane, row.bytes));
        self.bytes += row.bytes;
        if let Some(rows) = self.in_lane.get_mut(usize::from(row.lane)) {
            *rows += 1;
        }
        true
    }

    /// Forgets a row.
    pub fn forget(&mut self, seq: Seq) {
        let Some((lane, bytes)) = self.rows.remove(&seq) else { return };
        self.bytes -= bytes;
        if let Some(rows) = self.in_lane.get_mut(usize::from(lane)) {
            *rows -= 1;
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What they weigh, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many rows of a lane there are.
    #[must_use]
    pub fn in_lane(&self, lane: Lane) -> usize {
        self.in_lane.get(usize::from(lane)).copied().unwrap_or(0)
    }

    /// The lane of a row.
    #[must_use]
    pub fn lane(&self, seq: Seq) -> Option<Lane> {
        self.rows.get(&seq).map(|(lane, _)| *lane)
    }

    /// The lowest seq of each lane; the highest there is where there are no rows.
    #[must_use]
    pub fn lowest(&self) -> [Seq; LANES as usize] {
        let mut lowest = [Seq::MAX; LANES as usize];
        for (seq, (lane, _)) in &self.rows {
            if let Some(of_lane) = lowest.get_mut(usize::from(*lane)) {
                *of_lane = (*of_lane).min(*seq);
            }
        }
        lowest
    }

    /// All seqs, in no order.
    pub fn seqs(&self) -> impl Iterator<Item = Seq> + '_ {
        self.rows.keys().copied()
    }
}
