//! Rows that are published apart: suspects, and the dead letters of rows that die. One of each at a time, so that what
//! waits here can be dropped when its lane goes.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::RngExt;

use super::{ALL, Engine};
use crate::{
    publisher::Outcome,
    reason::RetryReason,
    relay::{
        flood::{FloodGuard, WINDOW},
        input::{Burial, Command, Death, Write},
        keys::Weight,
    },
    row::{KeyHash, Row, Seq, lane_mask},
};

/// Until suspects that found no room are tried again: about as long as it takes to try those that did.
const SUSPECTS_PAUSE: Duration = Duration::from_secs(10);

/// How many 64ths of memory may wait behind the row under way: two of the largest rows with so much behind each, and
/// whatever else waits here, leave room for others.
const BEHIND: usize = 4;

/// What waits to be published apart, and whether something is.
#[derive(Debug)]
pub(super) struct Apart<B> {
    pub(super) suspects: VecDeque<Row<B>>,
    pub(super) quarantining: Option<Seq>,
    pub(super) dying: VecDeque<(Row<B>, Death)>,
    pub(super) burying: Option<Seq>,
    flood: FloodGuard,
    /// When the last of the rows that found no room comes back; of those that die, and of suspects.
    dying_turn: Later,
    suspects_turn: Later,
}

/// When rows that were put off come back: one after the other, for if a million did at once, reading them and putting
/// them off again would be all that is done.
#[derive(Debug, Default)]
struct Later(Option<Instant>);

impl Later {
    /// How long the next row waits: so long at least, and so much after the one before; `None` if that is too long.
    fn next(&mut self, now: Instant, least: Duration, after: Duration, most: Duration) -> Option<Duration> {
        let first = now + least;
        let at = self.0.map_or(first, |last| first.max(last + after));
        let wait = at.duration_since(now);
        (wait <= most).then(|| {
            self.0 = Some(at);
            wait
        })
    }
}

