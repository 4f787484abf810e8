//! The state of an outbox, as the database alone can tell it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::pauses;
use crate::{
    envelope::timestamp,
    metrics::{HOLDERS, STATES},
    outbox::{
        backlog::{Backlog, COUNTED_TO},
        cleanup::Holder,
        pauses::{Pause, PauseTable},
    },
    pause::{PauseId, Scope},
    postgres::{client::Client, connect::DatabaseError, sql::in_schema, value::Micros},
};

/// Held keys shown at most.
const KEYS: i64 = 10;
/// A key that waits.
#[derive(Debug, Clone)]
pub struct HeldKey {
    /// `aggregate_type`.
    pub aggregate_type: String,
    /// `aggregate_id`.
    pub aggregate_id: String,
    /// The seq of the row it waits for.
    pub head_seq: i64,
    /// `retrying`, `parked`, `releasing` or `paused`.
    pub reason: String,
    /// The pause it waits for, if it is paused.
    pub paused_by: Option<PauseId>,
    /// Seconds until the head is tried again, if it is; negative when overdue.
    pub due_in: Option<f64>,
    /// Seconds it has been held.
    pub held_for: f64,
    /// The head's `last_error`.
    pub error: Option<String>,
}

/// A relay that said it lives within the last day.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Its id.
    pub id: Uuid,
    /// Its name: host and process.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it started, microseconds since the Unix epoch.
    pub started_us: i64,
    /// Seconds since it last said so.
    pub seen_ago: f64,
    /// Lanes it holds leases on.
    pub lanes: Vec<i16>,
    /// Seconds left of the lease that ends first.
    pub lease_left: Option<f64>,
}

/// Everything.
#[derive(Debug, Clone)]
pub struct Status {
    /// What is unfinished.
    pub backlog: Backlog,
    /// What keeps the table from being cleaned furthest.
    pub cleanup: Option<Holder>,
    /// What operators have paused.
    pub pauses: Vec<Pause>,
    /// The keys held longest.
    pub keys: Vec<HeldKey>,
    /// Relays.
    pub relays: Vec<Relay>,
    /// Lanes that no relay holds.
    pub unowned: Vec<i16>,
    /// How many lanes there are.
    pub lanes: usize,
}

