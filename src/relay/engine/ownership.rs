//! Lanes that come and go, and what becomes of the rows in memory.

use std::time::Instant;

use super::{Engine, Lease, UnderWay};
use crate::{
    relay::{
        input::{Command, Fence},
        stragglers::Stragglers,
    },
    row::{Row, Seq, lane_mask},
};

impl<B> Engine<B> {
    pub(super) fn leased(
        &mut self,
        now: Instant,
        fence: Fence,
        until: Instant,
        commands: &mut Vec<Command<B>>,
    ) {
        let kept = self.lease.take().is_some_and(|lease| lease.fence == fence);
        if !kept {
            // The sleep locks are those of other lanes.
            self.wake(commands);
        }
        if fence.lanes.is_empty() {
            self.lost();
            return;
        }
        let mask = lane_mask(fence.lanes.iter().copied());
        self.lease = Some(Lease { fence, mask, until });
        if !kept {
            self.restart(now);
        }
    }

    pub(super) fn lost(&mut self) {
        self.lease = None;
        self.writes.doubt_heads();
        self.drop_queued();
    }

    /// The lanes changed hands: what was fetched under the old lease is void, and the scan begins anew.
    pub(super) fn restart(&mut self, now: Instant) {
        self.drop_queued();
        if let UnderWay::Scan { stale, .. } = &mut self.under_way {
            *stale = true;
        }
        self.writes.doubt_heads();
        self.known_until = self.known.keys().copied().max().unwrap_or(0);
        self.old_writes = self.writes.statements();
        self.cursor = 0;
        self.settled = 0;
        self.stragglers = Stragglers::default();
        self.caught_up = false;
        self.ready_until = None;
        self.keys_held = true;
        self.pace.restart(now);
    }

    /// Forgets every row that was not handed to a publisher yet. They are still in the outbox.
    pub(super) fn drop_queued(&mut self) {
        for row in self.keys.clear_pending().into_iter().chain(std::mem::take(&mut self.fresh)) {
            self.forget(row.seq);
        }
        let mut turned: Vec<_> = self.apart.take_all().collect();
        for publisher in &mut self.publishers {
            turned.extend(publisher.queue.drain(..));
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
        if let Some(bytes) = self.known.remove(&seq) {
            self.bytes -= bytes;
        }
    }
}
