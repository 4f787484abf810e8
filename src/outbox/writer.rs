//! Records what became of rows: carries out the engine's writes on a connection of its own.

use uuid::Uuid;

use crate::{
    envelope::cut,
    letter::ERROR_BYTES,
    pause::PauseId,
    postgres::{
        client::Prepared,
        connect::{Connection, DatabaseError, answered, connect},
        settings::DatabaseSettings,
        sql::{STEADY_PLANS, in_schema},
    },
    relay::input::{Fence, Write},
    row::{Seq, micros},
};

/// How long a write waits for a row that somebody else has locked.
const LOCK_TIMEOUT: &[&str] = &["lock_timeout = '1s'"];

/// What a write did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Rows settled. Fewer than asked for means that somebody else settled the others: another owner of the lane, or an
    /// operator.
    pub rows: u64,
    /// [`Write::Pause`]: pauses that are over by now, so that nobody waits for them.
    pub over: Vec<PauseId>,
}

/// The prepared writes.
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    relay: Uuid,
    /// Whether a failed row holds its key.
    ordered: bool,
    /// Whether a dead row does.
    park: bool,
    mark: Prepared,
    mark_head: Prepared,
    mark_unlocked: Prepared,
    reschedule: Prepared,
    pause: Prepared,
    hold: Prepared,
    defer: Prepared,
    mark_dead: Prepared,
}

impl Writer {
    /// Connects and prepares.
    ///
    /// # Errors
    /// When the database can't be reached or lacks a table.
    pub async fn connect(
        settings: &DatabaseSettings,
        name: &str,
        relay: Uuid,
        ordered: bool,
        park: bool,
    ) -> Result<Self, DatabaseError> {
        let connection = connect(settings, name).await?;
        answered(settings, async {
            let client = &connection.client;
            client.configure(LOCK_TIMEOUT).await?;
            client.configure(STEADY_PLANS).await?;
            let statement = |text: &str| in_schema(text, &settings.schema);
            Ok(Self {
                mark: client
                    .prepare(&statement(include_str!("../../sql/queries/outbox/mark_published.sql")))
                    .await?,
                mark_head: client
                    .prepare(&statement(include_str!("../../sql/queries/outbox/mark_head_published.sql")))
                    .await?,
                mark_unlocked: client
                    .prepare(&statement(include_str!("../../sql/queries/outbox/mark_unlocked.sql")))
                    .await?,
                reschedule: client
                    .prepare(&statement(include_str!("../../sql/queries/outbox/reschedule.sql")))
                    .await?,
                pause: client.prepare(&statement(include_str!("../../sql/queries/outbox/pause.sql"))).await?,
                hold: client.prepare(&statement(include_str!("../../sql/queries/outbox/hold.sql"))).await?,
                defer: client.prepare(&statement(include_str!("../../sql/queries/outbox/defer.sql"))).await?,
                mark_dead: client
                    .prepare(&statement(include_str!("../../sql/queries/outbox/mark_dead.sql")))
                    .await?,
                relay,
                ordered,
                park,
                connection,
            })
        })
        .await
    }

