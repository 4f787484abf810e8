//! The task that removes rows which were published, or discarded, long ago: one relay of an outbox does it, a little at a
//! time, and rests in between.
//!
//! It is nobody's business but its own: it has a connection to itself, takes no lock that another statement waits for,
//! and when it fails, relay is as ready as before.

use std::time::{Duration, Instant};

use tokio::{sync::watch, time::sleep};

use super::{Shared, scanning::pause, signalled};
use crate::{
    metrics::{PRUNED, STATES},
    outbox::{
        backlog::COUNTED_TO,
        pruner::{BATCH, Batch, Cutoffs, Look, Pruner, Turn},
    },
    postgres::connect::{Connection, DatabaseError, Trouble, connect},
    reconnect::Reconnect,
    row::{Seq, micros},
};

/// Before the first walk: the backlog has been measured by then, and the lanes are owned by somebody.
const START: Duration = Duration::from_secs(5);
/// Between two walks, and between two looks at whether it may.
const IDLE: Duration = Duration::from_secs(10);
/// How often a walk begins at the first row. The others begin where the last one ended, and pass by what was not finished
/// then; and nothing in front of that is read again, deleted rows that vacuum has not removed yet least of all.
const SWEEP: Duration = Duration::from_secs(3600);
/// It rests so many times as long as a batch took: what it costs is a fifth of one connection's time, and less of it the
/// busier the database is.
const REST: u32 = 4;
const SHORTEST_REST: Duration = Duration::from_millis(10);
/// With so many rows ready to be published it waits: the gauge counts no further.
const BACKLOG: i64 = COUNTED_TO;

/// Removes old rows, until the drain begins.
pub(super) async fn run(shared: Shared, mut stop: watch::Receiver<u8>) {
    if let Some(keep) = shared.settings.retention {
        // A statement that is cut off is done or not, and either will do.
        tokio::select! {
            () = keep_house(&shared, keep) => {}
            () = signalled(&mut stop, 1) => {}
        }
    }
    // Stay, for the task's end would be taken for a failure.
    std::future::pending::<()>().await;
}

async fn keep_house(shared: &Shared, keep: Duration) {
    let mut janitor = Janitor {
        shared,
        keep,
        pruner: Pruner::new(&shared.settings.database.schema),
        connection: None,
        batch: Batch::up_to(BATCH),
        after: Seq::MIN,
        before: Seq::MIN,
        swept: Instant::now(),
        said: None,
    };
    let mut reconnect = Reconnect::default();
    shared.migrated().await;
    sleep(START).await;
    loop {
        let rest = match janitor.round().await {
            Ok(rest) => {
                reconnect.succeeded();
                rest
            }
            Err(error) => {
                janitor.connection = None;
                pause(&mut reconnect, &error)
            }
        };
        sleep(rest).await;
    }
}

struct Janitor<'a> {
    shared: &'a Shared,
    keep: Duration,
    pruner: Pruner,
    connection: Option<Connection>,
    batch: Batch,
    /// The walk goes on behind this.
    after: Seq,
    /// Where it was when it last began at the first row: to go on from there if it gets nowhere from the first.
    before: Seq,
    /// When it last began at the first row.
    swept: Instant,
    /// Why rows stay that should go, if that was said.
    said: Option<String>,
}

impl Janitor<'_> {
    /// Looks at some rows, and removes what may go of them; returns how long to wait for the next round.
    async fn round(&mut self) -> Result<Duration, DatabaseError> {
        // What is to be published comes first; rows that were may well stay a little longer.
        if self.shared.metrics.pending_rows.with_label_values(&[STATES[0]]).get() >= BACKLOG {
            return Ok(IDLE);
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.shared.settings.database, "relay prune").await?,
        };
        let turn = connection.answer(self.pruner.turn(&connection.client, self.shared.relay)).await?;
        let rest = self.take(turn, &connection).await;
        if let Err(error) = &rest {
            // Whatever failed, the next batch is smaller: perhaps it took too long.
            self.batch.took(Duration::MAX);
            // Of a database that is away others speak.
            if error.kind() != Trouble::Unreachable {
                self.say(&error.to_string());
            }
        }
        self.connection = Some(connection);
        rest
    }

    async fn take(&mut self, turn: Turn, connection: &Connection) -> Result<Duration, DatabaseError> {
        let Turn::Ours { now, allowed } = turn else { return Ok(IDLE) };
        if !allowed {
            self.say(
                "this relay's role may not delete; `relay migrate --grant-prune-to ROLE` allows it, and \
                 retention.published = \"off\" says that it is not meant to",
            );
            return Ok(IDLE);
        }
        if self.after == Seq::MIN {
            self.swept = Instant::now();
        }
        let cutoffs = Cutoffs { finished_us: now.saturating_sub(micros(self.keep)), dead_us: None };
        let asked = Instant::now();
        let looking = self.pruner.look(&connection.client, self.after, BATCH, cutoffs);
        let look = connection.answer(looking).await.inspect_err(|_| {
            // Perhaps too many deleted rows lie in front: then it would fail each time. The rest is worth a try without them.
            if self.after == Seq::MIN {
                self.after = self.before;
            }
        })?;
        let rest = rest(asked);
        self.prune(connection, &look, cutoffs).await?;
        if self.said.take().is_some() {
            tracing::info!("old rows are removed again");
        }
        match look.upto {
            Some(upto) if look.goes_on => {
                self.after = upto;
                Ok(rest)
            }
            // The next walk looks at these once more.
            _ => {
                if self.swept.elapsed() >= SWEEP {
                    self.before = std::mem::replace(&mut self.after, Seq::MIN);
                }
                Ok(IDLE)
            }
        }
    }

    /// Removes what was found, batch by batch.
    async fn prune(
        &mut self,
        connection: &Connection,
        look: &Look,
        cutoffs: Cutoffs,
    ) -> Result<(), DatabaseError> {
        let mut found = look.prunable.as_slice();
        while !found.is_empty() {
            let rows = found.get(..self.batch.size(found.len())).unwrap_or(found);
            found = found.get(rows.len()..).unwrap_or_default();
            let asked = Instant::now();
            let gone = connection.answer(self.pruner.prune(&connection.client, rows, cutoffs)).await?;
            for kind in PRUNED {
                self.shared.metrics.pruned_rows.with_label_values(&[kind.as_str()]).inc_by(gone.of(kind));
            }
            self.batch.took(asked.elapsed());
            sleep(rest(asked)).await;
        }
        Ok(())
    }

    /// Says why rows stay that should go, once for each cause.
    fn say(&mut self, cause: &str) {
        if self.said.as_deref() != Some(cause) {
            let keep = humantime::format_duration(self.keep);
            tracing::warn!("rows that were published more than {keep} ago are not removed: {cause}");
            self.said = Some(cause.to_owned());
        }
    }
}

/// How long to rest after what was asked then.
fn rest(asked: Instant) -> Duration {
    (asked.elapsed() * REST).max(SHORTEST_REST)
}
