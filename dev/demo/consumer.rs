//! A consumer that writes down every delivery.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use lapin::{
    Connection, ConnectionProperties, ExchangeKind,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

use crate::servers::{Error, Result};

const QUEUE: &str = "demo.orders";
const EXCHANGE: &str = "outbox.events";

/// What the consumer has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Deliveries of each message id.
    pub(crate) deliveries: HashMap<String, u64>,
    /// The highest seq delivered first, of each key.
    last: HashMap<String, i64>,
    /// First deliveries that came after a later row of their key; replayed ones don't count.
    pub(crate) inversions: u64,
    total: u64,
}

impl Seen {
    fn note(&mut self, delivery: &Delivery) {
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let header = |name: &str| headers.inner().get(name).cloned();
        let text = |name: &str| match header(name) {
            Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
            _ => String::new(),
        };
        let seq = match header("x-relay-seq") {
            Some(AMQPValue::LongLongInt(seq)) => seq,
            _ => 0,
        };
        let id = delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        self.total += 1;
        let deliveries = self.deliveries.entry(id).or_default();
        *deliveries += 1;
        if *deliveries == 1 {
            let key = format!("{}/{}", text("x-relay-aggregate-type"), text("x-relay-aggregate-id"));
            let last = self.last.entry(key).or_default();
            if seq < *last {
                self.inversions += 1;
            }
            *last = seq.max(*last);
        }
    }
}

/// A queue bound to orders, and what came through it.
pub(crate) struct Tap {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

fn short(text: &str) -> Result<ShortString> {
    Ok(ShortString::try_new(text)?)
}

impl Tap {
    pub(crate) async fn start(url: &str) -> Result<Self> {
        let tap = Self { url: url.to_owned(), seen: Arc::default() };
        tap.bind("order.#").await?;
        let (url, seen) = (tap.url.clone(), Arc::clone(&tap.seen));
        tokio::spawn(async move {
            loop {
                // The broker is killed on the way; a consumer simply comes back.
                let _ = consume(&url, &seen).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Ok(tap)
    }

    pub(crate) async fn bind_invoices(&self) -> Result<()> {
        self.bind("invoice.#").await
    }

    async fn bind(&self, key: &str) -> Result<()> {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel
            .exchange_declare(short(EXCHANGE)?, ExchangeKind::Topic, durable, FieldTable::default())
            .await?;
        let mut arguments = FieldTable::default();
        arguments.insert(short("x-queue-type")?, AMQPValue::LongString(LongString::from("quorum")));
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(short(QUEUE)?, durable, arguments).await?;
        let options = QueueBindOptions::default();
        channel
            .queue_bind(short(QUEUE)?, short(EXCHANGE)?, short(key)?, options, FieldTable::default())
            .await?;
        // When the connection ends meanwhile, lapin's answer may never come.
        let _ = tokio::time::timeout(Duration::from_secs(2), connection.close(200, short("done")?)).await;
        Ok(())
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so many more deliveries.
    pub(crate) async fn received_more(&self, count: u64, limit: Duration) -> Result<()> {
        let goal = self.seen().total + count;
        let end = Instant::now() + limit;
        while self.seen().total < goal {
            if Instant::now() > end {
                return Err(Error::from(format!("no {count} messages came within {limit:?}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until nothing more has come for a while.
    pub(crate) async fn quiet(&self, how_long: Duration) {
        let mut last = self.seen().total;
        loop {
            tokio::time::sleep(how_long).await;
            let now = self.seen().total;
            if now == last {
                return;
            }
            last = now;
        }
    }
}

async fn consume(url: &str, seen: &Mutex<Seen>) -> Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(200, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut deliveries =
        channel.basic_consume(short(QUEUE)?, short("demo")?, options, FieldTable::default()).await?;
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery?;
        seen.lock().unwrap_or_else(PoisonError::into_inner).note(&delivery);
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}
