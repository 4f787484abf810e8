//! One held key: what it waits for, and going on without its head.

use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{
    audit::Signed,
    status::{HeldKey, held_key},
};
use crate::{
    envelope::timestamp,
    postgres::{
        client::Client,
        connect::DatabaseError,
        sql::{channel, in_schema},
        value::Micros,
    },
    reason::SKIPPED,
    row::Seq,
};

/// Seqs that are looked through for a key's rows: a tenth of a second, whatever the table holds.
const LOOK_BACK: i64 = 50_000;

/// A held key, with its head and what is behind it.
#[derive(Debug, Clone)]
pub struct Key {
    /// Why it waits.
    pub held: HeldKey,
    /// The head's event id, if it is in the table yet.
    pub event_id: Option<Uuid>,
    /// The head's event type, likewise.
    pub event_type: Option<String>,
    /// The head's attempts, likewise.
    pub attempts: Option<i32>,
    /// Rows held behind it, counted to 10,000.
    pub behind: i64,
}

impl Key {
    /// Looks one up; none if it is not held.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn find(
        client: &Client,
        schema: &str,
        aggregate_type: &str,
        aggregate_id: &str,
    ) -> Result<Option<Self>, DatabaseError> {
        let statement = in_schema(include_str!("../../sql/queries/held_keys/show.sql"), schema);
        let row = client.query_opt(&statement, &[&aggregate_type, &aggregate_id]).await?;
        row.map(|row| {
            Ok(Self {
                held: held_key(&row)?,
                event_id: row.try_get(8)?,
                event_type: row.try_get(9)?,
                attempts: row.try_get(10)?,
                behind: row.try_get(11)?,
            })
        })
        .transpose()
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "aggregate_type": self.held.aggregate_type,
            "aggregate_id": self.held.aggregate_id,
            "reason": self.held.reason,
            "paused_by": self.held.paused_by,
            "head_seq": self.held.head_seq,
            "event_id": self.event_id,
            "event_type": self.event_type,
            "attempts": self.attempts,
            "due_in_seconds": self.held.due_in,
            "held_seconds": self.held.held_for,
            "behind": self.behind,
            "last_error": self.held.error,
        })
    }

    /// How it can go on without its head, if it can.
    #[must_use]
    pub fn way_on(&self) -> Option<WayOn> {
        match self.held.reason.as_str() {
            "retrying" => Some(WayOn::Skip),
            "parked" => Some(WayOn::Release),
            _ => None,
        }
    }
}

/// How a key goes on without its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayOn {
    /// The head is being retried: it is given up. It dies without a letter, as `skipped`, and counts as dealt with.
    Skip,
    /// The head is dead and the key parked behind it: the head stays dead, for a later replay or discard.
    Release,
}

impl WayOn {
    /// The verb, as in the audit.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Release => "release",
        }
    }
}

/// Has a key go on without its head, if that is still the one that was seen. Returns whether it was.
///
/// # Errors
/// When the statement fails.
pub async fn go_on(
    client: &Client,
    schema: &str,
    key: &Key,
    way: WayOn,
    signed: &Signed,
) -> Result<bool, DatabaseError> {
    let HeldKey { aggregate_type, aggregate_id, head_seq: head, .. } = &key.held;
    let Signed { actor, note } = signed;
    let channel = channel(schema);
    let skip: [&(dyn ToSql + Sync); 7] =
        [aggregate_type, aggregate_id, head, &SKIPPED, actor, note, &channel];
    let release: [&(dyn ToSql + Sync); 6] = [aggregate_type, aggregate_id, head, actor, note, &channel];
    let row = match way {
        WayOn::Skip => {
            let statement = in_schema(include_str!("../../sql/queries/held_keys/skip.sql"), schema);
            client.query_one(&statement, &skip).await?
        }
        WayOn::Release => {
            let statement = in_schema(include_str!("../../sql/queries/held_keys/release_parked.sql"), schema);
            client.query_one(&statement, &release).await?
        }
    };
    Ok(row.try_get::<_, i64>(0)? > 0)
}

/// A row of a key, without its payload.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRow {
    /// `seq`.
    pub seq: Seq,
    /// `event_id`.
    pub event_id: Uuid,
    /// `event_type`.
    pub event_type: String,
    /// `published`, `dead`, `discarded`, or of an unfinished row `ready`, `waiting`, `held`.
    pub state: String,
    /// `created_at`, microseconds since the Unix epoch.
    pub created_us: i64,
    /// `available_at`, likewise.
    pub available_us: i64,
    /// `published_at`, likewise.
    pub published_us: Option<i64>,
    /// `dead_at`, likewise.
    pub dead_us: Option<i64>,
    /// `dead_reason`.
    pub dead_reason: Option<String>,
    /// `attempts`.
    pub attempts: i32,
    /// `replays`.
    pub replays: i32,
    /// `last_error`.
    pub error: Option<String>,
}

/// The latest rows of a key, the latest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// They.
    pub rows: Vec<KeyRow>,
    /// Rows before this seq that are neither held nor dead were not looked for.
    pub looked_back_to: Seq,
}

impl Timeline {
    /// Reads it, at most so many rows.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn read(
        client: &Client,
        schema: &str,
        aggregate_type: &str,
        aggregate_id: &str,
        limit: i64,
    ) -> Result<Self, DatabaseError> {
        let statement = in_schema(include_str!("../../sql/queries/outbox/of_key.sql"), schema);
        let found = client.query(&statement, &[&aggregate_type, &aggregate_id, &limit, &LOOK_BACK]).await?;
        let looked_back_to = found.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(0);
        let rows = found.iter().map(|row| {
            let time = |index: usize| -> Result<Option<i64>, DatabaseError> {
                Ok(row.try_get::<_, Option<Micros>>(index)?.map(|at| at.0))
            };
            Ok(KeyRow {
                seq: row.try_get(1)?,
                event_id: row.try_get(2)?,
                event_type: row.try_get(3)?,
                state: row.try_get(4)?,
                created_us: row.try_get::<_, Micros>(5)?.0,
                available_us: row.try_get::<_, Micros>(6)?.0,
                published_us: time(7)?,
                dead_us: time(8)?,
                dead_reason: row.try_get(9)?,
                attempts: row.try_get(10)?,
                replays: row.try_get(11)?,
                error: row.try_get(12)?,
            })
        });
        Ok(Self { rows: rows.collect::<Result<_, DatabaseError>>()?, looked_back_to })
    }

    /// For programs; the names are the table's.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "seq": row.seq,
                "event_id": row.event_id,
                "event_type": row.event_type,
                "state": row.state,
                "created_at": timestamp(row.created_us),
                "available_at": timestamp(row.available_us),
                "published_at": row.published_us.map(timestamp),
                "dead_at": row.dead_us.map(timestamp),
                "dead_reason": row.dead_reason,
                "attempts": row.attempts,
                "replays": row.replays,
                "last_error": row.error,
            })
        });
        json!({ "rows": rows.collect::<Vec<_>>(), "looked_back_to": self.looked_back_to })
    }
}
