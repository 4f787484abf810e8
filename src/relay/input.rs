//! What the engine is told, and what it asks for.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::floors::{Floors, Numbering};
use crate::{
    pause::PauseId,
    publisher::{ChannelFailure, Outcome},
    reason::{DeadReason, RetryReason},
    row::{Lane, Row, Seq, Token},
};

/// The lanes a relay holds, with their fencing tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fence {
    /// Lanes, ascending.
    pub lanes: Vec<Lane>,
    /// The token of each.
    pub tokens: Vec<Token>,
}

impl IntoIterator for Fence {
    type Item = (Lane, Token);
    type IntoIter = std::iter::Zip<std::vec::IntoIter<Lane>, std::vec::IntoIter<Token>>;

    fn into_iter(self) -> Self::IntoIter {
        self.lanes.into_iter().zip(self.tokens)
    }
}

impl FromIterator<(Lane, Token)> for Fence {
    fn from_iter<T: IntoIterator<Item = (Lane, Token)>>(lanes: T) -> Self {
        let (lanes, tokens) = lanes.into_iter().collect::<BTreeMap<_, _>>().into_iter().unzip();
        Self { lanes, tokens }
    }
}

/// A look at the outbox. One is under way at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    /// Ready rows with `after < seq <= until`, in order; and afterwards a [`Look`] at who is writing.
    Ready {
        /// Exclusive lower bound.
        after: Seq,
        /// Inclusive upper bound; `None` for no bound: new rows as well.
        until: Option<Seq>,
        /// Whether any key may be held, so that the query need not look when none is.
        keys_held: bool,
        /// The look may be left out while the sequence stands here; `None`: it may not.
        unless_at: Option<Seq>,
    },
    /// Waiting rows whose time has come, and when the next one's will.
    Due {
        /// Only those whose time came so long ago at most; `None`: all.
        within: Option<Duration>,
    },
    /// Held rows of keys that are being released; forgets keys that are done.
    Released {
        /// Whether to look for all rows of such keys, and not only behind [`ScanRequest::queued`].
        whole: bool,
    },
}

/// Where the sequence stands, and then who is writing: read after the rows that come with it, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The sequence's value; 0 for one that was never used.
    pub last_value: Seq,
    /// The virtual transaction ids of those who hold a writer's lock on the table.
    pub writers: Vec<String>,
    /// Which file the sequence is in: another one, and it began again.
    pub numbering: Numbering,
}

/// A scan and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRequest {
    /// What to look for.
    pub scan: Scan,
    /// In which lanes.
    pub mask: i32,
    /// Rows relay has already.
    pub exclude: Vec<Seq>,
    /// [`Scan::Released`]: rows that are published apart. What is held of their keys stays held, or it would be read again
    /// and again for want of room, in place of what others have.
    pub behind: Vec<Seq>,
    /// [`Scan::Released`]: of each key of which many held rows are in memory, the first that waits there, and one in front of it
    /// if that was held since.
    pub queued: Vec<Seq>,
    /// At most so many rows; none: this is only about whether the scan can be carried out.
    pub rows: usize,
    /// Stop after so many bytes of rows.
    pub bytes: usize,
}

/// What a scan found.
#[derive(Debug)]
pub struct Found<B> {
    /// The rows, in the scan's order.
    pub rows: Vec<Row<B>>,
    /// Whether there may be more: a limit cut the scan short.
    pub cut: bool,
    /// [`Scan::Due`]: how long until the next waiting row is due, if any waits.
    pub next_due: Option<Duration>,
    /// [`Scan::Released`]: whether any key of these lanes is held, and whether any is being released.
    pub keys: Option<Keys>,
    /// [`Scan::Ready`]: the look after it, if one was taken.
    pub look: Option<Look>,
}

/// What a [`Scan::Released`] says of the held keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// A key is held, for whatever reason.
    pub held: bool,
    /// A key has held rows on their way.
    pub releasing: bool,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input<B> {
    /// Leases were taken or renewed: these lanes are ours until then.
    Leased {
        /// All lanes held now.
        fence: Fence,
        /// Those of them that other relays are to have: [`Command::Release`] follows when nothing of theirs is under way.
        give: Vec<Lane>,
        /// What was left with them.
        floors: Floors,
        /// Not to be published for past this, by our own monotonic clock.
        until: Instant,
    },
    /// A notification, or anything else that says: look now.
    Woken,
    /// The answer to [`Command::Scan`].
    Scanned(Found<B>),
    /// The scan failed; the reason was logged where it happened. Ask again after `retry`.
    ScanFailed {
        /// How long to wait.
        retry: Duration,
        /// Whether the other kinds of scan are to wait as well: there is no connection.
        all: bool,
    },
    /// The answer to [`Command::Publish`].
    Published {
        /// Which publisher.
        publisher: usize,
        /// The batch with its outcomes.
        rows: Vec<(Row<B>, Outcome)>,
        /// Why the channel ended, if it did.
        failure: Option<ChannelFailure>,
    },
    /// The answer to [`Command::Quarantine`].
    Quarantined(Row<B>, Outcome),
    /// The answer to [`Command::Bury`]: what became of its dead letter.
    Buried(Row<B>, Death, Outcome),
    /// The answer to [`Command::Write`].
    Written,
    /// The answer to a [`Write::Mark`] of which some rows could not be marked yet: somebody else has them locked.
    WrittenInPart {
        /// Those rows.
        left: Vec<(Seq, i32)>,
        /// Whether they head held keys.
        heads: bool,
    },
    /// The publishing session is up, its objects verified.
    BrokerUp,
    /// The publishing session is gone.
    BrokerDown,
    /// The broker stopped taking messages (an alarm), or takes them again.
    BrokerBlocked(bool),
    /// An operator paused everything, or ended that.
    Paused(bool),
    /// The answer to [`Command::Sleep`]: whether every lane's sleep lock is held.
    Asleep(bool),
    /// Whether notifications are known to arrive. Without, sleep is only a longer poll.
    Wakeable(bool),
    /// A deadline passed.
    Tick,
    /// Finish what is under way and stop.
    Drain,
}

