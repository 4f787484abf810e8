//! Lanes that come and go, and what becomes of the rows in memory.

use std::time::Instant;

use super::{Engine, Lease, UnderWay};
use crate::{
    relay::{
        floors::Floors,
        input::{Command, Fence},
        stragglers::Stragglers,
    },
    row::{LANES, Lane, Row, Seq, lane_mask},
};

/// A mask of every lane.
pub(super) const ALL: i32 = -1;

impl<B> Engine<B> {
    pub(super) fn leased(
        &mut self,
        now: Instant,
        fence: Fence,
        give: &[Lane],
        floors: &Floors,
        until: Instant,
        commands: &mut Vec<Command<B>>,
    ) {
        // Asked before they were given back.
        let fence: Fence =
            fence.into_iter().filter(|(lane, token)| self.given.get(lane) != Some(token)).collect();
        let before = self.lease.take().filter(|lease| lease.fence == fence);
        if before.is_none() {
            // The sleep locks are those of other lanes.
            self.wake(commands);
        }
        if fence.lanes.is_empty() {
            self.lost();
            return;
        }
        if before.is_none() {
            self.floors.take(&fence, floors);
        }
        let mask = lane_mask(fence.lanes.iter().copied());
        let giving = if self.draining { mask } else { before.as_ref().map_or(0, |lease| lease.giving) };
        self.lease = Some(Lease { fence, mask, giving, until });
        if before.is_none() {
            self.restart(now);
        }
        self.give(now, lane_mask(give.iter().copied()), commands);
    }

    /// Begins to give these lanes away, and no others: their rows that were not handed out yet are dropped, and nothing
    /// of theirs is read.
    fn give(&mut self, now: Instant, wanted: i32, commands: &mut Vec<Command<B>>) {
        let held_up = self.held_up();
        if self.draining {
            return;
        }
        // The floors of those that begin to be given away move no more.
        self.raise_floors(commands);
        let Some(lease) = self.lease.as_mut() else { return };
        let wanted = wanted & lease.mask;
        let (begin, back) = (wanted & !lease.giving & !held_up, lease.giving & !wanted);
        lease.giving = (lease.giving | begin) & !back;
        if back != 0 {
            // What was dropped of them, or passed by, is to be read after all.
            self.restart(now);
        }
        if begin != 0 {
            self.wake(commands);
            self.drop_queued(begin);
        }
    }

    /// Lanes of which something may be in memory for long: a row somebody else has locked, one that is published apart. Until
    /// that is over they had better go on here than wait.
    fn held_up(&self) -> i32 {
        let apart = self.apart.quarantining.into_iter().chain(self.apart.burying);
        lane_mask(self.writes.locked().chain(apart).filter_map(|seq| self.known.lane(seq)))
    }

    /// Lets go of the lanes to be given away that have no row in memory any more.
    pub(super) fn proceed_giving(&mut self, commands: &mut Vec<Command<B>>) {
        let Some(lease) = self.lease.as_mut().filter(|lease| lease.giving != 0) else { return };
        let fence = std::mem::take(&mut lease.fence);
        let (go, stay): (Vec<_>, Vec<_>) = fence
            .into_iter()
            .partition(|(lane, _)| lease.giving & lane_mask([*lane]) != 0 && self.known.in_lane(*lane) == 0);
        lease.fence = stay.into_iter().collect();
        if go.is_empty() {
            return;
        }
        let gone = lane_mask(go.iter().map(|(lane, _)| *lane));
        (lease.mask, lease.giving) = (lease.mask & !gone, lease.giving & !gone);
        self.given.extend(go.iter().copied());
        commands.push(Command::Release(go.into_iter().collect()));
        if lease.mask == 0 {
            self.lost();
        }
    }

    /// Lanes whose rows are read and sent.
    pub(super) fn fed(&self) -> i32 {
        self.lease.as_ref().map_or(0, |lease| lease.mask & !lease.giving)
    }

    /// Says up to where the lanes that are fed are done.
    pub(super) fn raise_floors(&mut self, commands: &mut Vec<Command<B>>) {
        let fed = self.fed();
        let lanes = (0..LANES).filter(|lane| fed & lane_mask([*lane]) != 0);
        if self.floors.raise(lanes, self.ceiling, &self.known.lowest()) {
            commands.push(Command::Floors(self.floors.clone()));
        }
    }

    pub(super) fn lost(&mut self) {
        self.lease = None;
        self.ceiling = 0;
        self.writes.doubt_heads();
        self.drop_queued(ALL);
    }

    /// The lanes changed hands: what was fetched under the old lease is void, and the scan begins anew.
    pub(super) fn restart(&mut self, now: Instant) {
        self.drop_queued(ALL);
        if let UnderWay::Scan { stale, .. } = &mut self.under_way {
            *stale = true;
        }
        self.writes.doubt_heads();
        self.known_until = self.known.seqs().max().unwrap_or(0);
        self.old_writes = self.writes.statements();
        self.cursor = 0;
        self.settled = self.floors.lowest();
        self.sweeping = None;
        self.stragglers = Stragglers::above(self.settled, self.floors.numbering);
        self.ceiling = 0;
        self.caught_up = false;
        self.ready_until = None;
        self.due_since = None;
        self.keys_held = true;
        self.pace.restart(now);
    }

    /// Forgets every row of these lanes that was not handed to a publisher yet. They are still in the outbox.
    pub(super) fn drop_queued(&mut self, lanes: i32) {
        let of = |row: &Row<B>| lanes & lane_mask([row.lane]) != 0;
        let (fresh, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.fresh).into_iter().partition(of);
        self.fresh = rest;
        for row in self.keys.take_pending(of).into_iter().chain(fresh) {
            self.forget(row.seq);
        }
        let mut turned = self.apart.take(lanes);
        for publisher in &mut self.publishers {
            let (gone, rest): (Vec<_>, Vec<_>) =
                std::mem::take(&mut publisher.queue).into_iter().partition(of);
            publisher.queue = rest.into();
            turned.extend(gone);
        }
        for row in turned {
            self.drop_row(&row);
        }
    }

    /// Forgets a row whose turn had come; nothing is behind it, or must be.
    pub(super) fn drop_row(&mut self, row: &Row<B>) {
        for behind in self.keys.fail(row.key) {
            self.forget(behind.seq);
        }
        self.forget(row.seq);
    }

    pub(super) fn forget(&mut self, seq: Seq) {
        self.known.forget(seq);
    }
}
