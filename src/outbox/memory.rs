//! The outbox in memory: the twin of the tables and of every statement in `sql/queries`, for simulations and tests.
//!
//! It does what the SQL does and nothing more, one statement at a time: the same guards (lane tokens, generation,
//! `published_at`, `dead_at`), the same order, the same entries in `held_keys`. A producer's row gets its seq when it is
//! inserted and is seen when its transaction commits, so lower seqs appear late here as they do there. It has no clock:
//! the database's time is what [`MemoryOutbox::set_clock`] says.
//!
//! Not modelled: payloads (a row carries a ready-made `Row::poison` and body), keys longer than 255 bytes, which are
//! never held, and pruning.

mod writes;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    pause::PauseId,
    reason::DeadReason,
    relay::{
        floors::{Floors, Numbering},
        input::{Fence, Found, Keys, Look, Scan, ScanRequest},
    },
    row::{KeyHash, LANES, Lane, Origin, Poison, Row, Seq, Token, lane_mask, micros},
};

/// A point on the database's clock, in microseconds.
pub type DbTime = i64;
/// A relay, as `relay.lanes.owner` names it.
pub type Owner = u64;
/// A producer's transaction.
pub type Writer = u64;

/// Rows of one key that one turn of releasing fetches, as in the scanner.
const RELEASED_PER_KEY: usize = 64;
/// Keys that one turn of releasing looks at, as in `scan_released.sql`.
const RELEASED_KEYS: usize = 1000;

/// What a producer inserts.
#[derive(Debug, Clone)]
pub struct NewRow<B> {
    /// Its aggregate key.
    pub key: KeyHash,
    /// The key's lane.
    pub lane: Lane,
    /// Not to be published before; `None` for at once.
    pub available_at: Option<DbTime>,
    /// What it costs in memory.
    pub bytes: usize,
    /// What its envelope would say.
    pub poison: Option<Poison>,
    /// What to publish.
    pub body: B,
}

/// The column `state` of an unfinished row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Found by seq.
    Ready,
    /// Found by when it is due.
    Waiting,
    /// Found by its key.
    Held,
}

/// A row of `relay.outbox`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table, under their names")]
pub struct Stored<B> {
    pub row: NewRow<B>,
    pub state: State,
    pub available_at: DbTime,
    pub attempts: u32,
    pub generation: i32,
    pub last_error: Option<String>,
    pub suspect: bool,
    pub first_failed_at: Option<DbTime>,
    pub published_at: Option<DbTime>,
    pub dead_at: Option<DbTime>,
    pub dead_reason: Option<DeadReason>,
    pub replays: u32,
    pub resolved_at: Option<DbTime>,
}

impl<B> Stored<B> {
    /// Neither published nor dead.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.published_at.is_none() && self.dead_at.is_none()
    }
}

/// The column `reason` of a held key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// The head failed and is due again.
    Retrying,
    /// The head is dead and the key waits for an operator.
    Parked,
    /// The held rows are on their way.
    Releasing,
    /// The head waits for a pause to end: `parked` as well, with a `paused_by`.
    Paused,
}

/// A row of `relay.held_keys`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table, under their names")]
pub struct HeldKey {
    pub lane: Lane,
    pub head_seq: Seq,
    pub reason: Holding,
    pub due_at: Option<DbTime>,
    pub since: DbTime,
    pub paused_by: Option<PauseId>,
}

#[derive(Debug, Clone, Copy)]
struct LaneLease {
    owner: Option<Owner>,
    token: Token,
    expires_at: DbTime,
    floor: Seq,
    numbering: Numbering,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct MemoryOutbox<B> {
    now: DbTime,
    sequence: Seq,
    numbering: Numbering,
    next_writer: Writer,
    /// Rows of transactions under way.
    open: BTreeMap<Writer, Vec<(Seq, NewRow<B>)>>,
    rows: BTreeMap<Seq, Stored<B>>,
    held_keys: BTreeMap<KeyHash, HeldKey>,
    lanes: Vec<LaneLease>,
    /// `relay.pauses`. What each is about is known to whoever made it.
    pauses: BTreeSet<PauseId>,
    last_pause: PauseId,
}

impl<B> Default for MemoryOutbox<B> {
    fn default() -> Self {
        let free = LaneLease { owner: None, token: 0, expires_at: DbTime::MIN, floor: 0, numbering: 0 };
        Self {
            now: 0,
            sequence: 0,
            numbering: 1,
            next_writer: 0,
            open: BTreeMap::new(),
            rows: BTreeMap::new(),
            held_keys: BTreeMap::new(),
            lanes: vec![free; usize::from(LANES)],
            pauses: BTreeSet::new(),
            last_pause: 0,
        }
    }
}

impl<B: Clone> MemoryOutbox<B> {
    /// Sets the database's clock.
    pub fn set_clock(&mut self, now: DbTime) {
        self.now = now;
    }

