//! From where a lane's next owner may begin to look.
//!
//! A scan from the very first row steps over a dead index entry of every row that was published since the oldest snapshot
//! somebody holds: about half a second for a million of them, and whoever starts, takes over or is given lanes has nothing
//! of its own to know better by. So owners leave a floor with each lane: **no row of this lane at or below it is ready, and
//! none ever will be.**
//!
//! Why it stays true, whoever owns the lane afterwards:
//!
//! - A row becomes ready by its insert alone. Replays make rows waiting or held, and so does everything else that brings a
//!   row back; those are found through other indexes. So does every older version of relay, which knows of no floors.
//! - No insert can come to light there any more: every transaction that was writing when the floor was found is known to have
//!   all its rows above it, and so has every later one. See [`super::stragglers`].
//!
//! Why it is true: what was ready at or below it had been read by then (`settled`, in the engine), and is still in memory,
//! which keeps the floor below it, or was settled by a write. A row that left memory otherwise is of a lane to be given away,
//! whose floor does not move any more, or of a relay that lost its lease; that finds no floor until it has scanned anew. A
//! write that changed nothing, because the lane had gone to another, was made under a token that is no longer the lane's,
//! and under that token no floor is taken either. Clocks have no part in it.
//!
//! What it can't bear is a sequence that begins again. So a floor is worth nothing above the sequence's value, or under
//! another numbering: a sequence that is restarted, or truncated with its table, or restored, is another file of the
//! database's.

use std::collections::BTreeMap;

use super::input::Fence;
use crate::row::{LANES, Lane, Seq, Token};

/// Which file the sequence is in: changes when it is restarted. 0: not known.
pub type Numbering = i64;

/// The floors of lanes, each under the token under which it was found. Those at 0 say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Floors {
    /// For which seqs they are meant.
    pub numbering: Numbering,
    /// Each lane's.
    pub lanes: BTreeMap<Lane, (Token, Seq)>,
}

impl Floors {
    /// Other lanes are owned from now on: those that stay keep their floor, the others have what was left with them.
    pub fn take(&mut self, fence: &Fence, left: &Self) {
        if left.numbering != 0 && left.numbering != self.numbering {
            *self = Self { numbering: left.numbering, lanes: BTreeMap::new() };
        }
        let of = |floors: &BTreeMap<Lane, (Token, Seq)>, lane, token| {
            floors.get(&lane).filter(|(of, _)| *of == token).map(|(_, floor)| *floor)
        };
        let held = fence.lanes.iter().zip(&fence.tokens);
        let floors = held.map(|(lane, token)| {
            let own = of(&self.lanes, *lane, *token);
            let floor = own.or_else(|| of(&left.lanes, *lane, *token).filter(|_| left.numbering != 0));
            (*lane, (*token, floor.unwrap_or(0)))
        });
        self.lanes = floors.collect();
    }

    /// Below all that may be ready in any of the lanes.
    #[must_use]
    pub fn lowest(&self) -> Seq {
        self.lanes.values().map(|(_, floor)| *floor).min().unwrap_or(0)
    }

    /// Nothing at or below `ceiling` is ready in these lanes, but for what is in memory: the lowest seq of each lane.
    /// Returns whether any floor is higher now.
    pub fn raise(
        &mut self,
        lanes: impl IntoIterator<Item = Lane>,
        ceiling: Seq,
        memory: &[Seq; LANES as usize],
    ) -> bool {
        let mut raised = false;
        for lane in lanes {
            let Some((_, floor)) = self.lanes.get_mut(&lane) else { continue };
            let lowest = memory.get(usize::from(lane)).copied().unwrap_or(0);
            let found = ceiling.min(lowest.saturating_sub(1));
            raised |= found > *floor;
            *floor = found.max(*floor);
        }
        raised
    }

    /// The sequence began again, or is another one: nothing holds any more. Returns whether anything did.
    pub fn void(&mut self, numbering: Numbering) -> bool {
        let held = self.lanes.values().any(|(_, floor)| *floor != 0);
        self.numbering = numbering;
        self.lanes.values_mut().for_each(|(_, floor)| *floor = 0);
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [Seq; LANES as usize] = [Seq::MAX; LANES as usize];

    fn fence(lanes: &[(Lane, Token)]) -> Fence {
        lanes.iter().copied().collect()
    }

    fn left(numbering: Numbering, lanes: &[(Lane, Token, Seq)]) -> Floors {
        let lanes = lanes.iter().map(|(lane, token, floor)| (*lane, (*token, *floor)));
        Floors { numbering, lanes: lanes.collect() }
    }

    #[test]
    fn a_lane_that_stays_keeps_its_floor_and_another_has_what_was_left_with_it() {
        let mut floors = Floors::default();
        floors.take(&fence(&[(1, 7), (2, 7)]), &left(3, &[(1, 7, 50), (2, 7, 60)]));
        assert_eq!(floors.lowest(), 50);
        assert!(floors.raise([1, 2], 100, &NOTHING));
        floors.take(&fence(&[(1, 7), (3, 4)]), &left(3, &[(1, 7, 50), (3, 4, 90)]));
        assert_eq!(floors, left(3, &[(1, 7, 100), (3, 4, 90)]));
    }

    #[test]
    fn a_floor_of_another_token_or_numbering_is_not_taken() {
        let mut floors = Floors::default();
        floors.take(&fence(&[(1, 8)]), &left(3, &[(1, 7, 50)]));
        assert_eq!(floors.lowest(), 0);
        floors.raise([1], 100, &NOTHING);
        floors.take(&fence(&[(1, 8), (2, 1)]), &left(4, &[(2, 1, 9)]));
        assert_eq!(floors, left(4, &[(1, 8, 0), (2, 1, 9)]), "its own are of the old one");
    }

    #[test]
    fn a_floor_stays_below_what_is_in_memory_and_moves_in_the_lanes_named_alone() {
        let mut floors = Floors::default();
        floors.take(&fence(&[(1, 1), (2, 1), (3, 1)]), &left(1, &[]));
        let mut memory = NOTHING;
        memory[2] = 41;
        assert!(floors.raise([1, 2], 100, &memory));
        assert_eq!(floors, left(1, &[(1, 1, 100), (2, 1, 40), (3, 1, 0)]));
        assert!(!floors.raise([1, 2], 30, &memory), "it never falls");
        assert_eq!(floors.lowest(), 0, "a lane without a floor is gone through from the first row");
        assert!(floors.void(2) && !floors.void(2));
    }
}