/// A verdict on a row that can't be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Why.
    pub reason: DeadReason,
    /// What exactly went wrong.
    pub error: String,
    /// Attempts to charge with it: 1 if the last attempt's failure isn't recorded yet.
    pub charge: u32,
}

/// A failed row, to be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reschedule {
    /// Which row.
    pub seq: Seq,
    /// Which version of it.
    pub generation: i32,
    /// Why.
    pub reason: RetryReason,
    /// Its attempts from now on. Not a difference, so that writing it twice charges once.
    pub attempts: u32,
    /// How long to wait, on the database's clock.
    pub delay: Duration,
    /// What went wrong.
    pub error: String,
    /// Whether it is to be tried apart.
    pub suspect: bool,
}

/// A row whose turn has come, and that an operator's pause is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Which row.
    pub seq: Seq,
    /// Which version of it.
    pub generation: i32,
    /// The pause.
    pub pause: PauseId,
    /// Whether it is to be tried apart, when it is tried again.
    pub suspect: bool,
}

/// A dead row whose letter is confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Burial {
    /// Which row.
    pub seq: Seq,
    /// Which version of it.
    pub generation: i32,
    /// Its attempts from now on.
    pub attempts: u32,
    /// The verdict.
    pub death: Death,
}

/// A change to the outbox. Carried out one after the other, in the order given, each until it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Confirmed rows: `(seq, generation)`. `heads` head a held key, which this releases.
    Mark {
        /// Rows to mark.
        rows: Vec<(Seq, i32)>,
        /// Whether they head held keys.
        heads: bool,
    },
    /// Failed rows; each holds its key.
    Reschedule(Fence, Vec<Reschedule>),
    /// Rows that wait for a pause to end; each holds its key.
    Pause(Fence, Vec<Paused>),
    /// Rows that wait behind their key's head.
    Hold(Fence, Vec<Seq>),
    /// Rows that are not due yet.
    Defer(Fence, Vec<Seq>),
    /// Dead rows.
    MarkDead(Fence, Vec<Burial>),
}

impl Write {
    /// The rows it settles.
    pub fn seqs(&self) -> Box<dyn Iterator<Item = Seq> + '_> {
        match self {
            Self::Mark { rows, .. } => Box::new(rows.iter().map(|(seq, _)| *seq)),
            Self::Reschedule(_, rows) => Box::new(rows.iter().map(|row| row.seq)),
            Self::Pause(_, rows) => Box::new(rows.iter().map(|row| row.seq)),
            Self::Hold(_, seqs) | Self::Defer(_, seqs) => Box::new(seqs.iter().copied()),
            Self::MarkDead(_, rows) => Box::new(rows.iter().map(|row| row.seq)),
        }
    }
}

/// Something to do.
#[derive(Debug)]
#[must_use = "a command that is dropped is work that is lost"]
pub enum Command<B> {
    /// Look at the outbox.
    Scan(ScanRequest),
    /// Publish a batch; at most one a publisher is under way, and it holds one row of a key at most.
    Publish {
        /// Which publisher, below [`super::engine::Settings::publishers`].
        publisher: usize,
        /// The rows.
        rows: Vec<Row<B>>,
    },
    /// Publish this one apart: it, or one that was with it, closed its channel, and only that shall be charged. One is under
    /// way at a time.
    Quarantine(Row<B>),
    /// Publish this row's dead letter. One is under way at a time.
    Bury(Row<B>, Death),
    /// Change the outbox; one is under way at a time.
    Write(Write),
    /// Leave these with the lanes, when they are renewed or given back next.
    Floors(Floors),
    /// Give these lanes back: none of their rows is in memory.
    Release(Fence),
    /// Try to take the sleep locks of these lanes, all or none.
    Sleep(Vec<Lane>),
    /// Give the sleep locks back.
    Wake,
    /// All is settled: end.
    Stop,
}
