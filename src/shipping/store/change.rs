//! Changing an order.

use tokio_postgres::{types::ToSql, types::Type};
use uuid::Uuid;

use super::{Headers, NewOrder, NewParty, PartyAddress, Store, StoreError};
use crate::{postgres::transaction::Tx, shipping::event::OrderFact};

/// An order, locked.
#[derive(Debug, Clone)]
pub struct LockedOrder {
    /// Rises with every change.
    pub version: i64,
    /// Of all its prices.
    pub currency: String,
    /// Where to: a JSON object.
    pub ship_to: String,
    /// Its lines; the first one is number 1.
    pub lines: Vec<LockedLine>,
    /// Who is told; the first one is number 1.
    pub parties: Vec<NewParty>,
}

/// A line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedLine {
    /// What.
    pub sku: String,
    /// How many.
    pub ordered: i32,
    /// How many of them shipments have taken on or shipped.
    pub taken: i64,
    /// The price of one, in minor units.
    pub price: i64,
}

impl Store {
    /// An order, locked until the transaction ends, its lines before itself.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn lock_order(&self, tx: &Tx<'_>, order_id: &str) -> Result<Option<LockedOrder>, StoreError> {
        let id: [(&(dyn ToSql + Sync), Type); 1] = [(&order_id, Type::TEXT)];
        let sql = include_str!("../../../sql/shipping/queries/order_lines/lock.sql");
        let lines = tx
            .query_typed(sql, &id)
            .await?
            .iter()
            .map(|row| {
                let (reserved, shipped): (i32, i32) = (row.try_get(3)?, row.try_get(4)?);
                Ok(LockedLine {
                    sku: row.try_get(1)?,
                    ordered: row.try_get(2)?,
                    taken: i64::from(reserved) + i64::from(shipped),
                    price: row.try_get(5)?,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        let sql = include_str!("../../../sql/shipping/queries/orders/lock.sql");
        let rows = tx.query_typed(sql, &id).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let sql = include_str!("../../../sql/shipping/queries/parties/show.sql");
        let parties = tx
            .query_typed(sql, &id)
            .await?
            .iter()
            .map(|row| {
                // One of the two, says a constraint.
                let address = match row.try_get::<_, Option<Uuid>>(2)? {
                    Some(endpoint) => PartyAddress::Webhook(endpoint),
                    None => PartyAddress::Mail(row.try_get(1)?),
                };
                Ok(NewParty { role: row.try_get(0)?, address })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(Some(LockedOrder {
            version: row.try_get(0)?,
            currency: row.try_get(1)?,
            ship_to: row.try_get(2)?,
            lines,
            parties,
        }))
    }

    /// Changes an order that is locked, and says so; returns its version. Lines and parties are changed by their number
    /// or added, never taken away.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn change_order(
        &self,
        tx: &Tx<'_>,
        order: &NewOrder,
        headers: Headers<'_>,
    ) -> Result<i64, StoreError> {
        let numbers = |count: usize| (1..).take(count).collect::<Vec<i16>>();
        let lines = include_str!("../../../sql/shipping/queries/order_lines/put.sql");
        tx.query_typed(
            lines,
            &[
                (&order.order_id, Type::TEXT),
                (&numbers(order.lines.len()), Type::INT2_ARRAY),
                (&order.lines.iter().map(|line| line.sku.as_str()).collect::<Vec<_>>(), Type::TEXT_ARRAY),
                (&order.lines.iter().map(|line| line.ordered).collect::<Vec<_>>(), Type::INT4_ARRAY),
                (&order.lines.iter().map(|line| line.price).collect::<Vec<_>>(), Type::INT8_ARRAY),
            ],
        )
        .await?;
        let parties = include_str!("../../../sql/shipping/queries/parties/put.sql");
        let roles: Vec<&str> = order.parties.iter().map(|party| party.role.as_str()).collect();
        tx.query_typed(
            parties,
            &[
                (&order.order_id, Type::TEXT),
                (&numbers(order.parties.len()), Type::INT2_ARRAY),
                (&roles, Type::TEXT_ARRAY),
                (
                    &order.parties.iter().map(|party| party.address.mail()).collect::<Vec<_>>(),
                    Type::TEXT_ARRAY,
                ),
                (
                    &order.parties.iter().map(|party| party.address.endpoint()).collect::<Vec<_>>(),
                    Type::UUID_ARRAY,
                ),
            ],
        )
        .await?;
        let change = include_str!("../../../sql/shipping/queries/orders/change.sql");
        let changed = tx
            .query_typed_one(change, &[(&order.order_id, Type::TEXT), (&order.ship_to, Type::TEXT)])
            .await?;
        self.announce_order(tx, &order.order_id, OrderFact::Changed, None, headers).await?;
        Ok(changed.try_get(0)?)
    }
}
