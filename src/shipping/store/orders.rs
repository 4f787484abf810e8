//! Orders, their lines and their parties.

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Headers, Store, StoreError};
use crate::{
    postgres::transaction::{Asked, Tx},
    shipping::{event::OrderFact, money::Currency},
};

/// An order to add.
#[derive(Debug, Clone)]
pub struct NewOrder {
    /// Its id.
    pub order_id: String,
    /// Of all its prices.
    pub currency: Currency,
    /// Where to: a JSON object.
    pub ship_to: String,
    /// Its lines; the first one is number 1.
    pub lines: Vec<NewOrderLine>,
    /// Who is told; the first one is number 1.
    pub parties: Vec<NewParty>,
}

/// A line of an order.
#[derive(Debug, Clone)]
pub struct NewOrderLine {
    /// What.
    pub sku: String,
    /// How many.
    pub ordered: i32,
    /// The price of one, in minor units.
    pub price: i64,
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewParty {
    /// `customer`, `sales_representative` or `other`.
    pub role: String,
    /// How.
    pub address: PartyAddress,
}

/// How a party is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartyAddress {
    /// By mail to this address.
    Mail(String),
    /// By a webhook to this endpoint.
    Webhook(Uuid),
}

impl PartyAddress {
    /// The mail address, if it is one.
    #[must_use]
    pub fn mail(&self) -> Option<&str> {
        match self {
            Self::Mail(mail) => Some(mail),
            Self::Webhook(_) => None,
        }
    }

    /// The endpoint, if it is one.
    #[must_use]
    pub const fn endpoint(&self) -> Option<Uuid> {
        match self {
            Self::Mail(_) => None,
            Self::Webhook(endpoint) => Some(*endpoint),
        }
    }
}

impl Store {
    /// Adds an order and says so; returns whether it did: not, if there is one of this id.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn place_order(
        &self,
        tx: &Tx<'_>,
        new: &NewOrder,
        headers: Headers<'_>,
    ) -> Result<bool, StoreError> {
        let numbers = |count: usize| (1..).take(count).collect::<Vec<i16>>();
        let sql = include_str!("../../../sql/shipping/queries/orders/insert.sql");
        let added: i64 = tx
            .query_typed_one(
                sql,
                &[
                    (&new.order_id, Type::TEXT),
                    (&new.currency.to_string(), Type::TEXT),
                    (&new.ship_to, Type::TEXT),
                    (&numbers(new.lines.len()), Type::INT2_ARRAY),
                    (&new.lines.iter().map(|line| line.sku.as_str()).collect::<Vec<_>>(), Type::TEXT_ARRAY),
                    (&new.lines.iter().map(|line| line.ordered).collect::<Vec<_>>(), Type::INT4_ARRAY),
                    (&new.lines.iter().map(|line| line.price).collect::<Vec<_>>(), Type::INT8_ARRAY),
                ],
            )
            .await?
            .try_get(0)?;
        if added == 0 {
            return Ok(false);
        }
        let sql = include_str!("../../../sql/shipping/queries/parties/insert.sql");
        tx.query_typed(
            sql,
            &[
                (&new.order_id, Type::TEXT),
                (&numbers(new.parties.len()), Type::INT2_ARRAY),
                (&new.parties.iter().map(|party| party.role.as_str()).collect::<Vec<_>>(), Type::TEXT_ARRAY),
                (&new.parties.iter().map(|party| party.address.mail()).collect::<Vec<_>>(), Type::TEXT_ARRAY),
                (
                    &new.parties.iter().map(|party| party.address.endpoint()).collect::<Vec<_>>(),
                    Type::UUID_ARRAY,
                ),
            ],
        )
        .await?;
        self.announce_order(tx, &new.order_id, OrderFact::Placed, None, headers).await?;
        Ok(true)
    }

    /// Tells what has happened to an order.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn announce_order(
        &self,
        client: &impl Asked,
        order_id: &str,
        fact: OrderFact,
        shipment_id: Option<Uuid>,
        headers: Headers<'_>,
    ) -> Result<(), StoreError> {
        client
            .query_typed(
                &self.announce_order,
                &[
                    (&order_id, Type::TEXT),
                    (&fact.as_str(), Type::TEXT),
                    (&shipment_id, Type::UUID),
                    (&headers, Type::TEXT),
                ],
            )
            .await?;
        Ok(())
    }
}
