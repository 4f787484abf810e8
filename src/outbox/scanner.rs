//! Reads the outbox: carries out the engine's scans on a connection of its own.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use tokio_postgres::{Row as DbRow, types::ToSql};
use uuid::Uuid;

use super::{
    look::{self, LOOK},
    sequence,
};
use crate::{
    envelope::{Columns, Policy, SHORT_STRING, seal},
    letter::Fetched,
    postgres::{
        client::{Client, Prepared},
        connect::{Connection, DatabaseError, answered, connect},
        settings::DatabaseSettings,
        sql::{STEADY_PLANS, in_schema},
        value::{Micros, TextBytes},
    },
    relay::input::{Found, Keys, Look, Scan, ScanRequest},
    row::{KeyHash, Lane, Origin, Row, Seq, micros},
};

/// What a row costs beside its payload and headers: the structures it is kept in.
const ROW_OVERHEAD: usize = 640;
/// As the largest payload: fetch none.
const OMIT: i32 = -1;
/// Rows of one key that one turn of releasing fetches.
const RELEASED_PER_KEY: i64 = 64;

/// The prepared scans.
#[derive(Debug)]
pub struct Scanner {
    connection: Connection,
    policy: Arc<Policy>,
    ready: Prepared,
    due: Prepared,
    released: Prepared,
    next_due: Prepared,
    close_released: Prepared,
    any_held: Prepared,
    writers: Prepared,
    sequence_trouble: Option<sequence::Cached>,
}

impl Scanner {
    /// Connects and prepares.
    ///
    /// # Errors
    /// When the database can't be reached or lacks a table.
    pub async fn connect(
        settings: &DatabaseSettings,
        name: &str,
        policy: Arc<Policy>,
    ) -> Result<Self, DatabaseError> {
        let connection = connect(settings, name).await?;
        answered(settings, async {
            let client = &connection.client;
            client.configure(STEADY_PLANS).await?;
            let schema = &settings.schema;
            let statement = |text: &str| in_schema(text, schema);
            Ok(Self {
                ready: client
                    .prepare(&statement(include_str!("../../sql/queries/outbox/scan_ready.sql")))
                    .await?,
                due: client
                    .prepare(&statement(include_str!("../../sql/queries/outbox/scan_due.sql")))
                    .await?,
                released: client
                    .prepare(&statement(include_str!("../../sql/queries/outbox/scan_released.sql")))
                    .await?,
                next_due: client
                    .prepare(&statement(include_str!("../../sql/queries/outbox/next_due.sql")))
                    .await?,
                close_released: client
                    .prepare(&statement(include_str!("../../sql/queries/held_keys/close_released.sql")))
                    .await?,
                any_held: client
                    .prepare(&statement(include_str!("../../sql/queries/held_keys/any.sql")))
                    .await?,
                writers: client.prepare(&statement(LOOK)).await?,
                sequence_trouble: sequence::trouble(client, schema).await?,
                policy,
                connection,
            })
        })
        .await
    }

    /// What was wrong with the outbox's sequence when this connected, and the cure.
    #[must_use]
    pub fn sequence_trouble(&self) -> Option<&sequence::Cached> {
        self.sequence_trouble.as_ref()
    }

    /// Carries out one scan.
    ///
    /// A row whose text Postgres cannot build (a few kilobytes of numbers can stand for gigabytes of digits) fails its
    /// statement. It comes back alone, without payload and headers, so that it can be dead-lettered.
    ///
    /// # Errors
    /// When a statement fails for any other reason.
    pub async fn scan(&self, request: &ScanRequest) -> Result<Found<Fetched>, DatabaseError> {
        let payload = i32::try_from(self.policy.payload_bytes).unwrap_or(i32::MAX);
        let one = ScanRequest { rows: 1, ..request.clone() };
        // Which row it was, nobody says: the first one, or none of a shorter scan.
        for (request, payload) in [(request, payload), (&one, payload)] {
            match self.connection.answer(self.scan_within(request, payload)).await {
                Err(error) if error.is_too_large() => {}
                result => return result,
            }
        }
        self.connection.answer(self.scan_within(&one, OMIT)).await
    }

    async fn scan_within(
        &self,
        request: &ScanRequest,
        payload: i32,
    ) -> Result<Found<Fetched>, DatabaseError> {
        let client = &self.connection.client;
        let limit = i64::try_from(request.rows).unwrap_or(i64::MAX);
        let mut found = Found { rows: Vec::new(), cut: false, next_due: None, keys: None, look: None };
        let exclude = ranges(&request.exclude);
        match &request.scan {
            Scan::Ready { after, until, keys_held, unless_at } => {
                let until = until.unwrap_or(Seq::MAX);
                let parameters: [&(dyn ToSql + Sync); 7] =
                    [after, &until, &request.mask, &exclude, &limit, &payload, keys_held];
                // Sent together, one after the other: the look comes after the scan, but costs no round trip.
                let scan = self.fetch(client, &self.ready, &parameters, Origin::Ready, request, &mut found);
                let ((), look) = tokio::try_join!(biased; scan, self.look(unless_at))?;
                found.look = look;
            }
            Scan::Due { within } => {
                let within = within.map(micros);
                let parameters: [&(dyn ToSql + Sync); 5] =
                    [&request.mask, &exclude, &limit, &payload, &within];
                self.fetch(client, &self.due, &parameters, Origin::Due, request, &mut found).await?;
                if request.rows > 0 {
                    found.next_due = client
                        .query_opt(&self.next_due, &[&request.mask, &within])
                        .await?
                        .map(|row| row.try_get::<_, i64>(0))
                        .transpose()?
                        .map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
                }
            }
            Scan::Released { whole } => {
                client.execute(&self.close_released, &[&request.mask, &request.queued]).await?;
                let keys = if request.rows > 0 {
                    let row = client.query_one(&self.any_held, &[&request.mask]).await?;
                    Keys { held: row.try_get(0)?, releasing: row.try_get(1)? }
                } else {
                    // Without a row to find it would look at every key, and the rights that it takes the next statement takes.
                    Keys { held: false, releasing: true }
                };
                found.keys = Some(keys);
                if keys.releasing {
                    let from = if *whole { &[] } else { request.queued.as_slice() };
                    let parameters: [&(dyn ToSql + Sync); 7] = [
                        &request.mask,
                        &exclude,
                        &limit,
                        &payload,
                        &RELEASED_PER_KEY,
                        &request.behind,
                        &from,
                    ];
                    self.fetch(client, &self.released, &parameters, Origin::Released, request, &mut found)
                        .await?;
                }
            }
        }
        Ok(found)
    }