    /// The table.
    #[must_use]
    pub fn rows(&self) -> &BTreeMap<Seq, Stored<B>> {
        &self.rows
    }

    /// The held keys.
    #[must_use]
    pub fn held_keys(&self) -> &BTreeMap<KeyHash, HeldKey> {
        &self.held_keys
    }

    // ---- producers --------------------------------------------------------------------------------------------

    /// Opens a transaction that will write: from here on it has its lock on the table.
    pub fn begin(&mut self) -> Writer {
        self.next_writer += 1;
        self.open.insert(self.next_writer, Vec::new());
        self.next_writer
    }

    /// Inserts a row; nobody sees it yet. `None` if there is no such transaction.
    pub fn insert(&mut self, writer: Writer, row: NewRow<B>) -> Option<Seq> {
        let rows = self.open.get_mut(&writer)?;
        self.sequence += 1;
        rows.push((self.sequence, row));
        Some(self.sequence)
    }

    /// So many seqs are used up, and nothing is left of their rows but dead entries of an index, which a scan steps over.
    pub fn skip(&mut self, seqs: Seq) {
        self.sequence += seqs;
    }

    /// Makes a transaction's rows visible and gives its lock up. (In PostgreSQL the lock goes microseconds later.)
    pub fn commit(&mut self, writer: Writer) {
        for (seq, row) in self.open.remove(&writer).unwrap_or_default() {
            // As every insert does; whoever reads a row that is not due yet makes it wait.
            let available_at = row.available_at.unwrap_or(self.now);
            let stored = Stored {
                row,
                state: State::Ready,
                available_at,
                attempts: 0,
                generation: 0,
                last_error: None,
                suspect: false,
                first_failed_at: None,
                published_at: None,
                dead_at: None,
                dead_reason: None,
                replays: 0,
                resolved_at: None,
            };
            self.rows.insert(seq, stored);
        }
    }

    /// Undoes a transaction: its rows are gone, and their seqs never come back.
    pub fn rollback(&mut self, writer: Writer) {
        self.open.remove(&writer);
    }

    // ---- lanes ------------------------------------------------------------------------------------------------

    /// Takes lanes that nobody holds any more, at most so many: `lanes/acquire.sql`.
    pub fn acquire(&mut self, owner: Owner, lease: Duration, at_most: usize) {
        let now = self.now;
        for lane in self.lanes.iter_mut().filter(|lane| lane.expires_at < now).take(at_most) {
            lane.owner = Some(owner);
            lane.token += 1;
            lane.expires_at = now.saturating_add(micros(lease));
        }
    }

    /// Prolongs what is held; a lease that ran out is not revived: `lanes/renew.sql`.
    pub fn renew(&mut self, owner: Owner, lease: Duration) {
        let now = self.now;
        for lane in &mut self.lanes {
            if lane.owner == Some(owner) && lane.expires_at >= now {
                lane.expires_at = now.saturating_add(micros(lease));
            }
        }
    }

    /// Gives lanes back: `lanes/release.sql`, `relays/leave.sql`.
    pub fn release(&mut self, owner: Owner, mut which: impl FnMut(Lane, Token) -> bool) {
        for (index, lane) in (0..).zip(&mut self.lanes) {
            if lane.owner == Some(owner) && which(index, lane.token) {
                lane.owner = None;
                lane.expires_at = DbTime::MIN;
            }
        }
    }

    /// Leaves floors with lanes, as `lanes/renew.sql` and `lanes/release.sql` do.
    pub fn leave_floors(&mut self, owner: Owner, floors: &Floors) {
        for (index, lane) in (0..).zip(&mut self.lanes) {
            if let Some((token, floor)) = floors.lanes.get(&index)
                && (lane.owner, lane.token) == (Some(owner), *token)
            {
                (lane.floor, lane.numbering) = (*floor, floors.numbering);
            }
        }
    }

    /// The floors that were left with an owner's lanes: `lanes/floors.sql`.
    #[must_use]
    pub fn floors(&self, owner: Owner) -> Floors {
        let mut floors = Floors { numbering: self.numbering, ..Floors::default() };
        for (index, lane) in (0..).zip(&self.lanes) {
            let believed = lane.numbering == self.numbering && lane.floor <= self.sequence;
            if lane.owner == Some(owner) && believed {
                floors.lanes.insert(index, (lane.token, lane.floor));
            }
        }
        floors
    }

