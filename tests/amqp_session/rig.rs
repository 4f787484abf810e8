//! A broker, sessions with it, queues and messages.

use std::{
    fs,
    time::{Duration, Instant},
};

use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
    uri::AMQPUri,
};
use relay::{
    amqp::{AmqpSettings, ConfirmChannel, Session},
    message::{HeaderValue, Message},
    publisher::Outcome,
};
use tokio::sync::RwLock;
use uuid::Uuid;

use crate::proxy::Proxy;

/// Tests that count lapin's threads take it alone, all others share it.
pub(crate) static THREADS: RwLock<()> = RwLock::const_new(());

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn url() -> String {
    std::env::var("AMQP_URL").expect("AMQP_URL must name a running RabbitMQ")
}

pub(crate) fn uri() -> AMQPUri {
    url().parse().expect("AMQP_URL is an AMQP URI")
}

pub(crate) fn upstream() -> String {
    let authority = uri().authority;
    format!("{}:{}", authority.host, authority.port)
}

pub(crate) fn settings() -> AmqpSettings {
    settings_for(&uri())
}

pub(crate) fn settings_for(uri: &AMQPUri) -> AmqpSettings {
    let mut settings = AmqpSettings::new(uri.to_string().parse().unwrap());
    settings.insecure = true;
    settings
}

pub(crate) fn settings_through(proxy: &Proxy) -> AmqpSettings {
    let mut uri = uri();
    uri.authority.host = proxy.address().ip().to_string();
    uri.authority.port = proxy.address().port();
    settings_for(&uri)
}

pub(crate) async fn session() -> Session {
    Session::connect(&settings(), "relay-test").await.unwrap()
}

/// Queues that vanish with the test: exclusive to a connection of its own.
pub(crate) struct Queues {
    _connection: Connection,
    pub(crate) channel: Channel,
}

impl Queues {
    pub(crate) async fn new() -> Self {
        let connection = Connection::connect(&url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self { _connection: connection, channel }
    }

    /// A queue bound to `amq.topic` by its own name.
    pub(crate) async fn bound(&self, arguments: FieldTable) -> String {
        let name = unique("queue");
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(name.as_str().into(), options, arguments).await.unwrap();
        let (queue, key) = (name.as_str().into(), name.as_str().into());
        let options = QueueBindOptions::default();
        self.channel
            .queue_bind(queue, "amq.topic".into(), key, options, FieldTable::default())
            .await
            .unwrap();
        name
    }

    pub(crate) async fn depth(&self, name: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap();
        queue.message_count()
    }
}

pub(crate) fn unique(what: &str) -> String {
    format!("relay-test.{what}.{}", Uuid::new_v4())
}

pub(crate) fn message(routing_key: &str) -> Message {
    let id = Uuid::new_v4().to_string();
    Message {
        exchange: "amq.topic".to_owned(),
        routing_key: routing_key.to_owned(),
        kind: "placed".to_owned(),
        correlation_id: "order-42".to_owned(),
        app_id: "relay".to_owned(),
        timestamp: 1_700_000_000,
        headers: vec![
            ("x-relay-seq".into(), HeaderValue::Int(7)),
            ("traceparent".into(), "00-ab-cd-01".into()),
        ],
        payload: b"{\"paid\":true}".to_vec(),
        id,
    }
}

pub(crate) fn batch(routing_key: &str, size: usize) -> Vec<Message> {
    (0..size).map(|_| message(routing_key)).collect()
}

pub(crate) async fn publish_alone(channel: &mut ConfirmChannel, message: Message) -> Outcome {
    let mut report = channel.publish(&[message]).await;
    report.outcomes.remove(0)
}

pub(crate) fn lapin_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("lapin")).count()
}

pub(crate) async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
