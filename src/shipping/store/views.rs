//! What is shown to whoever asks: JSON that the database writes.

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::{postgres::transaction::Asked, shipping::shipment::Standing};

/// A shipment as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Rises with every change to it or its ledger.
    pub version: i64,
    /// Its state.
    pub standing: Standing,
    /// All of it: a JSON object.
    pub body: String,
}

/// An order as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownOrder {
    /// Of which version.
    pub version: i64,
    /// All of it: a JSON object, with `as_of`.
    pub body: String,
}

impl Store {
    /// A shipment with its cases, its ledger and its invoice.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn show(&self, client: &impl Asked, id: Uuid) -> Result<Option<Shown>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/shipments/show.sql");
        let rows = client.query_typed(sql, &[(&id, Type::UUID)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let standing = row.try_get::<_, &str>(1)?.parse()?;
        Ok(Some(Shown { version: row.try_get(0)?, standing, body: row.try_get(2)? }))
    }

    /// The versions of those shipments that there are.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn versions(&self, client: &impl Asked, ids: &[Uuid]) -> Result<Vec<(Uuid, i64)>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/shipments/versions.sql");
        let rows = client.query_typed(sql, &[(&ids, Type::UUID_ARRAY)]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// The shipments of an order, oldest first, at most so many, each a JSON object; from the one after this on.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn shipments_of(
        &self,
        client: &impl Asked,
        order_id: &str,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<(Uuid, String)>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/shipments/of_order.sql");
        let parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
            &[(&order_id, Type::TEXT), (&after, Type::UUID), (&limit, Type::INT8)];
        let rows = client.query_typed(sql, parameters).await?;
        rows.iter().map(|row| Ok((row.try_get(1)?, row.try_get(0)?))).collect()
    }

    /// An order as its latest event told it; `None` before the first one was taken in.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn order_view(
        &self,
        client: &impl Asked,
        order_id: &str,
    ) -> Result<Option<ShownOrder>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/order_views/find.sql");
        shown_order(client, sql, order_id).await
    }

    /// An order as it stands.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn show_order(
        &self,
        client: &impl Asked,
        order_id: &str,
    ) -> Result<Option<ShownOrder>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/orders/show.sql");
        shown_order(client, sql, order_id).await
    }
}

async fn shown_order(
    client: &impl Asked,
    sql: &str,
    order_id: &str,
) -> Result<Option<ShownOrder>, StoreError> {
    let rows = client.query_typed(sql, &[(&order_id, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(ShownOrder { version: row.try_get(0)?, body: row.try_get(1)? }))
}