    /// A row that a floor should not be above, if there is one: ready, or yet to be committed.
    #[must_use]
    pub fn below_a_floor(&self) -> Option<Seq> {
        let ready = self.rows.iter().filter(|(_, row)| row.state == State::Ready && row.is_unfinished());
        let ready = ready.map(|(seq, row)| (*seq, row.row.lane));
        let open = self.open.values().flatten().map(|(seq, row)| (*seq, row.lane));
        let floor = |lane: Lane| {
            let lane = self.lanes.get(usize::from(lane)).filter(|lane| lane.numbering == self.numbering);
            lane.map_or(0, |lane| lane.floor)
        };
        ready.chain(open).find(|(seq, lane)| *seq <= floor(*lane)).map(|(seq, _)| seq)
    }

    /// `truncate relay.outbox restart identity`.
    pub fn truncate(&mut self) {
        self.rows.clear();
        self.open.clear();
        self.held_keys.clear();
        self.sequence = 0;
        self.numbering += 1;
    }

    /// The lanes whose lease runs, and their tokens.
    #[must_use]
    pub fn leases(&self, owner: Owner) -> Fence {
        let mut fence = Fence::default();
        for (index, lane) in (0..).zip(&self.lanes) {
            if lane.owner == Some(owner) && lane.expires_at >= self.now {
                fence.lanes.push(index);
                fence.tokens.push(lane.token);
            }
        }
        fence
    }

    /// The CTE `fence` of every fenced statement: lanes that are this owner's, under the tokens it knows.
    fn fenced(&self, owner: Owner, fence: &Fence) -> BTreeSet<Lane> {
        let mine = |(lane, token): &(&Lane, &Token)| {
            let lease = self.lanes.get(usize::from(**lane));
            lease.is_some_and(|lease| lease.owner == Some(owner) && lease.token == **token)
        };
        fence.lanes.iter().zip(&fence.tokens).filter(mine).map(|(lane, _)| *lane).collect()
    }

    // ---- scans ------------------------------------------------------------------------------------------------

    /// Where the sequence stands; the first half of a [`Look`].
    #[must_use]
    pub fn last_value(&self) -> Seq {
        self.sequence
    }

    /// Which file the sequence is in.
    #[must_use]
    pub fn numbering(&self) -> Numbering {
        self.numbering
    }

    /// Who holds a writer's lock; the other half, read a moment later.
    #[must_use]
    pub fn writers(&self) -> Vec<String> {
        self.open.keys().map(|writer| format!("3/{writer}")).collect()
    }

    /// Carries out a scan, as the scanner does, and takes the look after it. Closes released keys on the way.
    pub fn scan(&mut self, request: &ScanRequest) -> Found<B> {
        let mut found = self.scan_rows(request);
        if self.wants_look(request) {
            let (last_value, writers) = (self.last_value(), self.writers());
            found.look = Some(Look { last_value, writers, numbering: self.numbering });
        }
        found
    }

    /// Whether a scan wants a look after it, as things are now.
    #[must_use]
    pub fn wants_look(&self, request: &ScanRequest) -> bool {
        matches!(request.scan, Scan::Ready { unless_at, .. } if unless_at != Some(self.sequence))
    }

