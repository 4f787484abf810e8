//! The dead-letter queue. relay's own letters in it are notices, removed once their row has moved on; letters that
//! others dead-lettered, or a consumer because it was no message, are the thing itself, and go back to the queue they
//! came from.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use tokio::sync::watch;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{audit, rate::Rate};
use crate::{
    amqp::{AmqpError, QueueReader, Session, Tag},
    postgres::{client::Client, connect::DatabaseError, sql::in_schema},
    publisher::Outcome,
};

/// Letters taken and not decided at any time, at most: they stay with the broker, marked as delivered to us.
const UNDECIDED: usize = 10_000;

/// Why the queue could not be worked through.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The broker.
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What a sweep for stale notices found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Letters looked at.
    pub seen: u64,
    /// Notices removed, because their row has been replayed, published or discarded since.
    pub removed: u64,
    /// Letters behind the bound, not looked at.
    pub beyond: u64,
}

/// Removes stale notices. Each letter is looked at once; all but the stale ones go back.
///
/// # Errors
/// When the queue can't be read, or the database not be asked. What was taken then goes back by itself.
pub async fn sweep(
    session: &Session,
    queue: &str,
    client: &Client,
    schema: &str,
) -> Result<Swept, LettersError> {
    let mut reader = session.read_queue(queue).await?;
    let mut swept = Swept::default();
    let mut notices = Notices::default();
    let mut consumers = ConsumersNotices::default();
    while swept.seen < UNDECIDED as u64 {
        let Some(letter) = reader.next().await? else { break };
        swept.seen += 1;
        if let Some(consumer) = letter.consumer() {
            // A consumer's: its inbox is the truth. Garbage says nothing of replays; no inbox knows it, so it stays.
            if let (Some(id), Some(replays)) = (letter.message_id(), letter.int_header("x-relay-replays")) {
                consumers.push(letter.tag(), consumer, id.to_owned(), replays);
            }
        } else if let (true, Some(Ok(id)), Some(seq)) =
            (letter.is_notice(), letter.message_id().map(str::parse), letter.int_header("x-relay-seq"))
        {
            let replays = letter.int_header("x-relay-replays").unwrap_or(0);
            notices.push(letter.tag(), id, seq, i32::try_from(replays).unwrap_or(i32::MAX));
        }
    }
    swept.beyond = u64::from(reader.left());
    let mut settled = notices.settled(client, schema).await?;
    settled.extend(consumers.settled(client, schema).await?);
    for tag in settled {
        reader.ack(tag).await?;
        swept.removed += 1;
    }
    reader.give_back().await?;
    Ok(swept)
}

#[derive(Debug, Default)]
struct Notices {
    tags: Vec<Tag>,
    ids: Vec<Uuid>,
    seqs: Vec<i64>,
    replays: Vec<i32>,
}

impl Notices {
    fn push(&mut self, tag: Tag, id: Uuid, seq: i64, replays: i32) {
        self.tags.push(tag);
        self.ids.push(id);
        self.seqs.push(seq);
        self.replays.push(replays);
    }

    async fn settled(&self, client: &Client, schema: &str) -> Result<Vec<Tag>, DatabaseError> {
        let statement = in_schema(include_str!("../../sql/queries/outbox/settled_letters.sql"), schema);
        let rows = client.query(&statement, &[&self.ids, &self.seqs, &self.replays]).await?;
        places(&rows, &self.tags)
    }
}

/// Notices of consumers built on the library.
#[derive(Debug, Default)]
struct ConsumersNotices {
    tags: Vec<Tag>,
    consumers: Vec<String>,
    ids: Vec<String>,
    replays: Vec<i32>,
}

impl ConsumersNotices {
    fn push(&mut self, tag: Tag, consumer: String, id: String, replays: i64) {
        self.tags.push(tag);
        self.consumers.push(consumer);
        self.ids.push(id);
        self.replays.push(i32::try_from(replays).unwrap_or(i32::MAX));
    }

    async fn settled(&self, client: &Client, schema: &str) -> Result<Vec<Tag>, DatabaseError> {
        let statement = in_schema(include_str!("../../sql/queries/inbox/settled_letters.sql"), schema);
        let rows = client.query(&statement, &[&self.consumers, &self.ids, &self.replays]).await?;
        places(&rows, &self.tags)
    }
}

/// The tags at the places, from 1, that a statement returned.
fn places(rows: &[Row], tags: &[Tag]) -> Result<Vec<Tag>, DatabaseError> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let place = usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
        found.extend(place.checked_sub(1).and_then(|index| tags.get(index)));
    }
    Ok(found)
}