impl<B> Apart<B> {
    pub(super) fn new(flood_limit: usize) -> Self {
        Self {
            suspects: VecDeque::new(),
            quarantining: None,
            dying: VecDeque::new(),
            burying: None,
            flood: FloodGuard::new(flood_limit),
            dying_turn: Later::default(),
            suspects_turn: Later::default(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.quarantining.is_none() && self.burying.is_none()
    }

    /// What waits, and what is under way.
    pub(super) fn seqs(&self) -> impl Iterator<Item = Seq> {
        let dying = self.dying.iter().map(|(row, _)| row);
        let waiting = self.suspects.iter().chain(dying).map(|row| row.seq);
        self.quarantining.into_iter().chain(self.burying).chain(waiting)
    }

    /// Everything that waits and is of these lanes.
    pub(super) fn take(&mut self, lanes: i32) -> Vec<Row<B>> {
        let of = |row: &Row<B>| lanes & lane_mask([row.lane]) != 0;
        let (mut taken, suspects) = std::mem::take(&mut self.suspects).into_iter().partition::<Vec<_>, _>(of);
        let (dead, dying) =
            std::mem::take(&mut self.dying).into_iter().partition::<Vec<_>, _>(|(row, _)| of(row));
        (self.suspects, self.dying) = (suspects.into(), dying.into());
        taken.extend(dead.into_iter().map(|(row, _)| row));
        taken
    }
}

impl<B> Engine<B> {
    pub(super) fn proceed_apart(&mut self, now: Instant, commands: &mut Vec<Command<B>>) {
        if self.lease.is_none() || self.draining {
            for row in self.apart.take(ALL) {
                self.drop_row(&row);
            }
            return;
        }
        if self.stands_still() {
            return;
        }
        if self.apart.quarantining.is_none()
            && let Some(row) = self.apart.suspects.pop_front()
        {
            self.apart.quarantining = Some(row.seq);
            self.leave_behind(row.key, BEHIND);
            commands.push(Command::Quarantine(row));
        }
        while self.apart.burying.is_none()
            && let Some((row, death)) = self.apart.dying.pop_front()
        {
            match self.apart.flood.admit(now) {
                Ok(()) => {
                    self.apart.burying = Some(row.seq);
                    self.leave_behind(row.key, BEHIND);
                    commands.push(Command::Bury(row, death));
                }
                Err(wait) => self.put_off(now, row, &death, wait),
            }
        }
        self.make_room(now);
    }

    /// However slowly those before them are confirmed, most of the memory is for rows that can be published. The others
    /// come back no sooner than the flood guard lets them, or when those before them should be through, for reading and
    /// putting them off again is work as well.
    fn make_room(&mut self, now: Instant) {
        let fit = self.fit(self.apart.dying.iter().map(|(row, _)| row));
        for (row, death) in self.apart.dying.split_off(fit) {
            self.put_off(now, row, &death, WINDOW / 2);
        }
        // Most of these are as good as any other, and tried in moments: first, what is behind them makes room.
        if self.fit(self.apart.suspects.iter()) < self.apart.suspects.len() {
            let keys: Vec<_> = self.apart.suspects.iter().map(|row| row.key).collect();
            for key in keys {
                self.leave_behind(key, 0);
            }
        }
        let fit = self.fit(self.apart.suspects.iter());
        for row in self.apart.suspects.split_off(fit) {
            let after = SUSPECTS_PAUSE / self.part();
            let delay = self.turn(|apart| &mut apart.suspects_turn, now, SUSPECTS_PAUSE, after);
            let error =
                "a channel was closed for it, or for one beside it; too many are tried apart, so it waits";
            self.reschedule(row, RetryReason::Suspect, 0, delay, error.to_owned());
        }
    }

    /// So many 64ths of memory may wait behind a row that is published apart; the rest waits in the database.
    fn leave_behind(&mut self, key: KeyHash, part: usize) {
        let room =
            Weight { rows: self.settings.max_rows * part / 64, bytes: self.settings.max_bytes / 64 * part };
        let over: Vec<_> = self.keys.apart(key, room).iter().map(|row| row.seq).collect();
        self.hold(over, vec![key]);
    }

    /// How many of these, with what waits behind them, fit in their part of the memory.
    fn fit<'a>(&self, rows: impl Iterator<Item = &'a Row<B>>) -> usize
    where
        B: 'a,
    {
        let most = Weight { rows: self.settings.max_rows / 8, bytes: self.settings.max_bytes / 8 };
        let mut taken = Weight::default();
        rows.take_while(|row| {
            let behind = self.keys.pending(row.key);
            taken.rows += 1 + behind.rows;
            taken.bytes += row.bytes + behind.bytes;
            taken.rows <= most.rows && taken.bytes <= most.bytes
        })
        .count()
    }

    /// How many rows of each kind have room.
    fn part(&self) -> u32 {
        u32::try_from(self.settings.max_rows / 8).unwrap_or(u32::MAX).max(1)
    }

    /// How long a row that found no room waits for its turn. What would have to wait for it too long comes back at any
    /// time up to the cap of retries.
    fn turn(
        &mut self,
        of: fn(&mut Apart<B>) -> &mut Later,
        now: Instant,
        least: Duration,
        after: Duration,
    ) -> Duration {
        let retry = &self.settings.retry;
        let turn = of(&mut self.apart).next(now, least, after, least + retry.cap);
        turn.unwrap_or_else(|| least + retry.delay(u32::MAX, self.random.random()))
    }

    /// Has a row that is to die wait in the database, for too many do. No more come back than may die.
    fn put_off(&mut self, now: Instant, row: Row<B>, death: &Death, wait: Duration) {
        let after = match u32::try_from(self.settings.flood_limit) {
            Ok(0) => WINDOW / 2 / self.part(),
            limit => WINDOW / limit.unwrap_or(u32::MAX),
        };
        let delay = self.turn(|apart| &mut apart.dying_turn, now, wait, after);
        let error = format!("{}; too many rows are dying, so it waits", death.error);
        self.reschedule(row, RetryReason::FloodGuard, death.charge, delay, error);
    }

    pub(super) fn quarantined(&mut self, row: Row<B>, outcome: Outcome) {
        self.apart.quarantining = None;
        match outcome {
            Outcome::Unknown if !self.feeds(&row) => self.send_again(0, row),
            Outcome::Unknown => self.apart.suspects.push_back(row),
            settled => self.settle(row, settled),
        }
    }

    pub(super) fn buried(&mut self, row: Row<B>, death: Death, outcome: &Outcome) {
        self.apart.burying = None;
        self.answered(outcome);
        let why = match outcome {
            Outcome::Confirmed if self.owns(&row) => return self.dead(row, death),
            Outcome::Confirmed => return self.drop_row(&row),
            Outcome::Returned { code, text } | Outcome::Refused { code, text } => format!("{code} {text}"),
            Outcome::Nacked => "it was nacked".to_owned(),
            Outcome::Unknown | Outcome::Paused(_) => "it was not confirmed".to_owned(),
        };
        // It did not die.
        self.apart.flood.retract();
        let delay = self.settings.retry.delay(row.attempts + 1, self.random.random());
        let error = format!("{}; its dead letter could not be published: {why}", death.error);
        self.reschedule(row, RetryReason::DeadLetterFailed, death.charge, delay, error);
    }

    fn dead(&mut self, row: Row<B>, death: Death) {
        let key = row.key;
        let attempts = row.attempts + death.charge;
        let burial = Burial { seq: row.seq, generation: row.generation, attempts, death };
        if self.settings.park {
            let behind = self.keys.fail(key);
            self.keys.failing(key);
            self.fenced(|fence| Write::MarkDead(fence, vec![burial]), vec![key]);
            self.hold_behind(key, behind);
        } else {
            self.fenced(|fence| Write::MarkDead(fence, vec![burial]), Vec::new());
            self.next_of(key);
        }
    }
}