    /// A scan without its look.
    pub fn scan_rows(&mut self, request: &ScanRequest) -> Found<B> {
        let mut found = Found { rows: Vec::new(), cut: false, next_due: None, keys: None, look: None };
        let mine = |lane: Lane| lane_mask([lane]) & request.mask != 0;
        let excluded: BTreeSet<Seq> = request.exclude.iter().copied().collect();
        let wanted = |seq: &Seq, row: &Stored<B>, state: State| {
            row.state == state && row.is_unfinished() && mine(row.row.lane) && !excluded.contains(seq)
        };
        let seqs: Vec<Seq> = match &request.scan {
            Scan::Ready { after, until, .. } => {
                let in_range = |seq: &Seq| seq > after && until.is_none_or(|until| *seq <= until);
                let ready =
                    self.rows.iter().filter(|(seq, row)| in_range(seq) && wanted(seq, row, State::Ready));
                ready.map(|(seq, _)| *seq).take(request.rows).collect()
            }
            Scan::Due { within } => {
                let from = within.map_or(DbTime::MIN, |within| self.now.saturating_sub(micros(within)));
                let waiting = |row: &&Stored<B>| {
                    row.state == State::Waiting && row.is_unfinished() && row.available_at >= from
                };
                let next = self.rows.values().filter(waiting).filter(|row| mine(row.row.lane));
                found.next_due = next
                    .map(|row| row.available_at)
                    .min()
                    .map(|at| Duration::from_micros(u64::try_from(at.saturating_sub(self.now)).unwrap_or(0)));
                let due = self.rows.iter().filter(|(seq, row)| wanted(seq, row, State::Waiting));
                let mut due: Vec<_> = due
                    .filter(|(_, row)| (from..=self.now).contains(&row.available_at))
                    .map(|(seq, row)| (row.available_at, *seq))
                    .collect();
                due.sort_unstable();
                due.into_iter().map(|(_, seq)| seq).take(request.rows).collect()
            }
            Scan::Released { whole } => {
                found.keys = Some(self.close_released(request.mask, &request.queued));
                let queued = request.queued.iter().filter(|_| !whole);
                let mut from: BTreeMap<KeyHash, Seq> = BTreeMap::new();
                for (seq, row) in queued.filter_map(|seq| Some((*seq, self.rows.get(seq)?))) {
                    from.entry(row.row.key).and_modify(|first| *first = seq.min(*first)).or_insert(seq);
                }
                let behind: BTreeSet<KeyHash> =
                    request.behind.iter().filter_map(|seq| Some(self.rows.get(seq)?.row.key)).collect();
                let releasing = self
                    .held_keys
                    .iter()
                    .filter(|(hash, key)| key.reason == Holding::Releasing && !behind.contains(*hash));
                let mut keys: Vec<_> = releasing
                    .filter(|(_, key)| mine(key.lane))
                    .map(|(hash, key)| (key.since, *hash))
                    .collect();
                keys.sort_unstable();
                let of_key = |hash: KeyHash| {
                    let from = from.get(&hash).copied().unwrap_or(0);
                    let held = self.rows.range(from..).filter(move |(_, row)| row.row.key == hash);
                    held.filter(|(seq, row)| wanted(seq, row, State::Held)).take(RELEASED_PER_KEY)
                };
                let rows = keys.into_iter().take(RELEASED_KEYS).flat_map(|(_, hash)| of_key(hash));
                rows.map(|(seq, _)| *seq).take(request.rows).collect()
            }
        };
        let mut bytes = 0;
        for seq in seqs {
            let Some(row) = self.fetch(seq, &request.scan) else { continue };
            bytes += row.bytes;
            found.rows.push(row);
            if bytes >= request.bytes {
                found.cut = true;
                return found;
            }
        }
        found.cut = found.rows.len() >= request.rows;
        found
    }

    fn fetch(&self, seq: Seq, scan: &Scan) -> Option<Row<B>> {
        let stored = self.rows.get(&seq)?;
        let head = self.held_keys.get(&stored.row.key).map(|key| key.head_seq);
        let (origin, key_head) = match scan {
            Scan::Ready { keys_held, .. } => (Origin::Ready, head.filter(|_| *keys_held)),
            Scan::Due { .. } => (Origin::Due, head),
            Scan::Released { .. } => (Origin::Released, None),
        };
        Some(Row {
            seq,
            generation: stored.generation,
            lane: stored.row.lane,
            key: stored.row.key,
            origin,
            due: origin != Origin::Ready || stored.available_at <= self.now,
            key_head,
            attempts: stored.attempts,
            suspect: stored.suspect,
            bytes: stored.row.bytes,
            poison: stored.row.poison.clone().map(Box::new),
            body: stored.row.body.clone(),
        })
    }

    /// `held_keys/close_released.sql`.
    fn close_released(&mut self, mask: i32, queued: &[Seq]) -> Keys {
        let rows = &self.rows;
        let waits = |row: &&Stored<B>| row.state == State::Held && row.is_unfinished();
        let queued: BTreeSet<KeyHash> =
            queued.iter().filter_map(|seq| rows.get(seq).filter(waits)).map(|row| row.row.key).collect();
        let has_held = |hash: &KeyHash| {
            let mut of_key = rows.values().filter(|row| row.row.key == *hash);
            of_key.any(|row| waits(&row))
        };
        let mine = |key: &HeldKey| lane_mask([key.lane]) & mask != 0;
        let quiet = self
            .held_keys
            .iter()
            .filter(|(hash, key)| key.reason == Holding::Releasing && mine(key) && !queued.contains(*hash));
        let lanes = lane_mask(quiet.map(|(_, key)| key.lane));
        self.held_keys.retain(|hash, key| {
            key.reason != Holding::Releasing || lane_mask([key.lane]) & lanes == 0 || has_held(hash)
        });
        let left = || self.held_keys.values().filter(|key| mine(key));
        Keys { held: left().next().is_some(), releasing: left().any(|key| key.reason == Holding::Releasing) }
    }
}
