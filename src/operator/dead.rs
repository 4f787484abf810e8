//! Finding dead rows.

use serde_json::{Value, json};
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use crate::{
    envelope::timestamp,
    postgres::{client::Client, connect::DatabaseError, sql::in_schema, value::Micros},
    row::Seq,
};

/// Which dead rows are meant, or which dead messages of a consumer; an empty one means all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Any of these event ids, which message ids are.
    pub event_ids: Option<Vec<Uuid>>,
    /// This event type.
    pub event_type: Option<String>,
    /// This aggregate type.
    pub aggregate_type: Option<String>,
    /// This aggregate id.
    pub aggregate_id: Option<String>,
    /// Dead for this reason: a [`DeadReason`](crate::reason::DeadReason)'s name; of messages `exhausted`, or one of the
    /// handler's own.
    pub reason: Option<String>,
    /// Died at this time or later, in microseconds since the Unix epoch.
    pub since_us: Option<i64>,
    /// Died before this time.
    pub until_us: Option<i64>,
}

impl Filter {
    /// For the audit.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut filter = json!({
            "event_ids": self.event_ids,
            "event_type": self.event_type,
            "aggregate_type": self.aggregate_type,
            "aggregate_id": self.aggregate_id,
            "reason": self.reason,
            "since": self.since_us.map(timestamp),
            "until": self.until_us.map(timestamp),
        });
        if let Value::Object(members) = &mut filter {
            members.retain(|_, value| !value.is_null());
        }
        filter
    }
}

/// A dead row, without its payload.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadRow {
    /// `seq`.
    pub seq: Seq,
    /// `generation`: what was seen is what is acted on.
    pub generation: i32,
    /// `event_id`.
    pub event_id: Uuid,
    /// `aggregate_type`.
    pub aggregate_type: String,
    /// `aggregate_id`.
    pub aggregate_id: String,
    /// `event_type`.
    pub event_type: String,
    /// `dead_reason`.
    pub reason: String,
    /// `attempts`.
    pub attempts: i32,
    /// `replays`.
    pub replays: i32,
    /// `created_at`, microseconds since the Unix epoch.
    pub created_us: i64,
    /// `dead_at`, likewise.
    pub dead_us: i64,
    /// `last_error`.
    pub error: String,
}

impl DeadRow {
    fn decode(row: &Row) -> Result<Self, DatabaseError> {
        Ok(Self {
            seq: row.try_get(0)?,
            generation: row.try_get(1)?,
            event_id: row.try_get(2)?,
            aggregate_type: row.try_get(3)?,
            aggregate_id: row.try_get(4)?,
            event_type: row.try_get(5)?,
            reason: row.try_get::<_, Option<String>>(6)?.unwrap_or_default(),
            attempts: row.try_get(7)?,
            replays: row.try_get(8)?,
            created_us: row.try_get::<_, Micros>(9)?.0,
            dead_us: row.try_get::<_, Micros>(10)?.0,
            error: row.try_get::<_, Option<String>>(11)?.unwrap_or_default(),
        })
    }

    /// For programs; the names are the table's.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "seq": self.seq,
            "event_id": self.event_id,
            "aggregate_type": self.aggregate_type,
            "aggregate_id": self.aggregate_id,
            "event_type": self.event_type,
            "dead_reason": self.reason,
            "attempts": self.attempts,
            "replays": self.replays,
            "created_at": timestamp(self.created_us),
            "dead_at": timestamp(self.dead_us),
            "last_error": self.error,
        })
    }
}

/// The dead rows of an outbox.
#[derive(Debug)]
pub struct DeadRows<'a> {
    client: &'a Client,
    list: String,
    count: String,
    show: String,
    payload_bytes: String,
    beyond: String,
}

