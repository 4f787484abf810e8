//! What comes in from outside: the carrier's webhooks.

use crate::postgres::transaction::Asked;
use tokio_postgres::types::Type;

use super::{Headers, Store, StoreError};

impl Store {
    /// Keeps a webhook of the carrier's, once for its id, and sends `carrier.event_received` to whoever applies it, in
    /// the same statement. Returns whether it was new.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn receive_carrier_event(
        &self,
        client: &impl Asked,
        event_id: &str,
        body: &[u8],
        headers: Headers<'_>,
    ) -> Result<bool, StoreError> {
        let parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
            &[(&event_id, Type::TEXT), (&body, Type::BYTEA), (&headers, Type::TEXT)];
        Ok(!client.query_typed(&self.receive, parameters).await?.is_empty())
    }
}
