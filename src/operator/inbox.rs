//! Dead messages of consumers. For them the inbox row is the truth; the letter in the dead-letter queue is a notice.

use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_postgres::{Row, types::ToSql};

use super::{
    act::{Action, Ended, Order, Report},
    dead::Filter,
    rate::Rate,
};
use crate::{
    envelope::timestamp,
    postgres::{client::Client, connect::DatabaseError, sql::in_schema, value::Micros},
};

/// Messages of one statement at most.
const BATCH: u64 = 100;

/// A dead message, without its body.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadMessage {
    /// `message_id`.
    pub message_id: String,
    /// `event_type`.
    pub event_type: String,
    /// `aggregate_type`.
    pub aggregate_type: String,
    /// `aggregate_id`.
    pub aggregate_id: String,
    /// `seq`, if relay published it.
    pub seq: Option<i64>,
    /// `reason`.
    pub reason: String,
    /// `attempts`.
    pub attempts: i32,
    /// `replays`.
    pub replays: i32,
    /// `received_at`, microseconds since the Unix epoch.
    pub received_us: i64,
    /// `dead_at`, likewise: what was seen is what is acted on.
    pub dead_us: i64,
    /// `last_error`.
    pub error: String,
    /// Whether it is older than the consumer's dedupe horizon.
    pub is_beyond_horizon: bool,
}

impl DeadMessage {
    fn decode(row: &Row) -> Result<Self, DatabaseError> {
        let text = |index: usize| -> Result<String, DatabaseError> {
            Ok(row.try_get::<_, Option<String>>(index)?.unwrap_or_default())
        };
        Ok(Self {
            message_id: text(0)?,
            event_type: text(1)?,
            aggregate_type: text(2)?,
            aggregate_id: text(3)?,
            seq: row.try_get(4)?,
            reason: text(5)?,
            attempts: row.try_get(6)?,
            replays: row.try_get(7)?,
            received_us: row.try_get::<_, Micros>(8)?.0,
            dead_us: row.try_get::<_, Micros>(9)?.0,
            error: text(10)?,
            is_beyond_horizon: row.try_get(11)?,
        })
    }

    /// For programs; the names are the table's.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "message_id": self.message_id,
            "event_type": self.event_type,
            "aggregate_type": self.aggregate_type,
            "aggregate_id": self.aggregate_id,
            "seq": self.seq,
            "reason": self.reason,
            "attempts": self.attempts,
            "replays": self.replays,
            "received_at": timestamp(self.received_us),
            "dead_at": timestamp(self.dead_us),
            "last_error": self.error,
        })
    }
}

/// Where a page of dead messages ended.
pub type Place = (i64, String);

/// The dead messages of one consumer.
#[derive(Debug)]
pub struct DeadMessages<'a> {
    client: &'a Client,
    schema: &'a str,
    consumer: &'a str,
}

impl<'a> DeadMessages<'a> {
    /// Those of a consumer, in the inbox of a schema.
    #[must_use]
    pub fn new(client: &'a Client, schema: &'a str, consumer: &'a str) -> Self {
        Self { client, schema, consumer }
    }

    /// Up to `limit` messages after a place, the longest dead first.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn list(
        &self,
        filter: &Filter,
        after: &Place,
        limit: u64,
    ) -> Result<Vec<DeadMessage>, DatabaseError> {
        let statement = in_schema(include_str!("../../sql/queries/inbox/list_dead.sql"), self.schema);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let ids = filter.event_ids.as_ref();
        let ids: Option<Vec<String>> = ids.map(|ids| ids.iter().map(ToString::to_string).collect());
        let parameters: [&(dyn ToSql + Sync); 11] = [
            &self.consumer,
            &ids,
            &filter.event_type,
            &filter.aggregate_type,
            &filter.aggregate_id,
            &filter.reason,
            &filter.since_us,
            &filter.until_us,
            &after.0,
            &after.1,
            &limit,
        ];
        self.client.query(&statement, &parameters).await?.iter().map(DeadMessage::decode).collect()
    }

    /// Every column of a message, dead or not, in the table's order; none if the inbox has it not.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn show(&self, message_id: &str, body: bool) -> Result<Vec<(String, Value)>, DatabaseError> {
        let statement = in_schema(include_str!("../../sql/queries/inbox/show.sql"), self.schema);
        let rows = self.client.query(&statement, &[&self.consumer, &message_id, &body]).await?;
        let mut columns = Vec::with_capacity(rows.len());
        for row in rows {
            let (name, value): (String, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
            if let Some(text) = value {
                columns.push((name, serde_json::from_str(&text).unwrap_or(Value::String(text))));
            }
        }
        Ok(columns)
    }

    /// Replays or discards, a batch a statement, until it is done or `stop` says true. `progress` is told how many are
    /// done.
    pub async fn act(
        &self,
        order: &Order,
        stop: &mut watch::Receiver<bool>,
        mut progress: impl FnMut(u64),
    ) -> Report {
        let mut done = 0;
        let ended = self.run(order, stop, &mut done, &mut progress).await;
        Report { rows: done, ended: ended.unwrap_or_else(Ended::Failed) }
    }

    async fn run(
        &self,
        order: &Order,
        stop: &mut watch::Receiver<bool>,
        done: &mut u64,
        progress: &mut impl FnMut(u64),
    ) -> Result<Ended, DatabaseError> {
        let text = match order.action {
            Action::Replay => include_str!("../../sql/queries/inbox/replay.sql"),
            Action::Discard => include_str!("../../sql/queries/inbox/discard.sql"),
        };
        let statement = self.client.prepare(&in_schema(text, self.schema)).await?;
        let mut filter = order.filter.to_json();
        filter["consumer"] = self.consumer.into();
        let filter = filter.to_string();
        let begun = Instant::now();
        let mut after = Place::default();
        loop {
            let left = order.limit.map_or(BATCH, |limit| limit.saturating_sub(*done));
            let size = left.min(BATCH).min(order.rate.map_or(BATCH, Rate::burst));
            if size == 0 {
                return Ok(Ended::Complete);
            }
            if *stop.borrow() {
                return Ok(Ended::Interrupted);
            }
            let batch = self.list(&order.filter, &after, size).await?;
            let Some(last) = batch.last() else { return Ok(Ended::Complete) };
            after = (last.dead_us, last.message_id.clone());
            let ids: Vec<&str> = batch.iter().map(|message| message.message_id.as_str()).collect();
            let deaths: Vec<i64> = batch.iter().map(|message| message.dead_us).collect();
            let parameters: [&(dyn ToSql + Sync); 6] =
                [&self.consumer, &ids, &deaths, &order.actor, &filter, &order.note];
            let row = self.client.query_one(&statement, &parameters).await?;
            *done += u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
            progress(*done);
            if let Some(rate) = order.rate {
                let until = begun + rate.time_for(*done);
                tokio::select! {
                    () = tokio::time::sleep_until(until.into()) => {}
                    _ = stop.wait_for(|stop| *stop) => return Ok(Ended::Interrupted),
                }
            }
        }
    }
}
