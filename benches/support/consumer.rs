//! Notes when each message came.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use lapin::{Connection, options::BasicConsumeOptions, types::FieldTable};

use crate::servers::{Bench, QUEUE, Result, close, short};

/// When each message came first, by its id.
type Received = Arc<Mutex<HashMap<String, Instant>>>;

/// Takes all messages of the queue.
pub(crate) struct Consumer {
    connection: Connection,
    received: Received,
}

impl Consumer {
    pub(crate) async fn start(bench: &Bench) -> Result<Self> {
        let received = Received::default();
        let connection = bench.broker().await?;
        let channel = connection.create_channel().await?;
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let mut deliveries =
            channel.basic_consume(short(QUEUE)?, short("bench")?, options, FieldTable::default()).await?;
        let noted = Arc::clone(&received);
        tokio::spawn(async move {
            while let Some(Ok(delivery)) = deliveries.next().await {
                let now = Instant::now();
                if let Some(id) = delivery.properties.message_id() {
                    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    noted.entry(id.to_string()).or_insert(now);
                }
            }
        });
        Ok(Self { connection, received })
    }

    /// Whether this message has come.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    /// When each came, once so many have or five seconds are over.
    pub(crate) async fn finish(self, messages: usize) -> Result<HashMap<String, Instant>> {
        let end = Instant::now() + Duration::from_secs(5);
        let received = || self.received.lock().unwrap_or_else(PoisonError::into_inner);
        while received().len() < messages && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Or it would go on taking messages from the next run's queue.
        close(&self.connection).await?;
        let received = std::mem::take(&mut *received());
        Ok(received)
    }
}
