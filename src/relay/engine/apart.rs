//! Rows that are published apart: suspects, and the dead letters of rows that die. One of each at a time, so that what
//! waits here can be dropped when its lane goes.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::RngExt;

use super::{Circuit, Engine};
use crate::{
    publisher::Outcome,
    reason::RetryReason,
    relay::{
        flood::{FloodGuard, WINDOW},
        input::{Burial, Command, Death, Write},
        keys::Weight,
    },
    row::Row,
};

/// Until suspects that found no room are tried again: about as long as it takes to try those that did.
const SUSPECTS_PAUSE: Duration = Duration::from_secs(10);

/// What waits to be published apart, and whether something is.
#[derive(Debug)]
pub(super) struct Apart<B> {
    pub(super) suspects: VecDeque<Row<B>>,
    quarantining: bool,
    pub(super) dying: VecDeque<(Row<B>, Death)>,
    burying: bool,
    flood: FloodGuard,
}

impl<B> Apart<B> {
    pub(super) fn new(flood_limit: usize) -> Self {
        Self {
            suspects: VecDeque::new(),
            quarantining: false,
            dying: VecDeque::new(),
            burying: false,
            flood: FloodGuard::new(flood_limit),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.quarantining && !self.burying
    }

    /// Everything that waits.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Row<B>> + use<B> {
        let dying = std::mem::take(&mut self.dying).into_iter().map(|(row, _)| row);
        std::mem::take(&mut self.suspects).into_iter().chain(dying)
    }
}

impl<B> Engine<B> {
    pub(super) fn proceed_apart(&mut self, now: Instant, commands: &mut Vec<Command<B>>) {
        if self.lease.is_none() || self.draining {
            for row in self.apart.take_all() {
                self.send_again(0, row);
            }
            return;
        }
        if self.circuit == Circuit::Open || self.blocked {
            return;
        }
        if !self.apart.quarantining
            && let Some(row) = self.apart.suspects.pop_front()
        {
            self.apart.quarantining = true;
            commands.push(Command::Quarantine(row));
        }
        while !self.apart.burying
            && let Some((row, death)) = self.apart.dying.pop_front()
        {
            match self.apart.flood.admit(now) {
                Ok(()) => {
                    self.apart.burying = true;
                    commands.push(Command::Bury(row, death));
                }
                Err(wait) => self.put_off(row, &death, wait),
            }
        }
        self.make_room();
    }

    /// However slowly those before them are confirmed, most of the memory is for rows that can be published. The others
    /// come back no sooner than the flood guard lets them, or when those before them should be through, for reading and
    /// putting them off again is work as well.
    fn make_room(&mut self) {
        let fit = self.fit(self.apart.dying.iter().map(|(row, _)| row));
        for (row, death) in self.apart.dying.split_off(fit) {
            self.put_off(row, &death, WINDOW / 2);
        }
        let fit = self.fit(self.apart.suspects.iter());
        for row in self.apart.suspects.split_off(fit) {
            let delay = SUSPECTS_PAUSE + self.settings.retry.delay(0, self.random.random());
            let error =
                "a channel was closed for it, or for one beside it; too many are tried apart, so it waits";
            self.reschedule(row, RetryReason::Suspect, 0, delay, error.to_owned());
        }
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

    /// Has a row that is to die wait in the database, for too many do.
    fn put_off(&mut self, row: Row<B>, death: &Death, wait: Duration) {
        let delay = wait + self.settings.retry.delay(0, self.random.random());
        let error = format!("{}; too many rows are dying, so it waits", death.error);
        self.reschedule(row, RetryReason::FloodGuard, death.charge, delay, error);
    }

    pub(super) fn quarantined(&mut self, row: Row<B>, outcome: Outcome) {
        self.apart.quarantining = false;
        match outcome {
            Outcome::Unknown if !self.owns(&row) || self.draining => self.send_again(0, row),
            Outcome::Unknown => self.apart.suspects.push_back(row),
            settled => self.settle(row, settled),
        }
    }

    pub(super) fn buried(&mut self, row: Row<B>, death: Death, outcome: &Outcome) {
        self.apart.burying = false;
        self.answered(outcome);
        let why = match outcome {
            Outcome::Confirmed if self.owns(&row) => return self.dead(row, death),
            Outcome::Confirmed => return self.drop_row(&row),
            Outcome::Returned { code, text } | Outcome::Refused { code, text } => format!("{code} {text}"),
            Outcome::Nacked => "it was nacked".to_owned(),
            Outcome::Unknown => "it was not confirmed".to_owned(),
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
