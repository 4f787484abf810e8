//! One test's surroundings: a database with tables for effects, a corner of the broker, and consumers between them.

use std::{sync::Arc, time::Duration};

use lapin::{
    BasicProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, LongString},
};
use relay::{
    amqp::{AmqpSettings, QueueSpec},
    consumer::{self, ConsumerSettings, Ended, Handler},
    health::Health,
    metrics::ConsumerMetrics,
    retry::RetryPolicy,
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    handlers::{Inside, Obedient, Outside, TABLES},
    support::{
        broker::{Broker, short},
        database::{Database, settings},
        servers::{self, Servers},
        wait,
    },
};

/// The two kinds of handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Inside,
    Outside,
}

/// A message to publish.
#[derive(Debug, Clone)]
pub struct Post {
    pub id: Option<String>,
    pub kind: Option<String>,
    pub key: String,
    pub seq: i64,
    pub body: Vec<u8>,
}

/// A message of relay's, as it would publish it.
pub fn post(id: &str) -> Post {
    Post {
        id: Some(id.to_owned()),
        kind: Some("placed".to_owned()),
        key: id.to_owned(),
        seq: 1,
        body: b"{}".to_vec(),
    }
}

impl Post {
    pub fn of(mut self, key: &str, seq: i64) -> Self {
        self.key = key.to_owned();
        self.seq = seq;
        self
    }

    pub fn body(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self
    }
}

pub struct Rig {
    pub database: Database,
    pub broker: Broker,
}

/// Where a consumer is to run; enough to start one in another process.
#[derive(Debug, Clone)]
pub struct Place {
    pub database_url: String,
    pub amqp_url: String,
    pub exchange: String,
    pub dead_letter_exchange: String,
    pub queue: String,
    /// Whether a worker of its own waits seconds before it tries again, and does so more often.
    pub is_patient: bool,
}

impl Place {
    pub fn settings(&self, name: &str) -> ConsumerSettings {
        let queue = QueueSpec {
            name: self.queue.clone(),
            exchange: self.exchange.clone(),
            routing_keys: vec!["order.#".to_owned()],
            single_active: false,
        };
        let mut database = settings(&self.database_url);
        // A server that is silent is not waited for so long.
        database.connect_timeout = Duration::from_secs(5);
        database.statement_timeout = Duration::from_secs(20);
        let mut settings = ConsumerSettings::new(name, queue, database, self.amqp());
        settings.dead_letter_exchange.clone_from(&self.dead_letter_exchange);
        settings.poll = Duration::from_millis(50);
        settings.deadline = Duration::from_secs(2);
        settings.claim_margin = Duration::from_secs(2);
        settings.retry = RetryPolicy {
            max_attempts: 3,
            floor: Duration::from_millis(20),
            cap: Duration::from_millis(100),
        };
        settings
    }

    fn amqp(&self) -> AmqpSettings {
        let mut settings = AmqpSettings::new(self.amqp_url.parse().expect("a URI"));
        settings.connect_timeout = Duration::from_secs(5);
        settings.confirm_timeout = Duration::from_secs(5);
        settings
    }

    pub fn handler(&self, kind: Kind, name: &str) -> Handler {
        let (url, outside) = (self.database_url.clone(), Arc::default());
        let obedient = Obedient { consumer: name.to_owned(), url, outside };
        match kind {
            Kind::Inside => Handler::transactional(Inside(obedient)),
            Kind::Outside => Handler::external(Outside(obedient)),
        }
    }
}

impl Rig {
    pub async fn new() -> Self {
        Self::on(servers::shared()).await
    }

    /// With the exchanges, a dead-letter queue, and the consumer's queue bound already: tests publish at once.
    pub async fn on(servers: &Servers) -> Self {
        let rig = Self { database: Database::new(servers).await, broker: Broker::new(servers).await };
        rig.database.client().await.batch_execute(TABLES).await.expect("the tables of the handlers");
        let broker = &rig.broker;
        broker.declare_exchange(&broker.dead_letter_exchange, lapin::ExchangeKind::Topic).await;
        broker.declare_queue(&broker.dead_letter_queue, &[]).await;
        broker.bind(&broker.dead_letter_queue, &broker.dead_letter_exchange, "#").await;
        rig.declare_queue().await;
        rig
    }

    /// As the consumer will.
    pub async fn declare_queue(&self) {
        let quorum = AMQPValue::LongString(LongString::from("quorum"));
        self.broker.declare_queue(&self.queue(), &[("x-queue-type", quorum)]).await;
        self.broker.bind(&self.queue(), &self.broker.exchange, "order.#").await;
    }

    pub fn queue(&self) -> String {
        self.broker.name("queue")
    }

    pub fn place(&self) -> Place {
        Place {
            database_url: self.database.url.clone(),
            amqp_url: self.broker.url.clone(),
            exchange: self.broker.exchange.clone(),
            dead_letter_exchange: self.broker.dead_letter_exchange.clone(),
            queue: self.queue(),
            is_patient: false,
        }
    }

    /// Starts a consumer called `shop` with the settings of tests.
    pub fn start(&self, kind: Kind) -> Running {
        self.start_with(kind, |_| {})
    }

    pub fn start_with(&self, kind: Kind, adjust: impl FnOnce(&mut ConsumerSettings)) -> Running {
        let place = self.place();
        let mut settings = place.settings("shop");
        adjust(&mut settings);
        let handler = place.handler(kind, "shop");
        Running::start(settings, handler)
    }

    pub async fn publish(&self, post: &Post) {
        self.publish_all(std::slice::from_ref(post)).await;
    }

