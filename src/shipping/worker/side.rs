//! Connections for what has to be committed in the midst of a call, where no transaction is open: as many as there are
//! attempts under way, kept for the next ones.

use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use crate::{
    postgres::{
        connect::{Connection, DatabaseError, connect},
        settings::DatabaseSettings,
    },
    shipping::store::{Store, StoreError},
};

/// Why it could not be committed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SideError {
    #[error(transparent)]
    Connect(#[from] DatabaseError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug)]
pub(super) struct Side {
    settings: DatabaseSettings,
    name: String,
    idle: Mutex<Vec<Connection>>,
}

impl Side {
    pub(super) fn new(settings: DatabaseSettings, name: &str) -> Self {
        Self { settings, name: format!("{name} aside"), idle: Mutex::default() }
    }

    /// Keeps the carrier's id of a case before anything is bought by it; returns the one that holds.
    pub(super) async fn keep_carrier_id(
        &self,
        store: &Store,
        (shipment_id, case): (Uuid, i16),
        carrier_id: &str,
        rate: Option<&str>,
    ) -> Result<String, SideError> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match kept {
            Some(connection) if !connection.client.is_closed() => connection,
            _ => connect(&self.settings, &self.name).await?,
        };
        // After an error the connection is closed.
        let held = store.keep_carrier_id(&connection.client, shipment_id, case, carrier_id, rate).await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(held)
    }
}
