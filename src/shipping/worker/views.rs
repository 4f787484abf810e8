//! The orders' read model, kept from what is told of them. A lower version than is kept is old news.

use super::order::failed;
use crate::{
    consumer::{Delivery, Failure, Transactional},
    postgres::transaction::Tx,
    shipping::{event::OrderEvent, store::Store},
};

/// Keeps the views.
pub(super) struct Views {
    pub(super) store: Store,
}

impl Transactional for Views {
    async fn handle(&self, delivery: &Delivery, tx: &Tx<'_>) -> Result<(), Failure> {
        let event: OrderEvent = delivery.json().map_err(|error| Failure::finally("no_order_event", error))?;
        // As it came: jsonb keeps what this version does not look at.
        let body = std::str::from_utf8(&delivery.body)?;
        self.store.keep_view(tx, &event.order_id, event.version, body).await.map_err(failed)
    }
}
