//! Bills and credit notes.

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::{
    postgres::transaction::Tx,
    shipping::money::{Currency, Money},
};

/// An invoice or a credit note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bill {
    /// Its number.
    pub number: i64,
    /// What it comes to.
    pub total: Money,
}

impl Store {
    /// Bills a shipment for all it ships, once: a second time returns the same invoice.
    ///
    /// # Errors
    /// When a label is not bought, the shipment is being undone, or a statement fails.
    pub async fn create_invoice(&self, tx: &Tx<'_>, shipment_id: Uuid) -> Result<Bill, StoreError> {
        let id = [(&shipment_id as _, Type::UUID)];
        let insert = include_str!("../../../sql/shipping/queries/invoices/insert.sql");
        let find = include_str!("../../../sql/shipping/queries/invoices/find.sql");
        let row = match tx.query_typed_opt(insert, &id).await? {
            Some(row) => Some(row),
            None => tx.query_typed_opt(find, &id).await?,
        };
        bill(&row.ok_or(StoreError::NotBillable(shipment_id))?)
    }

    /// Credits a shipment's invoice in full, once: a second time returns the same credit note. `None`: it has no invoice.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn credit_invoice(
        &self,
        tx: &Tx<'_>,
        shipment_id: Uuid,
        reason: &str,
    ) -> Result<Option<Bill>, StoreError> {
        let insert = include_str!("../../../sql/shipping/queries/credit_notes/insert.sql");
        let find = include_str!("../../../sql/shipping/queries/credit_notes/find.sql");
        let inserted =
            tx.query_typed_opt(insert, &[(&shipment_id, Type::UUID), (&reason, Type::TEXT)]).await?;
        let row = match inserted {
            Some(row) => Some(row),
            None => tx.query_typed_opt(find, &[(&shipment_id, Type::UUID)]).await?,
        };
        row.as_ref().map(bill).transpose()
    }
}

fn bill(row: &Row) -> Result<Bill, StoreError> {
    let currency = Currency::new(row.try_get(2)?)?;
    Ok(Bill { number: row.try_get(0)?, total: Money { minor: row.try_get(1)?, currency } })
}