    /// Publishes, and waits for the confirms: then they are in the queue.
    pub async fn publish_all(&self, posts: &[Post]) {
        let channel = self.broker.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        for post in posts {
            let mut headers = FieldTable::default();
            let long = |text: &str| AMQPValue::LongString(LongString::from(text));
            headers.insert(short("x-relay-seq"), AMQPValue::LongLongInt(post.seq));
            headers.insert(short("x-relay-aggregate-type"), long("order"));
            headers.insert(short("x-relay-aggregate-id"), long(&post.key));
            headers.insert(short("x-relay-created-at"), long("2026-01-01T00:00:00.000000Z"));
            headers.insert(
                short("traceparent"),
                long("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            );
            let mut properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
            if let Some(id) = &post.id {
                properties = properties.with_message_id(short(id));
            }
            if let Some(kind) = &post.kind {
                properties = properties.with_type(short(kind));
            }
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let exchange = short(&self.broker.exchange);
            let published =
                channel.basic_publish(exchange, short("order.placed"), options, &post.body, properties);
            let confirm = published.await.expect("published").await.expect("confirmed");
            assert!(confirm.is_ack(), "the broker took {post:?}");
        }
    }

    /// Prepares something to go wrong with a message, so many times.
    pub async fn trouble(&self, id: &str, what: &str, times: i32) {
        let sql = "insert into app.troubles (message_id, what) select $1, $2 from generate_series(1, $3)";
        self.database.execute(sql, &[&id, &what, &times]).await;
    }

    pub async fn open_gate(&self, name: &str) {
        self.database.execute("insert into app.gates values ($1)", &[&name]).await;
    }

    /// Waits until somebody stands at the gate.
    pub async fn wait_at_gate(&self, name: &str) {
        wait::until(&format!("somebody waits at {name}"), wait::LONG, async || {
            self.outside(&format!("at {name}")).await > 0
        })
        .await;
    }

    /// How often a message's effect stands.
    pub async fn effects(&self, id: &str) -> i64 {
        let sql = "select count(*) from app.effects where message_id = $1";
        self.database.query(sql, &[&id]).await[0].get(0)
    }

    /// How often the third party was called for a message.
    pub async fn outside(&self, id: &str) -> i64 {
        let sql = "select count(*) from app.outside where message_id = $1";
        self.database.query(sql, &[&id]).await[0].get(0)
    }

    /// A message's state in the inbox, and how often it was tried.
    pub async fn state(&self, id: &str) -> Option<(String, i32)> {
        let sql = "select state, attempts from relay.inbox where consumer = 'shop' and message_id = $1";
        self.database.query(sql, &[&id]).await.first().map(|row| (row.get(0), row.get(1)))
    }

    pub async fn wait_state(&self, id: &str, state: &str) {
        wait::until(&format!("{id} is {state}"), wait::LONG, async || {
            self.state(id).await.is_some_and(|(is, _)| is == state)
        })
        .await;
    }

    pub async fn wait_done(&self, id: &str) {
        self.wait_state(id, "done").await;
    }

    /// Messages that are dead or about to be, and why.
    pub async fn deaths(&self) -> Vec<String> {
        let sql = "select concat_ws(' ', message_id, state, attempts, reason, last_error, first_failed_at) from relay.inbox
                   where reason is not null order by message_id";
        self.database.query(sql, &[]).await.iter().map(|row| row.get(0)).collect()
    }

    /// Waits until the queue is empty and nothing is unacknowledged: deleting it tells, were it not.
    pub async fn wait_queue_empty(&self) {
        wait::until("the queue is empty", wait::LONG, async || self.queue_depth().await == 0).await;
    }

    /// Messages ready in the queue.
    pub async fn queue_depth(&self) -> u32 {
        self.declared().await.map_or(0, |queue| queue.message_count())
    }

    /// Processes that consume it.
    pub async fn consumers(&self) -> u32 {
        self.declared().await.map_or(0, |queue| queue.consumer_count())
    }

    async fn declared(&self) -> Option<lapin::Queue> {
        let options = lapin::options::QueueDeclareOptions {
            passive: true,
            ..lapin::options::QueueDeclareOptions::default()
        };
        let channel = self.broker.channel().await;
        channel.queue_declare(short(&self.queue()), options, FieldTable::default()).await.ok()
    }
}

/// A consumer in this process.
pub struct Running {
    pub metrics: ConsumerMetrics,
    pub health: Health,
    pub stop: watch::Sender<bool>,
    task: JoinHandle<Ended>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- what is wrong with the consumer: {:?}", self.health.troubles());
        }
    }
}

impl Running {
    pub fn start(settings: ConsumerSettings, handler: Handler) -> Self {
        let (stop, stopped) = watch::channel(false);
        let metrics = ConsumerMetrics::new().expect("metrics");
        let health = Health::new();
        let run = consumer::run(settings, handler, metrics.clone(), health.clone(), stopped);
        let task = tokio::spawn(async move { run.await.expect("the settings are right") });
        Self { metrics, health, stop, task }
    }

    pub async fn drain(mut self) -> Ended {
        self.stop.send_replace(true);
        (&mut self.task).await.expect("it ends well")
    }

    pub fn count(&self, result: &str) -> u64 {
        self.metrics.processed.with_label_values(&["shop", result]).get()
    }

    pub async fn wait_count(&self, result: &str, count: u64) {
        wait::until(&format!("{count} are {result}"), wait::LONG, async || self.count(result) >= count).await;
    }

    pub async fn wait_ready(&self) {
        wait::until("the consumer is ready", wait::LONG, async || self.health.troubles().is_empty()).await;
    }
}
