//! A corner of the broker for each test: names of its own, and a tap that sees everything relay publishes.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use lapin::{
    Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{
        BasicGetOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::sync::Mutex;

use super::{database::finally, servers::Servers, wait};

/// A message as a consumer sees it.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: String,
    pub kind: String,
    pub correlation_id: String,
    pub timestamp: u64,
    pub app_id: String,
    pub content_type: String,
    pub delivery_mode: u8,
    pub exchange: String,
    pub routing_key: String,
    pub headers: BTreeMap<String, AMQPValue>,
    pub body: Vec<u8>,
}

impl Delivery {
    /// A header that is a string.
    pub fn text(&self, name: &str) -> String {
        match self.headers.get(name) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("header {name} is {other:?}, not a string"),
        }
    }

    /// A header that is an integer.
    pub fn int(&self, name: &str) -> i64 {
        match self.headers.get(name) {
            Some(AMQPValue::LongLongInt(number)) => *number,
            other => panic!("header {name} is {other:?}, not an integer"),
        }
    }

    /// The row it was.
    pub fn seq(&self) -> i64 {
        self.int("x-relay-seq")
    }
}

/// Names on the broker that no other test has; what exists of them is deleted with it.
#[derive(Debug)]
pub struct Broker {
    pub url: String,
    pub exchange: String,
    pub dead_letter_exchange: String,
    pub dead_letter_queue: String,
    /// Bound to everything of the exchange.
    pub tap: String,
    prefix: String,
    channel: Mutex<Option<(Connection, Channel)>>,
}

pub fn short(text: &str) -> ShortString {
    ShortString::try_new(text).expect("names of tests are short")
}