impl<'a> DeadRows<'a> {
    /// Those of a schema.
    #[must_use]
    pub fn new(client: &'a Client, schema: &str) -> Self {
        let list = in_schema(include_str!("../../sql/queries/outbox/list_dead.sql"), schema);
        Self {
            client,
            // What is counted is what would be listed. Postgres leaves out the columns that nobody reads.
            count: format!("select count(*) from (\n{list}\n) listed"),
            list,
            show: in_schema(include_str!("../../sql/queries/outbox/show.sql"), schema),
            payload_bytes: in_schema(include_str!("../../sql/queries/outbox/payload_bytes.sql"), schema),
            beyond: in_schema(include_str!("../../sql/queries/outbox/beyond_horizon.sql"), schema),
        }
    }

    /// Up to `limit` rows after a seq, in seq order.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn list(&self, filter: &Filter, after: Seq, limit: u64) -> Result<Vec<DeadRow>, DatabaseError> {
        self.query(&self.list, filter, after, limit).await?.iter().map(DeadRow::decode).collect()
    }

    /// How many rows there are, counted to `limit`.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn count(&self, filter: &Filter, limit: u64) -> Result<u64, DatabaseError> {
        let counted = self.query(&self.count, filter, Seq::MIN, limit).await?;
        let count = counted.first().map(|row| row.try_get::<_, i64>(0)).transpose()?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }

    /// Runs one of the two, whose parameters are the same.
    async fn query(
        &self,
        statement: &str,
        filter: &Filter,
        after: Seq,
        limit: u64,
    ) -> Result<Vec<Row>, DatabaseError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters: [&(dyn ToSql + Sync); 9] = [
            &filter.event_ids,
            &filter.event_type,
            &filter.aggregate_type,
            &filter.aggregate_id,
            &filter.reason,
            &filter.since_us,
            &filter.until_us,
            &after,
            &limit,
        ];
        Ok(self.client.query(statement, &parameters).await?)
    }

    /// How many of these are older than what some consumer built on the library remembers.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn beyond_horizon(&self, rows: &[DeadRow]) -> Result<i64, DatabaseError> {
        let seqs: Vec<Seq> = rows.iter().map(|row| row.seq).collect();
        Ok(self.client.query_one(&self.beyond, &[&seqs]).await?.try_get(0)?)
    }

    /// How large the payload of a row is as text, and that which it had before somebody edited it; 0 if there is no such row.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn payload_bytes(&self, which: Which) -> Result<i64, DatabaseError> {
        let (event_id, seq) = which.columns();
        let row = self.client.query_opt(&self.payload_bytes, &[&event_id, &seq]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(0))
    }

    /// Every column of a row, dead or not, in the table's order; none if there is no such row.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn show(&self, which: Which, payload: bool) -> Result<Vec<(String, Value)>, DatabaseError> {
        let (event_id, seq) = which.columns();
        let rows = self.client.query(&self.show, &[&event_id, &seq, &payload]).await?;
        let mut columns = Vec::with_capacity(rows.len());
        for row in rows {
            let (name, value): (String, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
            // The text is Postgres' own JSON. What serde could not take is better shown as it is than not at all.
            if let Some(text) = value {
                columns.push((name, serde_json::from_str(&text).unwrap_or(Value::String(text))));
            }
        }
        Ok(columns)
    }
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// By its event id.
    Event(Uuid),
    /// By its seq.
    Seq(Seq),
}

impl Which {
    /// As the parameters of a statement, one of which is null: event id, seq.
    pub(super) fn columns(self) -> (Option<Uuid>, Option<Seq>) {
        match self {
            Self::Event(id) => (Some(id), None),
            Self::Seq(seq) => (None, Some(seq)),
        }
    }
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seq) = text.parse() {
            return Ok(Self::Seq(seq));
        }
        text.parse()
            .map(Self::Event)
            .map_err(|_| "expected an event id (a UUID) or a seq (a number)".to_owned())
    }
}

/// The database's clock, in microseconds since the Unix epoch.
///
/// # Errors
/// When the statement fails.
pub async fn database_now(client: &Client) -> Result<i64, DatabaseError> {
    Ok(client.query_one("select clock_timestamp()", &[]).await?.try_get::<_, Micros>(0)?.0)
}
