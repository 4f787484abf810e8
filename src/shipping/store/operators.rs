//! What operators see and do, and what looks after what nobody drives.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::{
    named::named,
    postgres::transaction::{Asked, Tx},
    row::micros,
    shipping::step::{Key, Step},
};

/// A shipment in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Which.
    pub shipment_id: Uuid,
    /// Of which order.
    pub order_id: String,
    /// Its state.
    pub state: String,
    /// For how long it has not changed, in seconds.
    pub unchanged: f64,
    /// What went wrong, for people.
    pub reason: String,
    /// Its entries that wait for an operator, or failed.
    pub waiting: String,
}

impl Listed {
    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "shipment_id": self.shipment_id, "order_id": self.order_id, "state": self.state,
            "unchanged_seconds": self.unchanged, "reason": self.reason, "waiting": self.waiting,
        })
    }
}

named! {
    /// What an operator did.
    Action, "act" {
        /// Cancelled a shipment.
        Cancel = "cancel",
        /// Had an entry tried again.
        Retry = "retry",
        /// Said what became of an entry.
        Resolve = "resolve",
    }
}

/// What an operator did, for the record.
#[derive(Debug, Clone)]
pub struct Deed<'a> {
    /// Who.
    pub actor: &'a str,
    /// What.
    pub action: Action,
    /// To which shipment.
    pub shipment_id: Uuid,
    /// To which entry of it.
    pub key: Option<Key>,
    /// Why.
    pub reason: &'a str,
    /// More of it: a JSON object.
    pub detail: &'a str,
}

impl Store {
    /// Whether shipping's tables are in this database.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn is_installed(client: &impl Asked) -> Result<bool, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/shipments/installed.sql");
        Ok(client.query_typed_one(sql, &[]).await?.try_get(0)?)
    }

    /// Shipments in a state, of an order, or all of them: the longest unchanged first.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn list(
        &self,
        client: &impl Asked,
        state: Option<&str>,
        order_id: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Listed>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/shipments/list.sql");
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
            [(&state, Type::TEXT), (&order_id, Type::TEXT), (&limit, Type::INT8)];
        let rows = client.query_typed(sql, &parameters).await?;
        rows.iter()
            .map(|row| {
                Ok(Listed {
                    shipment_id: row.try_get(0)?,
                    order_id: row.try_get(1)?,
                    state: row.try_get(2)?,
                    unchanged: row.try_get(3)?,
                    reason: row.try_get(4)?,
                    waiting: row.try_get(5)?,
                })
            })
            .collect()
    }

    /// Everything about a shipment: a JSON object.
    ///
    /// # Errors
    /// When there is none, or the statement fails.
    pub async fn sheet(&self, client: &impl Asked, id: Uuid) -> Result<String, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/shipments/sheet.sql");
        let row = client.query_typed_opt(sql, &[(&id, Type::UUID)]).await?;
        Ok(row.ok_or(StoreError::NoShipment(id))?.try_get(0)?)
    }

    /// Records what an operator did, in the transaction in which it is done.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn record(&self, tx: &Tx<'_>, deed: &Deed<'_>) -> Result<(), StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/acts/insert.sql");
        let step = deed.key.map(|key| key.step.as_str());
        let subject = deed.key.map(|key| key.subject.to_string());
        let action = deed.action.as_str();
        tx.query_typed(
            sql,
            &[
                (&deed.actor, Type::TEXT),
                (&action, Type::TEXT),
                (&deed.shipment_id, Type::UUID),
                (&step, Type::TEXT),
                (&subject, Type::TEXT),
                (&deed.reason, Type::TEXT),
                (&deed.detail, Type::TEXT),
            ],
        )
        .await?;
        Ok(())
    }

    /// Entries of a step whose work order is out for so long, and that is not in its consumer's inbox.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn lost_orders(
        &self,
        client: &impl Asked,
        step: Step,
        consumer: &str,
        after: Duration,
        limit: i64,
    ) -> Result<Vec<(Uuid, Key)>, StoreError> {
        let (name, after) = (step.as_str(), micros(after));
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
            [(&name, Type::TEXT), (&consumer, Type::TEXT), (&after, Type::INT8), (&limit, Type::INT8)];
        let rows = client.query_typed(&self.lost, &parameters).await?;
        let key = |row: &tokio_postgres::Row| -> Result<_, StoreError> {
            Ok((row.try_get(0)?, Key { step, subject: row.try_get::<_, &str>(1)?.parse()? }))
        };
        rows.iter().map(key).collect()
    }

    /// How many shipments wait for an operator, counted to 10,000.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn needing_attention(&self, client: &impl Asked) -> Result<i64, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/shipments/attention.sql");
        Ok(client.query_typed_one(sql, &[]).await?.try_get(0)?)
    }
}