impl Status {
    /// Reads it.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn read(client: &Client, schema: &str) -> Result<Self, DatabaseError> {
        let backlog = Backlog::measure(client, schema, 0).await?;
        Self::beside(client, schema, backlog, KEYS).await
    }

    /// Reads the rest beside a backlog that was measured, with at most so many held keys.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn beside(
        client: &Client,
        schema: &str,
        backlog: Backlog,
        most: i64,
    ) -> Result<Self, DatabaseError> {
        let keys = in_schema(include_str!("../../sql/queries/held_keys/first.sql"), schema);
        let keys = client.query(&keys, &[&most]).await?;
        let relays = in_schema(include_str!("../../sql/queries/relays/list.sql"), schema);
        let relays = client.query(&relays, &[]).await?;
        let lanes = in_schema(include_str!("../../sql/queries/lanes/list.sql"), schema);
        let lanes = client.query(&lanes, &[]).await?;
        let mut status = Self {
            backlog,
            cleanup: Holder::find(client).await?,
            pauses: PauseTable::new(schema).list(client).await?,
            keys: keys.iter().map(held_key).collect::<Result<_, _>>()?,
            relays: relays.iter().map(relay).collect::<Result<_, _>>()?,
            unowned: Vec::new(),
            lanes: lanes.len(),
        };
        let mut owners: BTreeMap<Uuid, (Vec<i16>, f64)> = BTreeMap::new();
        for row in &lanes {
            let (lane, owner): (i16, Option<Uuid>) = (row.try_get(0)?, row.try_get(1)?);
            let Some(owner) = owner else {
                status.unowned.push(lane);
                continue;
            };
            let left = row.try_get::<_, Option<f64>>(2)?.unwrap_or(0.0);
            let (lanes, least) = owners.entry(owner).or_insert((Vec::new(), f64::INFINITY));
            lanes.push(lane);
            *least = least.min(left);
        }
        for relay in &mut status.relays {
            if let Some((lanes, left)) = owners.remove(&relay.id) {
                (relay.lanes, relay.lease_left) = (lanes, Some(left));
            }
        }
        Ok(status)
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let pending: serde_json::Map<String, Value> = STATES
            .iter()
            .zip(self.backlog.pending)
            .map(|(state, rows)| ((*state).to_owned(), rows.into()))
            .collect();
        json!({
            "oldest_age_seconds": self.backlog.oldest_age,
            "pending": pending,
            "dead": self.backlog.dead,
            "held_keys": self.backlog.held_keys,
            "counted_to": COUNTED_TO,
            "cleanup_held": self.cleanup.as_ref().map(|holder| json!({
                "by": holder.kind.as_str(),
                "pid": holder.pid,
                "name": holder.name,
                "state": holder.state,
                "age_seconds": holder.seconds,
                "transactions": holder.transactions,
            })),
            "pauses": self.pauses.iter().map(pauses::to_json).collect::<Vec<_>>(),
            "first_held_keys": self.keys.iter().map(|key| json!({
                "aggregate_type": key.aggregate_type,
                "aggregate_id": key.aggregate_id,
                "head_seq": key.head_seq,
                "reason": key.reason,
                "paused_by": key.paused_by,
                "due_in_seconds": key.due_in,
                "held_seconds": key.held_for,
                "last_error": key.error,
            })).collect::<Vec<_>>(),
            "relays": self.relays.iter().map(|relay| json!({
                "relay_id": relay.id,
                "name": relay.name,
                "version": relay.version,
                "started_at": timestamp(relay.started_us),
                "seen_seconds_ago": relay.seen_ago,
                "lanes": relay.lanes,
                "lease_left_seconds": relay.lease_left,
            })).collect::<Vec<_>>(),
            "lanes": self.lanes,
            "unowned_lanes": self.unowned,
        })
    }

    /// For the textfile collector of Prometheus' node exporter, under the daemon's names.
    #[must_use]
    pub fn to_metrics(&self, outbox: &str) -> String {
        let outbox = outbox.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let mut text = String::new();
        let mut gauge = |name: &str, help: &str, samples: &[(String, String)]| {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
            for (labels, value) in samples {
                text.push_str(&format!("{name}{{outbox=\"{outbox}\"{labels}}} {value}\n"));
            }
        };
        let one = |value: String| [(String::new(), value)];
        gauge(
            "relay_oldest_unpublished_age_seconds",
            "Age of the oldest due row that is neither published nor dead; 0 when there is none.",
            &one(self.backlog.oldest_age.to_string()),
        );
        gauge(
            "relay_oldest_ready_age_seconds",
            "Age of the oldest due row that never failed and is not published; 0 when there is none.",
            &one(self.backlog.oldest_ready_age.to_string()),
        );
        gauge(
            "relay_oldest_dead_age_seconds",
            "Since the first death that nobody has dealt with; 0 when there is none.",
            &one(self.backlog.oldest_dead_age.to_string()),
        );
        gauge(
            "relay_oldest_held_key_age_seconds",
            "Since when the key waits that has waited longest behind a failed or dead head; 0 when none does.",
            &one(self.backlog.oldest_held_age.to_string()),
        );
        let states: Vec<_> = STATES
            .iter()
            .zip(self.backlog.pending)
            .map(|(state, rows)| (format!(",state=\"{state}\""), rows.to_string()))
            .collect();
        gauge("relay_pending_rows", "Unfinished rows by state, counted to 10,000 at most.", &states);
        gauge(
            "relay_held_keys",
            "Keys that wait behind a failed or dead head.",
            &one(self.backlog.held_keys.to_string()),
        );
        let paused: Vec<_> = Scope::ALL
            .iter()
            .map(|scope| {
                let of_scope = self.pauses.iter().filter(|pause| pause.target.scope() == *scope);
                (format!(",scope=\"{scope}\""), of_scope.count().to_string())
            })
            .collect();
        gauge(
            "relay_paused",
            "Pauses that operators made and that stand: of everything, of routes, of keys.",
            &paused,
        );
        let held: Vec<_> = HOLDERS
            .iter()
            .map(|by| {
                let holder = self.cleanup.as_ref().filter(|holder| holder.kind.as_str() == *by);
                let seconds = holder.and_then(|holder| holder.seconds).unwrap_or(0.0);
                (format!(",by=\"{by}\""), seconds.to_string())
            })
            .collect();
        gauge(
            "relay_cleanup_held_seconds",
            "Age of what keeps vacuum from cleaning furthest: a session, a prepared transaction or a slot; 0 for the others.",
            &held,
        );
        gauge(
            "relay_dead_rows",
            "Dead rows that nobody has dealt with, counted to 10,000 at most.",
            &one(self.backlog.dead.to_string()),
        );
        gauge(
            "relay_lanes_unowned",
            "Lanes that no relay holds a lease on.",
            &one(self.unowned.len().to_string()),
        );
        text
    }
}

pub(super) fn held_key(row: &tokio_postgres::Row) -> Result<HeldKey, DatabaseError> {
    Ok(HeldKey {
        aggregate_type: row.try_get(0)?,
        aggregate_id: row.try_get(1)?,
        head_seq: row.try_get(2)?,
        reason: row.try_get(3)?,
        due_in: row.try_get(4)?,
        held_for: row.try_get(5)?,
        error: row.try_get(6)?,
        paused_by: row.try_get(7)?,
    })
}

fn relay(row: &tokio_postgres::Row) -> Result<Relay, DatabaseError> {
    Ok(Relay {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        version: row.try_get(2)?,
        started_us: row.try_get::<_, Micros>(3)?.0,
        seen_ago: row.try_get(4)?,
        lanes: Vec::new(),
        lease_left: None,
    })
}
