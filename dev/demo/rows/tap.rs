//! A consumer that writes down every delivery.

use std::{
    collections::{HashMap, HashSet},
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

use crate::servers::{Result, until};

const QUEUE: &str = "demo.orders";
const EXCHANGE: &str = "outbox.events";

/// What the consumer has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Deliveries of each message id.
    pub(crate) deliveries: HashMap<String, u64>,
    /// The highest seq delivered first, of each key.
    last: HashMap<String, i64>,
    /// First deliveries that came after a later row of their key.
    pub(crate) inversions: Vec<String>,
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
            let last = self.last.entry(key.clone()).or_default();
            // A broker that was killed hands out again what was on its way to us. It came in time before, and we did not
            // get round to reading it.
            if seq < *last && !delivery.redelivered {
                self.inversions.push(format!("{key}: {seq} came after {last}"));
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
    /// Starts to consume; nothing is bound yet.
    pub(crate) async fn start(url: &str) -> Result<Self> {
        let tap = Self { url: url.to_owned(), seen: Arc::default() };
        tap.bind(&[]).await?;
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

    /// Has it see what goes by these routing keys from now on.
    pub(crate) async fn bind(&self, keys: &[&str]) -> Result<()> {
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
        for key in keys {
            let (queue, exchange, options) = (short(QUEUE)?, short(EXCHANGE)?, QueueBindOptions::default());
            channel.queue_bind(queue, exchange, short(key)?, options, FieldTable::default()).await?;
        }
        // When the connection ends meanwhile, lapin's answer may never come.
        let _ = tokio::time::timeout(Duration::from_secs(2), connection.close(200, short("done")?)).await;
        Ok(())
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so many more deliveries.
    pub(crate) async fn received_more(&self, count: u64) -> Result<()> {
        let goal = self.seen().total + count;
        until(&format!("{count} more messages came"), async || Ok(self.seen().total >= goal)).await
    }

    /// Waits until these have come, or for long enough that what is missing is lost; then until nothing more comes.
    pub(crate) async fn finish(&self, ids: &HashSet<String>) {
        let mut last = (0, Instant::now());
        let lost = Duration::from_secs(15);
        while last.1.elapsed() < lost && !ids.iter().all(|id| self.seen().deliveries.contains_key(id)) {
            let total = self.seen().total;
            if total != last.0 {
                last = (total, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut before = None;
        while before != Some(self.seen().total) {
            before = Some(self.seen().total);
            tokio::time::sleep(Duration::from_millis(300)).await;
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