    /// Marks what nobody else has locked; returns the rest.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn mark_unlocked(&self, rows: &[(Seq, i32)]) -> Result<Vec<(Seq, i32)>, DatabaseError> {
        let (seqs, generations): (Vec<i64>, Vec<i32>) = rows.iter().copied().unzip();
        let marking =
            async { Ok(self.connection.client.query(&self.mark_unlocked, &[&seqs, &generations]).await?) };
        let locked = self.connection.answer(marking).await?;
        let locked: Vec<Seq> = locked.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok(rows.iter().copied().filter(|(seq, _)| locked.contains(seq)).collect())
    }

    /// Carries out one write.
    ///
    /// Doing it twice does it once, so it may be repeated when its answer was lost.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn write(&self, write: &Write) -> Result<Settled, DatabaseError> {
        self.connection.answer(self.carry_out(write)).await
    }

    async fn carry_out(&self, write: &Write) -> Result<Settled, DatabaseError> {
        let client = &self.connection.client;
        let mut over = Vec::new();
        let rows = match write {
            Write::Mark { rows, heads } => {
                let (seqs, generations): (Vec<i64>, Vec<i32>) = rows.iter().copied().unzip();
                let statement = if *heads { &self.mark_head } else { &self.mark };
                client.execute(statement, &[&seqs, &generations]).await?
            }
            Write::Reschedule(fence, rows) => {
                let (lanes, tokens) = arrays(fence);
                let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
                let generations: Vec<i32> = rows.iter().map(|row| row.generation).collect();
                let attempts: Vec<i32> =
                    rows.iter().map(|row| i32::try_from(row.attempts).unwrap_or(i32::MAX)).collect();
                let delays: Vec<i64> = rows.iter().map(|row| micros(row.delay)).collect();
                let errors: Vec<String> = rows.iter().map(|row| storable(&row.error)).collect();
                let suspects: Vec<bool> = rows.iter().map(|row| row.suspect).collect();
                let row = client
                    .query_one(
                        &self.reschedule,
                        &[
                            &self.relay,
                            &lanes,
                            &tokens,
                            &seqs,
                            &generations,
                            &attempts,
                            &delays,
                            &errors,
                            &suspects,
                            &self.ordered,
                        ],
                    )
                    .await?;
                count(&row)?
            }
            Write::Pause(fence, rows) => {
                let (lanes, tokens) = arrays(fence);
                let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
                let generations: Vec<i32> = rows.iter().map(|row| row.generation).collect();
                let pauses: Vec<PauseId> = rows.iter().map(|row| row.pause).collect();
                let suspects: Vec<bool> = rows.iter().map(|row| row.suspect).collect();
                let row = client
                    .query_one(
                        &self.pause,
                        &[&self.relay, &lanes, &tokens, &seqs, &generations, &pauses, &suspects],
                    )
                    .await?;
                over = row.try_get(1)?;
                count(&row)?
            }
            Write::Hold(fence, seqs) => {
                let (lanes, tokens) = arrays(fence);
                count(&client.query_one(&self.hold, &[&self.relay, &lanes, &tokens, seqs]).await?)?
            }
            Write::Defer(fence, seqs) => {
                let (lanes, tokens) = arrays(fence);
                client.execute(&self.defer, &[&self.relay, &lanes, &tokens, seqs]).await?
            }
            Write::MarkDead(fence, rows) => {
                let (lanes, tokens) = arrays(fence);
                let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
                let generations: Vec<i32> = rows.iter().map(|row| row.generation).collect();
                let attempts: Vec<i32> =
                    rows.iter().map(|row| i32::try_from(row.attempts).unwrap_or(i32::MAX)).collect();
                let reasons: Vec<&str> = rows.iter().map(|row| row.death.reason.as_str()).collect();
                let errors: Vec<String> = rows.iter().map(|row| storable(&row.death.error)).collect();
                let row = client
                    .query_one(
                        &self.mark_dead,
                        &[
                            &self.relay,
                            &lanes,
                            &tokens,
                            &seqs,
                            &generations,
                            &attempts,
                            &reasons,
                            &errors,
                            &self.park,
                        ],
                    )
                    .await?;
                count(&row)?
            }
        };
        Ok(Settled { rows, over })
    }
}

fn count(row: &tokio_postgres::Row) -> Result<u64, DatabaseError> {
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0))
}

fn arrays(fence: &Fence) -> (Vec<i16>, Vec<i64>) {
    (fence.lanes.iter().map(|lane| i16::from(*lane)).collect(), fence.tokens.clone())
}

/// An error as `last_error` can hold it: at most 4 KiB, and no NUL, which text in Postgres can't contain.
fn storable(error: &str) -> String {
    let mut text = error.replace('\0', "\u{fffd}");
    cut(&mut text, ERROR_BYTES);
    text
}
