//! Cases: what the label worker asks the carrier for, and what the carrier said.

use std::time::Duration;

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::{
    postgres::transaction::{Asked, Typed},
    shipping::money::Money,
};

/// A case as the carrier is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Ours.
    pub reference: Uuid,
    /// The carrier's id, once it is known; buy by this one only.
    pub carrier_shipment_id: Option<String>,
    /// The rate that was chosen with it.
    pub rate_id: Option<String>,
    /// Grams.
    pub weight: i32,
    /// Length, width and height, in millimetres.
    pub size: [i32; 3],
    /// What became of voiding its label: `submitted`, `refunded`, `rejected`, `not_applicable`.
    pub refund: Option<String>,
    /// Where to, as verified if it was: a JSON object.
    pub ship_to: String,
    /// From where: a JSON object.
    pub ship_from: String,
    /// When the shipment was accepted, in microseconds since the Unix epoch: its reference was not used before.
    pub accepted_us: i64,
}

/// A label that was bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Who carries it.
    pub carrier: String,
    /// By which service.
    pub service: Option<String>,
    /// The tracking code.
    pub tracking_code: String,
    /// Where the label can be fetched.
    pub url: Option<String>,
    /// What it cost.
    pub cost: Money,
}

impl Store {
    /// A case; `None` if the shipment has no such one.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn case(
        &self,
        client: &impl Asked,
        shipment_id: Uuid,
        case: i16,
    ) -> Result<Option<Case>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/cases/find.sql");
        let rows = client.query_typed(sql, &[(&shipment_id, Type::UUID), (&case, Type::INT2)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Case {
            reference: row.try_get(0)?,
            carrier_shipment_id: row.try_get(1)?,
            rate_id: row.try_get(2)?,
            weight: row.try_get(3)?,
            size: [row.try_get(4)?, row.try_get(5)?, row.try_get(6)?],
            refund: row.try_get(7)?,
            ship_to: row.try_get(8)?,
            ship_from: row.try_get(9)?,
            accepted_us: row.try_get(10)?,
        }))
    }

    /// Keeps the carrier's id of a case, in a transaction that is committed before anything is bought by it. Returns the
    /// id that holds: the first one that was stored.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn keep_carrier_id(
        &self,
        client: &impl Asked,
        shipment_id: Uuid,
        case: i16,
        carrier_shipment_id: &str,
        rate_id: Option<&str>,
    ) -> Result<String, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/cases/set_carrier_id.sql");
        let rows = client
            .query_typed(
                sql,
                &[
                    (&shipment_id, Type::UUID),
                    (&case, Type::INT2),
                    (&carrier_shipment_id, Type::TEXT),
                    (&rate_id, Type::TEXT),
                ],
            )
            .await?;
        let row = rows.first().ok_or(StoreError::NoShipment(shipment_id))?;
        Ok(row.try_get(0)?)
    }

    /// Keeps since when nobody knows whether a case's label was bought; the first time counts, until it is forgotten by
    /// `lost` being false. Returns how long that is.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn keep_lost(
        &self,
        client: &impl Asked,
        shipment_id: Uuid,
        case: i16,
        lost: bool,
    ) -> Result<Duration, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/cases/set_lost.sql");
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
            [(&shipment_id, Type::UUID), (&case, Type::INT2), (&lost, Type::BOOL)];
        let row = client.query_typed_opt(sql, &parameters).await?;
        let age = row.map(|row| row.try_get::<_, Option<i64>>(0)).transpose()?.flatten();
        Ok(Duration::from_micros(age.and_then(|age| u64::try_from(age).ok()).unwrap_or(0)))
    }

    /// Keeps the label of a case. Returns whether it did: not, if the case has another one.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn keep_label(
        &self,
        client: &impl Asked,
        shipment_id: Uuid,
        case: i16,
        label: &Label,
    ) -> Result<bool, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/cases/set_label.sql");
        let kept = client
            .query_typed_opt(
                sql,
                &[
                    (&shipment_id, Type::UUID),
                    (&case, Type::INT2),
                    (&label.carrier, Type::TEXT),
                    (&label.service, Type::TEXT),
                    (&label.tracking_code, Type::TEXT),
                    (&label.url, Type::TEXT),
                    (&label.cost.minor, Type::INT8),
                    (&label.cost.currency.to_string(), Type::TEXT),
                ],
            )
            .await?;
        Ok(kept.is_some())
    }

    /// Keeps the carrier's word on voiding a label: `submitted`, `refunded`, `rejected` or `not_applicable`. Returns
    /// whether it was news.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn keep_refund(
        &self,
        client: &impl Asked,
        shipment_id: Uuid,
        case: i16,
        refund: &str,
    ) -> Result<bool, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/cases/set_refund.sql");
        let parameters: Typed<'_> = &[(&shipment_id, Type::UUID), (&case, Type::INT2), (&refund, Type::TEXT)];
        Ok(client.query_typed_opt(sql, parameters).await?.is_some())
    }
}
