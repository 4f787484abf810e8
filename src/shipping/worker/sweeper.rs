//! Looks after what nobody drives: work orders that got lost, idempotency keys whose time is up, and shipments that wait for
//! an operator.
//!
//! No work order should ever get lost: it is in the outbox, in the queue or in the inbox. Should somebody purge a queue or
//! empty a table all the same, its entry would wait for ever. So when one has been out for long and is not in the inbox,
//! another takes its place; the old one, should it turn up, finds nothing to do.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    cause::chain,
    metrics::WorkerMetrics,
    postgres::{
        connect::{Connection, connect},
        settings::DatabaseSettings,
    },
    shipping::{
        saga::Input,
        step::{Key, Step},
        store::{Store, StoreError},
    },
};

/// Between two rounds, at most.
const ROUND: Duration = Duration::from_secs(60);
/// Work orders of one round; keys of one statement.
const LIMIT: i64 = 100;
const KEYS: i64 = 1000;

/// What a round looks at.
#[derive(Debug)]
pub(super) struct Sweeper {
    pub(super) store: Store,
    pub(super) database: DatabaseSettings,
    pub(super) step: Step,
    /// Whose inbox holds the step's work orders.
    pub(super) consumer: String,
    /// How long a work order is out before it is missed.
    pub(super) after: Duration,
    /// If it keeps house as well: forgets keys, and counts for these what waits for an operator.
    pub(super) house: Option<WorkerMetrics>,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Database(#[from] crate::postgres::connect::DatabaseError),
    #[error(transparent)]
    Statement(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sweeper {
    /// Runs until it is dropped. A round that fails is said and done again with the next one: the consumer beside it
    /// reports on the database.
    pub(super) async fn run(self) {
        loop {
            // Spread, so that several processes do not come at once.
            tokio::time::sleep(ROUND.min(self.after).mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
            match timeout(ROUND, self.round()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(step = %self.step, "cannot sweep: {}", chain(&error)),
                Err(_) => tracing::debug!(step = %self.step, "cannot sweep: no answer within {ROUND:?}"),
            }
        }
    }

    async fn round(&self) -> Result<(), SweepError> {
        let mut connection = connect(&self.database, "shipments sweeper").await?;
        let lost =
            self.store.lost_orders(&connection.client, self.step, &self.consumer, self.after, LIMIT).await?;
        for (id, key) in lost {
            self.remind(&mut connection, id, key).await?;
        }
        if let Some(metrics) = &self.house {
            self.store.prune_keys(&connection.client, KEYS).await?;
            metrics.need_attention(self.store.needing_attention(&connection.client).await?);
        }
        Ok(())
    }

    async fn remind(&self, connection: &mut Connection, id: uuid::Uuid, key: Key) -> Result<(), SweepError> {
        let tx = connection.begin().await?;
        let why = "its work order seemed to be lost, so another was sent";
        self.store.take(&tx, id, &Input::Remind(key), Some(why), "{}").await?;
        tx.commit().await?;
        tracing::warn!(shipment_id = %id, "{key}: {why}");
        Ok(())
    }
}
