//! An outbox row as the engine sees it: what decides its way, and a body the engine never looks into.

use std::time::Duration;

use crate::{named::named, reason::DeadReason};

/// A row's place in the outbox; the order within its aggregate key.
pub type Seq = i64;

/// One of the parts by which relays share an outbox. An aggregate key is in the same lane for ever.
pub type Lane = u8;

/// How many lanes there are. Fixed by the schema's generated column.
pub const LANES: u8 = 32;

/// Fencing token of a lane's lease: rises with every change of owner.
pub type Token = i64;

/// A hash of the aggregate key. Two keys that share one are merely kept in order with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// The hash of an aggregate key. Stable within a process, which is all it is used for.
    #[must_use]
    pub fn of(aggregate_type: &str, aggregate_id: &str) -> Self {
        use std::hash::{Hash, Hasher};
        let mut hasher = rustc_hash::FxHasher::default();
        aggregate_type.hash(&mut hasher);
        aggregate_id.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// By which scan a row came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was ready.
    Ready,
    /// It was waiting, and its time had come.
    Due,
    /// It was held, and its key was released.
    Released,
}

/// Why a row can't be published however often it is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// Which rule it breaks.
    pub reason: DeadReason,
    /// What exactly is wrong, without the payload.
    pub error: String,
}

/// An unfinished row that relay owns for the moment.
#[derive(Debug, Clone)]
pub struct Row<B> {
    /// Place in the outbox.
    pub seq: Seq,
    /// Which version of the row this is; see the schema.
    pub generation: i32,
    /// Its lane.
    pub lane: Lane,
    /// Its aggregate key.
    pub key: KeyHash,
    /// Which scan found it.
    pub origin: Origin,
    /// Whether `available_at` has passed.
    pub due: bool,
    /// The head its key is held behind, if the key was held when the row was read.
    pub key_head: Option<Seq>,
    /// Attempts charged so far.
    pub attempts: u32,
    /// It closed a channel, or may have: it is tried apart, so that it costs no neighbour its channel again.
    pub suspect: bool,
    /// What it costs in memory, for the in-flight limit.
    pub bytes: usize,
    /// Set when the row must not reach a channel.
    pub poison: Option<Box<Poison>>,
    /// What to publish; opaque to the engine.
    pub body: B,
}

impl<B> Row<B> {
    /// Whether this is the row that its key is held behind.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.key_head == Some(self.seq)
    }
}

/// The lanes a relay owns, as the bit mask the queries take.
#[must_use]
pub fn lane_mask(lanes: impl IntoIterator<Item = Lane>) -> i32 {
    lanes.into_iter().fold(0_i32, |mask, lane| mask | 1_i32.wrapping_shl(u32::from(lane)))
}

named! {
    /// What a row is that nobody needs any more, once it is old.
    Finished, "kind of finished row" {
        /// The broker has it.
        Published = "published",
        /// It died, and an operator said that nothing more is to be done about it.
        Discarded = "discarded",
        /// It died, and nobody has dealt with it.
        Dead = "dead",
    }
}

/// A duration in whole microseconds, the unit in which delays go to the database.
#[must_use]
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
