//! What single workers keep beside the ledger: addresses, tracking, the orders' read model, the carrier's webhooks.

use crate::postgres::transaction::{Asked, Tx};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Store, StoreError};

/// A case, by the carrier's id of it.
pub type CarrierCase = (Uuid, i16);

impl Store {
    /// Where a shipment is to go, as it was asked for: a JSON object.
    ///
    /// # Errors
    /// When there is no such shipment, or the statement fails.
    pub async fn ship_to(&self, client: &impl Asked, id: Uuid) -> Result<String, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/shipments/ship_to.sql");
        let row = client.query_typed_opt(sql, &[(&id, Type::UUID)]).await?;
        Ok(row.ok_or(StoreError::NoShipment(id))?.try_get(0)?)
    }

    /// Keeps where a shipment goes, as the carrier knows it: a JSON object.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn keep_verified(&self, tx: &Tx<'_>, id: Uuid, address: &str) -> Result<(), StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/shipments/verify.sql");
        tx.query_typed(sql, &[(&id, Type::UUID), (&address, Type::TEXT)]).await?;
        Ok(())
    }

    /// Puts the tracking code of a shipment's first case onto the shipment.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn keep_tracking_code(&self, tx: &Tx<'_>, id: Uuid) -> Result<(), StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/shipments/track.sql");
        tx.query_typed(sql, &[(&id, Type::UUID)]).await?;
        Ok(())
    }

    /// How old a shipment is, in microseconds.
    ///
    /// # Errors
    /// When there is no such shipment, or the statement fails.
    pub async fn age(&self, client: &impl Asked, id: Uuid) -> Result<i64, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/shipments/age.sql");
        let row = client.query_typed_opt(sql, &[(&id, Type::UUID)]).await?;
        Ok(row.ok_or(StoreError::NoShipment(id))?.try_get(0)?)
    }

    /// Keeps what an event says of an order, unless something newer is kept.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn keep_view(
        &self,
        tx: &Tx<'_>,
        order_id: &str,
        version: i64,
        body: &str,
    ) -> Result<(), StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/order_views/keep.sql");
        tx.query_typed(sql, &[(&order_id, Type::TEXT), (&version, Type::INT8), (&body, Type::TEXT)]).await?;
        Ok(())
    }

    /// The body of a webhook of the carrier's; `None` if there is none of this id, or it is applied.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn carrier_event(&self, tx: &Tx<'_>, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/carrier_events/find.sql");
        let row = tx.query_typed_opt(sql, &[(&id, Type::TEXT)]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Writes down what became of a webhook of the carrier's.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn settle_event(&self, tx: &Tx<'_>, id: &str, result: &str) -> Result<(), StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/carrier_events/settle.sql");
        tx.query_typed(sql, &[(&id, Type::TEXT), (&result, Type::TEXT)]).await?;
        Ok(())
    }

    /// The case that the carrier knows by this id.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn case_of_carrier(
        &self,
        client: &impl Asked,
        carrier_shipment_id: &str,
    ) -> Result<Option<CarrierCase>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/cases/of_carrier.sql");
        let row = client.query_typed_opt(sql, &[(&carrier_shipment_id, Type::TEXT)]).await?;
        Ok(row.map(|row| Ok::<_, tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?)
    }

    /// Gives a shipment a new version, for a change that is not the ledger's, and holds its lock until the transaction
    /// ends. Everybody locks the shipment before its cases.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn touch(&self, tx: &Tx<'_>, id: Uuid) -> Result<(), StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/shipments/touch.sql");
        tx.query_typed(sql, &[(&id, Type::UUID)]).await?;
        Ok(())
    }

    /// Keeps the carrier's word on a parcel; returns whether it was news. A lower or equal rank never is.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn keep_tracking(
        &self,
        tx: &Tx<'_>,
        (id, case): CarrierCase,
        status: &str,
        rank: i16,
    ) -> Result<bool, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/cases/track.sql");
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
            [(&id, Type::UUID), (&case, Type::INT2), (&status, Type::TEXT), (&rank, Type::INT2)];
        Ok(!tx.query_typed(sql, &parameters).await?.is_empty())
    }
}
