//! The task that records what became of rows. It never gives a write up: a confirm that is known is not forgotten
//! because the database is away.

use std::{collections::BTreeSet, time::Instant};

use tokio::sync::mpsc;

use super::{Shared, ability::Duty, scanning::pause};
use crate::{
    cause::chain,
    outbox::writer::{Settled, Writer},
    postgres::connect::DatabaseError,
    reason::{DeadReason, RetryReason},
    reconnect::Reconnect,
    relay::{
        input::{Input, Write},
        keys::Ordering,
    },
    row::Seq,
    storm::{Lasting, Storm, WINDOW},
};

/// What is said of rows, one line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Retry(RetryReason),
    Death(DeadReason),
}

pub(super) async fn run(shared: Shared, mut writes: mpsc::UnboundedReceiver<Write>) {
    let mut writer: Option<Writer> = None;
    let mut reconnect = Reconnect::default();
    let mut storm = Storm::new();
    let mut locked = Locked::default();
    loop {
        let write = tokio::select! {
            biased;
            write = writes.recv() => write,
            () = until(storm.closes()) => {
                summarize(&mut storm, Instant::now());
                continue;
            }
        };
        let Some(write) = write else { break };
        loop {
            summarize(&mut storm, Instant::now());
            // Waiting for a lock that is known would hold up everything.
            if !locked.left.is_empty()
                && let Some(left) = mark_around(&shared, &mut writer, &write).await
            {
                locked.part(&shared, &write, left);
                break;
            }
            let result = match &writer {
                Some(writer) => writer.write(&write).await,
                None => match connect(&shared).await {
                    Ok(connected) => writer.insert(connected).write(&write).await,
                    Err(error) => Err(error),
                },
            };
            match result {
                Ok(Settled { rows, over }) => {
                    reconnect.succeeded();
                    shared.works(Duty::Writing);
                    locked.settled(&write, &[]);
                    record(&shared, &mut storm, &write, rows);
                    for pause in over {
                        // Else its rows would be read and held again and again, until the pauses are looked at next.
                        shared.pauses.send_modify(|pauses| pauses.forget(pause));
                    }
                    shared.tell(Input::Written);
                    break;
                }
                Err(error) if error.is_lock_timeout() => {
                    // The session is sound. Marks go around the lock; anything else waits for it.
                    locked.shows();
                    if let Some(left) = mark_around(&shared, &mut writer, &write).await {
                        locked.part(&shared, &write, left);
                        break;
                    }
                }
                Err(error) => {
                    writer = None;
                    shared.fails(Duty::Writing, &error);
                    tokio::time::sleep(pause(&mut reconnect, &error)).await;
                }
            }
        }
    }
    // The engine has stopped: what was left out is told now or never.
    summarize(&mut storm, Instant::now() + WINDOW);
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Rows that somebody else holds locks on.
#[derive(Debug, Default)]
struct Locked {
    trouble: Lasting,
    /// Those that marks went around.
    left: BTreeSet<Seq>,
}

impl Locked {
    /// A write ran into a lock.
    fn shows(&mut self) {
        if let Some(lasting) = self.trouble.shows(Instant::now()) {
            tracing::warn!(
                seconds = lasting.as_secs(),
                "somebody holds locks on outbox rows, which can't be marked meanwhile; see pg_locks"
            );
        }
    }

    /// A mark is done but for these rows.
    fn part(&mut self, shared: &Shared, write: &Write, left: Vec<(Seq, i32)>) {
        if !left.is_empty() {
            self.shows();
        }
        self.settled(write, &left);
        shared.works(Duty::Writing);
        let heads = matches!(write, Write::Mark { heads: true, .. });
        shared.progressed();
        shared.tell(Input::WrittenInPart { left, heads });
    }

    /// A write is done but for these rows.
    fn settled(&mut self, write: &Write, left: &[(Seq, i32)]) {
        if !self.left.is_empty() {
            write.seqs().for_each(|seq| _ = self.left.remove(&seq));
        }
        self.left.extend(left.iter().map(|(seq, _)| seq));
        if self.left.is_empty()
            && let Some(lasted) = self.trouble.over(Instant::now())
        {
            tracing::info!(seconds = lasted.as_secs(), "nobody holds locks on outbox rows any more");
        }
    }
}

/// Marks what nobody else has locked; returns the rest. `None` if that isn't what was asked for, or failed as well: then its
/// connection is given up, for its answer may be on the way yet.
async fn mark_around(shared: &Shared, writer: &mut Option<Writer>, write: &Write) -> Option<Vec<(Seq, i32)>> {
    let Write::Mark { rows, .. } = write else { return None };
    match writer.as_ref()?.mark_unlocked(rows).await {
        Ok(left) => {
            shared.metrics.published.inc_by((rows.len() - left.len()) as u64);
            Some(left)
        }
        Err(error) => {
            tracing::debug!("cannot mark around locked rows: {}", chain(&error));
            *writer = None;
            None
        }
    }
}

async fn connect(shared: &Shared) -> Result<Writer, DatabaseError> {
    let settings = &shared.settings;
    let ordered = settings.engine.ordering != Ordering::None;
    Writer::connect(&settings.database, "relay write", shared.relay, ordered, settings.engine.park).await
}

/// Tells what was left out of the log, where that is to be told by now.
fn summarize(storm: &mut Storm<Kind>, now: Instant) {
    for (kind, more) in storm.close(now) {
        match kind {
            Kind::Retry(reason) => {
                tracing::info!(
                    reason = reason.as_str(),
                    more,
                    "and {more} more retries in {WINDOW:?}: {reason}"
                );
            }
            Kind::Death(reason) => {
                tracing::warn!(
                    reason = reason.as_str(),
                    more,
                    "and {more} more dead rows in {WINDOW:?}: {reason}"
                );
            }
        }
    }
}

fn record(shared: &Shared, storm: &mut Storm<Kind>, write: &Write, rows: u64) {
    let metrics = &shared.metrics;
    shared.progressed();
    if rows == 0 && matches!(write, Write::Reschedule(..) | Write::MarkDead(..)) {
        // Somebody else owns the rows, or an operator was quicker: none of it has happened.
        tracing::debug!("{} rows were settled by somebody else", write.seqs().count());
        return;
    }
    let now = Instant::now();
    match write {
        Write::Mark { rows: marked, heads } => {
            // A statement that also lets keys go counts those, not the rows.
            metrics.published.inc_by(if *heads { marked.len() as u64 } else { rows });
        }
        Write::Reschedule(_, failed) => {
            for row in failed {
                metrics.retries.with_label_values(&[row.reason.as_str()]).inc();
                if storm.may_say(now, Kind::Retry(row.reason)) {
                    tracing::info!(
                        seq = row.seq,
                        reason = row.reason.as_str(),
                        attempts = row.attempts,
                        "row {} is tried again in {:?}: {}",
                        row.seq,
                        row.delay,
                        row.error
                    );
                }
            }
        }
        Write::MarkDead(_, dead) => {
            for row in dead {
                metrics.dead_lettered.with_label_values(&[row.death.reason.as_str()]).inc();
                if storm.may_say(now, Kind::Death(row.death.reason)) {
                    tracing::warn!(
                        seq = row.seq,
                        reason = row.death.reason.as_str(),
                        attempts = row.attempts,
                        "row {} is dead: {}",
                        row.seq,
                        row.death.error
                    );
                }
            }
        }
        Write::Pause(..) | Write::Hold(..) | Write::Defer(..) => {}
    }
}
