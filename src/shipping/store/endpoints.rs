//! Where webhooks go.

use std::time::Duration;

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::{
    postgres::{client::Client, connect::DatabaseError, transaction::Asked},
    row::micros,
};

/// Where somebody's webhooks go.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// The endpoint.
    pub endpoint_id: Uuid,
    /// Whose it is.
    pub caller: String,
    /// Its URL, which may hold what is nobody's business.
    pub url: String,
}

/// The newest endpoints in use, at most so many.
///
/// # Errors
/// When the statement fails.
pub async fn receivers(client: &Client, most: i64) -> Result<Vec<Receiver>, DatabaseError> {
    let sql = include_str!("../../../sql/shipping/queries/webhook_endpoints/in_use.sql");
    let rows = client.query(sql, &[&most]).await?;
    let receiver = |row: &tokio_postgres::Row| {
        Ok(Receiver { endpoint_id: row.try_get(0)?, caller: row.try_get(1)?, url: row.try_get(2)? })
    };
    rows.iter().map(receiver).collect()
}

impl Store {
    /// Adds an endpoint; returns whether it did: not, if the caller has as many as it may.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn register_endpoint(
        &self,
        client: &impl Asked,
        endpoint_id: Uuid,
        caller: &str,
        (url, secret): (&str, &[u8]),
        most: i64,
    ) -> Result<bool, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/webhook_endpoints/register.sql");
        let added = client
            .query_typed(
                sql,
                &[
                    (&endpoint_id, Type::UUID),
                    (&caller, Type::TEXT),
                    (&url, Type::TEXT),
                    (&secret, Type::BYTEA),
                    (&most, Type::INT8),
                ],
            )
            .await?;
        Ok(!added.is_empty())
    }

    /// One endpoint of a caller, or all that it did not withdraw; each a JSON object without its secret.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn endpoints(
        &self,
        client: &impl Asked,
        caller: &str,
        endpoint_id: Option<Uuid>,
    ) -> Result<Vec<String>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/webhook_endpoints/owned.sql");
        let rows = client.query_typed(sql, &[(&caller, Type::TEXT), (&endpoint_id, Type::UUID)]).await?;
        rows.iter().map(|row| Ok(row.try_get(1)?)).collect()
    }

    /// Which of these endpoints are the caller's and in use.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn usable_endpoints(
        &self,
        client: &impl Asked,
        caller: &str,
        endpoints: &[Uuid],
    ) -> Result<Vec<Uuid>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/webhook_endpoints/usable.sql");
        let rows = client.query_typed(sql, &[(&caller, Type::TEXT), (&endpoints, Type::UUID_ARRAY)]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Takes an endpoint out of use; returns whether the caller has such a one.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn withdraw_endpoint(
        &self,
        client: &impl Asked,
        caller: &str,
        endpoint_id: Uuid,
    ) -> Result<bool, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/webhook_endpoints/withdraw.sql");
        let rows = client.query_typed(sql, &[(&caller, Type::TEXT), (&endpoint_id, Type::UUID)]).await?;
        Ok(!rows.is_empty())
    }

    /// Gives an endpoint a new secret; the one before signs beside it for so long. Returns until when, as JSON; `None` if
    /// the caller has no such endpoint in use.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn rotate_secret(
        &self,
        client: &impl Asked,
        caller: &str,
        endpoint_id: Uuid,
        secret: &[u8],
        overlap: Duration,
    ) -> Result<Option<String>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/webhook_endpoints/rotate.sql");
        let rows = client
            .query_typed(
                sql,
                &[
                    (&caller, Type::TEXT),
                    (&endpoint_id, Type::UUID),
                    (&secret, Type::BYTEA),
                    (&micros(overlap), Type::INT8),
                ],
            )
            .await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
    }
}