    async fn look(&self, unless_at: &Option<Seq>) -> Result<Option<Look>, DatabaseError> {
        let row = self.connection.client.query_opt(&self.writers, &[unless_at]).await?;
        row.map(|row| look::decode(&row)).transpose()
    }

    /// Streams rows until the statement's limit or the byte limit is reached. What is over the byte limit is read off
    /// the socket and thrown away by the connection, never kept.
    async fn fetch(
        &self,
        client: &Client,
        statement: &Prepared,
        parameters: &[&(dyn ToSql + Sync)],
        origin: Origin,
        request: &ScanRequest,
        found: &mut Found<Fetched>,
    ) -> Result<(), DatabaseError> {
        let mut stream = client.query_raw(statement, parameters).await?;
        let mut bytes = 0;
        loop {
            let next = match stream.try_next().await.map_err(DatabaseError::from) {
                // What came before the row that is too large is good, and comes in order.
                Err(error) if error.is_too_large() && !found.rows.is_empty() => {
                    found.cut = true;
                    return Ok(());
                }
                next => next?,
            };
            let Some(row) = next else { break };
            let row = self.decode(&row, origin)?;
            bytes += row.bytes;
            found.rows.push(row);
            if bytes >= request.bytes {
                found.cut = true;
                return Ok(());
            }
        }
        found.cut = found.rows.len() >= request.rows;
        Ok(())
    }

    fn decode(&self, row: &DbRow, origin: Origin) -> Result<Row<Fetched>, DatabaseError> {
        let payload: Option<TextBytes<'_>> = row.try_get(5)?;
        let headers: Option<TextBytes<'_>> = row.try_get(6)?;
        let created: Micros = row.try_get(9)?;
        let attempts: i32 = row.try_get(11)?;
        let lane: i16 = row.try_get(13)?;
        let first_failed: Option<Micros> = row.try_get(14)?;
        let columns = Columns {
            seq: row.try_get(0)?,
            event_id: row.try_get::<_, Uuid>(1)?,
            aggregate_type: row.try_get(2)?,
            aggregate_id: row.try_get(3)?,
            event_type: row.try_get(4)?,
            payload: payload.map(|text| text.0),
            headers: headers.map(|text| text.0),
            exchange: row.try_get(7)?,
            routing_key: row.try_get(8)?,
            created_us: created.0,
            attempts: u32::try_from(attempts).unwrap_or(0),
        };
        let (message, poison) = seal(&columns, &self.policy);
        Ok(Row {
            seq: columns.seq,
            generation: row.try_get(12)?,
            lane: Lane::try_from(lane).unwrap_or(Lane::MAX),
            // The rows of a key too long for AMQP are poison all. The database never holds them, for no index could; so no
            // two of them may wait for each other here either.
            key: if columns.aggregate_type.len().max(columns.aggregate_id.len()) > SHORT_STRING {
                KeyHash(columns.seq.unsigned_abs())
            } else {
                KeyHash::of(columns.aggregate_type, columns.aggregate_id)
            },
            origin,
            due: row.try_get(10)?,
            key_head: row.try_get(17)?,
            attempts: columns.attempts,
            suspect: row.try_get(16)?,
            bytes: message.payload.len() + columns.headers.map_or(0, <[u8]>::len) + ROW_OVERHEAD,
            poison: poison.map(Box::new),
            body: Fetched {
                message,
                created_us: columns.created_us,
                first_failed_us: first_failed.map(|micros| micros.0),
                replays: row.try_get(15)?,
                payload_omitted: columns.payload.is_none(),
                attempts: columns.attempts,
            },
        })
    }
}

/// Seqs as the text of an `int8multirange`, which Postgres searches by halves; a list it would go through for each row.
fn ranges(seqs: &[Seq]) -> String {
    let mut seqs = seqs.to_vec();
    seqs.sort_unstable();
    let mut text = String::from("{");
    for run in seqs.chunk_by(|one, next| next.saturating_sub(*one) <= 1) {
        if let [first, ..] = run
            && let Some(last) = run.last()
        {
            let comma = if text.len() > 1 { "," } else { "" };
            // Postgres keeps the end as the seq after, which the highest has not.
            let _ = match *last {
                Seq::MAX => write!(text, "{comma}[{first},)"),
                last => write!(text, "{comma}[{first},{last}]"),
            };
        }
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_seqs_become_one_range() {
        assert_eq!(ranges(&[]), "{}");
        assert_eq!(ranges(&[7]), "{[7,7]}");
        assert_eq!(ranges(&[9, 3, 1, 2, 10, Seq::MAX]), format!("{{[1,3],[9,10],[{},)}}", Seq::MAX));
    }
}