impl Broker {
    /// Names only.
    pub fn named(servers: &Servers) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("relay-test.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self {
            url: servers.amqp_url.clone(),
            exchange: format!("{prefix}.events"),
            dead_letter_exchange: format!("{prefix}.dlx"),
            dead_letter_queue: format!("{prefix}.dlq"),
            tap: format!("{prefix}.tap"),
            prefix,
            channel: Mutex::new(None),
        }
    }

    /// With the exchange, and a tap on everything it gets.
    pub async fn new(servers: &Servers) -> Self {
        let broker = Self::named(servers);
        broker.declare_exchange(&broker.exchange, ExchangeKind::Topic).await;
        broker.declare_queue(&broker.tap, &[]).await;
        broker.bind(&broker.tap, &broker.exchange, "#").await;
        broker
    }

    /// With the exchange, and a tap that is bound to these routing keys only: others are unroutable.
    pub async fn bound_to(servers: &Servers, routing_keys: &[&str]) -> Self {
        let broker = Self::named(servers);
        broker.declare_exchange(&broker.exchange, ExchangeKind::Topic).await;
        broker.declare_queue(&broker.tap, &[]).await;
        for routing_key in routing_keys {
            broker.bind(&broker.tap, &broker.exchange, routing_key).await;
        }
        broker
    }

    /// A name of this test's own, such as a second exchange's.
    pub fn name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.prefix)
    }

    async fn connect(url: &str) -> Result<(Connection, Channel), lapin::Error> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    /// A channel. Made anew after an error, or when the broker was away.
    pub async fn channel(&self) -> Channel {
        let mut kept = self.channel.lock().await;
        if let Some((connection, channel)) = &*kept
            && connection.status().connected()
            && channel.status().connected()
        {
            return channel.clone();
        }
        let made = wait::found("a connection to the broker", wait::LONG, async || {
            let connect = tokio::time::timeout(Duration::from_secs(5), Self::connect(&self.url));
            connect.await.ok().and_then(Result::ok)
        });
        kept.insert(made.await).1.clone()
    }

    pub async fn declare_exchange(&self, name: &str, kind: ExchangeKind) {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let channel = self.channel().await;
        channel
            .exchange_declare(short(name), kind, options, FieldTable::default())
            .await
            .expect("declare exchange");
    }

    pub async fn delete_exchange(&self, name: &str) {
        let channel = self.channel().await;
        channel
            .exchange_delete(short(name), ExchangeDeleteOptions::default())
            .await
            .expect("delete exchange");
    }

    pub async fn declare_queue(&self, name: &str, arguments: &[(&str, AMQPValue)]) {
        let mut table = FieldTable::default();
        for (argument, value) in arguments {
            table.insert(short(argument), value.clone());
        }
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel().await.queue_declare(short(name), options, table).await.expect("declare queue");
    }

    pub async fn delete_queue(&self, name: &str) {
        let channel = self.channel().await;
        channel.queue_delete(short(name), QueueDeleteOptions::default()).await.expect("delete queue");
    }

    pub async fn purge(&self, name: &str) {
        let channel = self.channel().await;
        channel.queue_purge(short(name), QueuePurgeOptions::default()).await.expect("purge");
    }

    pub async fn bind(&self, queue: &str, exchange: &str, routing_key: &str) {
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let channel = self.channel().await;
        channel
            .queue_bind(short(queue), short(exchange), short(routing_key), options, arguments)
            .await
            .expect("bind");
    }

    pub async fn unbind(&self, queue: &str, exchange: &str, routing_key: &str) {
        let channel = self.channel().await;
        channel
            .queue_unbind(short(queue), short(exchange), short(routing_key), FieldTable::default())
            .await
            .expect("unbind");
    }

    /// Takes everything out of a queue, in order. A queue that does not exist (yet) is empty.
    pub async fn drain(&self, queue: &str) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        loop {
            let channel = self.channel().await;
            match channel.basic_get(short(queue), BasicGetOptions { no_ack: true }).await {
                Ok(Some(message)) => deliveries.push(delivery(message.delivery)),
                Ok(None) => return deliveries,
                Err(error) => {
                    let text = error.to_string();
                    assert!(
                        deliveries.is_empty(),
                        "the broker went away while its queue was drained: {text}"
                    );
                    if text.contains("NOT_FOUND") || text.contains("404") {
                        return deliveries;
                    }
                }
            }
        }
    }

    /// Everything the tap saw since it was drained last.
    pub async fn tapped(&self) -> Vec<Delivery> {
        self.drain(&self.tap).await
    }

    /// Waits until the tap holds this many messages and returns them; there may be more.
    pub async fn wait_tapped(&self, count: usize) -> Vec<Delivery> {
        self.wait_drained(&self.tap, count).await
    }

    /// Waits for this many dead letters.
    pub async fn wait_dead_letters(&self, count: usize) -> Vec<Delivery> {
        self.wait_drained(&self.dead_letter_queue, count).await
    }

    async fn wait_drained(&self, queue: &str, count: usize) -> Vec<Delivery> {
        let mut seen = Vec::new();
        wait::until(&format!("{queue} has {count} messages"), wait::LONG, async || {
            seen.extend(self.drain(queue).await);
            seen.len() >= count
        })
        .await;
        seen
    }
}

fn delivery(message: lapin::message::Delivery) -> Delivery {
    let properties = &message.properties;
    let text =
        |value: &Option<ShortString>| value.as_ref().map(|value| value.to_string()).unwrap_or_default();
    Delivery {
        id: text(properties.message_id()),
        kind: text(properties.kind()),
        correlation_id: text(properties.correlation_id()),
        timestamp: properties.timestamp().unwrap_or_default(),
        app_id: text(properties.app_id()),
        content_type: text(properties.content_type()),
        delivery_mode: properties.delivery_mode().unwrap_or_default(),
        exchange: message.exchange.to_string(),
        routing_key: message.routing_key.to_string(),
        headers: properties
            .headers()
            .iter()
            .flat_map(|headers| headers.inner())
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect(),
        body: message.data,
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let url = self.url.clone();
        let exchanges = [self.exchange.clone(), self.dead_letter_exchange.clone(), self.name("other")];
        let queues =
            [self.tap.clone(), self.dead_letter_queue.clone(), self.name("full"), self.name("queue")];
        // Best effort. Deleting what does not exist is no error to RabbitMQ.
        finally(async move {
            if let Ok((_connection, channel)) = Self::connect(&url).await {
                for name in &queues {
                    let _ = channel.queue_delete(short(name), QueueDeleteOptions::default()).await;
                }
                for name in &exchanges {
                    let _ = channel.exchange_delete(short(name), ExchangeDeleteOptions::default()).await;
                }
            }
        });
    }
}