/// Which of others' letters to send on, and how.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// The only queues that letters may go to.
    pub allowed: BTreeSet<String>,
    /// At most so many.
    pub limit: Option<u64>,
    /// Not faster than this.
    pub rate: Option<Rate>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What became of others' letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignReport {
    /// Sent on, confirmed and removed (or, in a dry run, such as would be), by queue.
    pub sent: BTreeMap<String, u64>,
    /// Not sent because their original queue is not allowed, by queue; "" for those that name none.
    pub not_allowed: BTreeMap<String, u64>,
    /// Refused by the broker, and still in the dead-letter queue, by what it said.
    pub refused: BTreeMap<String, u64>,
    /// Notices of dead rows, relay's own and consumers', left alone.
    pub notices: u64,
    /// Whether somebody asked it to stop.
    pub interrupted: bool,
    /// Letters behind the bound on undecided ones, not looked at.
    pub beyond: u64,
}

impl ForeignReport {
    /// How many were sent on.
    #[must_use]
    pub fn sent_total(&self) -> u64 {
        self.sent.values().sum()
    }
}

/// Sends others' letters back to where they came from, each at most once a run. `report` is up to date even when this
/// fails; a letter whose confirm was lost is still in the dead-letter queue, and may have arrived as well.
///
/// # Errors
/// When the queue can't be read or the connection is lost.
pub async fn send_back(
    session: &Session,
    dead_letter_queue: &str,
    foreign: &Foreign,
    stop: &mut watch::Receiver<bool>,
    report: &mut ForeignReport,
    mut progress: impl FnMut(u64),
) -> Result<(), AmqpError> {
    let mut reader = session.read_queue(dead_letter_queue).await?;
    let begun = Instant::now();
    let mut undecided = 0;
    while undecided < UNDECIDED {
        if foreign.limit.is_some_and(|limit| report.sent_total() >= limit) {
            break;
        }
        if *stop.borrow() {
            report.interrupted = true;
            break;
        }
        let Some(letter) = reader.next().await? else { break };
        if letter.is_notice() {
            report.notices += 1;
            undecided += 1;
            continue;
        }
        let queue = letter.original_queue().unwrap_or_default();
        if queue == dead_letter_queue || !foreign.allowed.contains(&queue) {
            *report.not_allowed.entry(queue).or_default() += 1;
            undecided += 1;
            continue;
        }
        if foreign.dry_run {
            *report.sent.entry(queue).or_default() += 1;
            undecided += 1;
            continue;
        }
        match reader.send_on(&letter, &queue).await? {
            Outcome::Confirmed => {
                *report.sent.entry(queue).or_default() += 1;
                reader.ack(letter.tag()).await?;
            }
            other => {
                *report.refused.entry(refusal(&queue, &other)).or_default() += 1;
                undecided += 1;
            }
        }
        progress(report.sent_total());
        if let Some(rate) = foreign.rate {
            let until = begun + rate.time_for(report.sent_total());
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }
    finish(reader, report, undecided).await
}

/// Writes down who is about to send letters back, and where to; returns the entry of the audit.
///
/// # Errors
/// When the statement fails: then nothing should be sent.
pub async fn audit_begin(
    client: &Client,
    schema: &str,
    actor: &str,
    foreign: &Foreign,
) -> Result<i64, DatabaseError> {
    let filter = serde_json::json!({ "queues": foreign.allowed });
    audit::begin(client, schema, actor, "send_back", &filter).await
}

/// Writes down what came of it.
///
/// # Errors
/// When the statement fails; the entry then says that it was begun.
pub async fn audit_finish(
    client: &Client,
    schema: &str,
    entry: i64,
    report: &ForeignReport,
    failure: Option<String>,
) -> Result<(), DatabaseError> {
    let note = failure.or_else(|| report.interrupted.then(|| "interrupted".to_owned()));
    audit::finish(client, schema, entry, report.sent_total(), note.as_deref()).await
}

async fn finish(
    reader: QueueReader<'_>,
    report: &mut ForeignReport,
    undecided: usize,
) -> Result<(), AmqpError> {
    if undecided >= UNDECIDED {
        report.beyond = u64::from(reader.left());
    }
    reader.give_back().await
}

fn refusal(queue: &str, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Returned { code, text } | Outcome::Refused { code, text } => {
            format!("{queue}: {code} {text}")
        }
        Outcome::Nacked => format!("{queue}: nacked, it is full or failed"),
        Outcome::Confirmed | Outcome::Unknown | Outcome::Paused(_) => format!("{queue}: unknown"),
    }
}
