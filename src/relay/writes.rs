//! The queue of changes to the outbox: one at a time, in order, marks coalesced.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::input::Write;
use crate::row::{KeyHash, Seq};

/// Rows marked in one statement. Measured: 100 costs 4 % of the throughput and a quarter more CPU, 4,000 gains
/// nothing.
const MARKS_PER_STATEMENT: usize = 1000;
/// From one statement of marks to the next, when nothing waits for it. At 500 rows a second, one by one, marks would cost
/// as many flushes of the log as the producers' commits, and hold those up.
const MARK_PAUSE: Duration = Duration::from_millis(10);
/// Until rows that somebody else has locked are tried again.
const LOCKED_PAUSE: Duration = Duration::from_millis(500);

/// A write, and the keys it holds.
#[derive(Debug)]
pub struct Pending {
    /// The write.
    pub write: Write,
    /// Keys that must count as held until it is done.
    pub keys: Vec<KeyHash>,
}

/// Writes waiting and under way.
#[derive(Debug, Default)]
pub struct Writes {
    queue: VecDeque<Pending>,
    under_way: Option<Under>,
    next_mark: Option<Instant>,
    /// Rows that somebody else has locked, whether any may be a head, and when to try to mark them again.
    locked: Vec<(Seq, i32)>,
    locked_heads: bool,
    next_locked: Option<Instant>,
}

#[derive(Debug)]
struct Under {
    seqs: Vec<Seq>,
    keys: Vec<KeyHash>,
    heads: bool,
}

/// What a finished write settled.
#[derive(Debug, Default)]
pub struct Written {
    /// Its rows.
    pub seqs: Vec<Seq>,
    /// The keys it held.
    pub keys: Vec<KeyHash>,
    /// Whether it may have let held rows go or set rows waiting.
    pub moved_rows: bool,
}

impl Writes {
    /// Adds a confirmed row.
    pub fn mark(&mut self, seq: Seq, generation: i32, is_head: bool) {
        if let Some(Pending { write: Write::Mark { rows, heads }, .. }) = self.queue.back_mut()
            && *heads == is_head
            && rows.len() < MARKS_PER_STATEMENT
        {
            rows.push((seq, generation));
            return;
        }
        self.push(Write::Mark { rows: vec![(seq, generation)], heads: is_head }, Vec::new());
    }

    /// Adds any other write; to the last one waiting, where both can be one statement. A thousand rows that fail together
    /// cost one, then, and hold up the marks behind them no longer than that.
    pub fn push(&mut self, write: Write, keys: Vec<KeyHash>) {
        let Some(last) = self.queue.back_mut() else {
            return self.queue.push_back(Pending { write, keys });
        };
        // Two rows of a key in one statement would leave it open which of them is the head.
        let apart = keys.iter().any(|key| last.keys.contains(key));
        let room = last.keys.len() < MARKS_PER_STATEMENT && last.write.seqs().count() < MARKS_PER_STATEMENT;
        match (&mut last.write, write) {
            (Write::Reschedule(fence, rows), Write::Reschedule(other, more))
                if *fence == other && !apart && room =>
            {
                rows.extend(more);
            }
            (Write::MarkDead(fence, rows), Write::MarkDead(other, more))
                if *fence == other && !apart && room =>
            {
                rows.extend(more);
            }
            // Of these the lowest is the head, and the others are held behind it.
            (Write::Pause(fence, rows), Write::Pause(other, more)) if *fence == other && room => {
                rows.extend(more);
            }
            (Write::Hold(fence, seqs), Write::Hold(other, more))
            | (Write::Defer(fence, seqs), Write::Defer(other, more))
                if *fence == other && room =>
            {
                seqs.extend(more);
            }
            (_, write) => return self.queue.push_back(Pending { write, keys }),
        }
        last.keys.extend(keys);
    }

    /// The next write, unless one is under way. Marks that nothing waits for gather for a while, but not in a `hurry`.
    pub fn next(&mut self, now: Instant, hurry: bool) -> Option<Write> {
        if self.under_way.is_some() {
            return None;
        }
        if self.next_locked.take_if(|at| now >= *at).is_some() {
            let (rows, heads) = (std::mem::take(&mut self.locked), std::mem::take(&mut self.locked_heads));
            self.queue.push_back(Pending { write: Write::Mark { rows, heads }, keys: Vec::new() });
        }
        if !hurry && self.gathered_at().is_some_and(|at| now < at) {
            return None;
        }
        let Pending { write, keys } = self.queue.pop_front()?;
        let heads = !matches!(write, Write::Mark { heads: false, .. });
        if !heads {
            self.next_mark = Some(now + MARK_PAUSE);
        }
        self.under_way = Some(Under { seqs: write.seqs().collect(), keys, heads });
        Some(write)
    }

    /// Rows of the mark under way that somebody else has locked: later, and with nothing behind them.
    pub fn postpone(&mut self, now: Instant, rows: Vec<(Seq, i32)>, heads: bool) {
        if rows.is_empty() {
            return;
        }
        self.locked.extend(rows);
        self.locked_heads |= heads;
        self.next_locked = Some(now + LOCKED_PAUSE);
    }

    /// The lanes go: whoever has them next may fail a row before its mark is written, and hold its key for it.
    pub fn doubt_heads(&mut self) {
        for pending in &mut self.queue {
            if let Write::Mark { heads, .. } = &mut pending.write {
                *heads = true;
            }
        }
        self.locked_heads = true;
    }

    /// Rows that somebody else has locked: they stay in memory, whatever else goes.
    pub fn locked(&self) -> impl Iterator<Item = Seq> + '_ {
        self.locked.iter().map(|(seq, _)| *seq)
    }

    /// When there will be something to write, if nothing comes before: marks that gather, or rows that were locked.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        if self.under_way.is_some() {
            return None;
        }
        self.gathered_at().into_iter().chain(self.next_locked).min()
    }

    fn gathered_at(&self) -> Option<Instant> {
        match self.queue.front()? {
            Pending { write: Write::Mark { rows, heads: false }, .. }
                if self.queue.len() == 1 && rows.len() < MARKS_PER_STATEMENT =>
            {
                self.next_mark
            }
            _ => None,
        }
    }

    /// Whether no write waits or is under way that holds a key, lets one go or sets a row waiting.
    #[must_use]
    pub fn moves_nothing(&self) -> bool {
        self.under_way.as_ref().is_none_or(|under| !under.heads)
            && self.queue.iter().all(|one| matches!(one.write, Write::Mark { heads: false, .. }))
    }

    /// The write under way is done.
    pub fn written(&mut self) -> Written {
        self.under_way
            .take()
            .map(|under| Written { seqs: under.seqs, keys: under.keys, moved_rows: under.heads })
            .unwrap_or_default()
    }

    /// How many statements are left to write, the one under way included.
    #[must_use]
    pub fn statements(&self) -> usize {
        self.queue.len() + usize::from(self.under_way.is_some())
    }

    /// Whether nothing is left to write.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.under_way.is_none() && self.locked.is_empty()
    }
}
