//! A shipped shipment whose two parties are to be told: `mail/1` and `webhook/2`.

use std::time::Duration;

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
    shipping::{
        notify::{Notify, NotifySettings, mail::MailSettings, schedule::Schedule, webhook::WebhookSettings},
        roles::Part,
        saga::{Input, Outcome},
        shipment::Standing,
        step::{Key, Step, Subject},
    },
};
use tokio::{sync::watch, task::JoinHandle};
use uuid::Uuid;

use crate::{
    postman::Postman,
    receiver::Receiver,
    shipping::{self, label, notify, take, work},
    support::{
        broker::{Broker, short},
        database, servers, wait,
    },
};

pub const MAIL: Key = notify(Subject::Mail(1));
pub const WEBHOOK: Key = notify(Subject::Webhook(2));

/// The current secret of the endpoint, as the order of the shipping tests has it.
pub const SECRET: [u8; 32] = [0xab; 32];

pub struct Rig {
    pub base: shipping::Rig,
    pub broker: Broker,
    pub receiver: Receiver,
    pub postman: Postman,
    pub role: String,
}

impl Rig {
    pub async fn new() -> Self {
        let mut base = shipping::Rig::new().await;
        base.order().await;
        let (receiver, postman) = (Receiver::new(), Postman::new().await);
        let broker = Broker::new(servers::shared()).await;
        broker.declare_exchange(&broker.dead_letter_exchange, lapin::ExchangeKind::Topic).await;
        broker.declare_queue(&broker.dead_letter_queue, &[]).await;
        broker.bind(&broker.dead_letter_queue, &broker.dead_letter_exchange, "#").await;
        // Makes the role with its grants.
        base.part(Part::Notify).await;
        let role = base.one("select current_database() || '_notify'").await;
        let rig = Self { base, broker, receiver, postman, role };
        let quorum = AMQPValue::LongString(LongString::from("quorum"));
        rig.broker.declare_queue(&rig.queue(), &[("x-queue-type", quorum)]).await;
        rig.broker.bind(&rig.queue(), &rig.broker.exchange, "shipment.notify").await;
        let url = rig.receiver.url();
        rig.base.client.execute("update shipping.webhook_endpoints set url = $1", &[&url]).await.unwrap();
        rig
    }

    fn queue(&self) -> String {
        self.broker.name("notify")
    }

    /// A shipment whose every step but telling is done.
    pub async fn shipped(&mut self) -> Uuid {
        let new = shipping::shipment(1, 1, 1);
        let id = new.shipment_id;
        self.base.accept(&new, None).await.unwrap();
        let keys = [
            Key::whole(Step::ValidateAddress),
            label(1),
            Key::whole(Step::RecordTracking),
            Key::whole(Step::CreateInvoice),
            Key::whole(Step::FulfilOrder),
        ];
        for key in keys {
            self.done(id, key).await;
        }
        assert_eq!(self.base.shipment(id).await.standing, Standing::Shipped);
        id
    }

    pub async fn done(&mut self, id: Uuid, key: Key) {
        work(&self.base.store, &mut self.base.client, id, key, Outcome::Done).await;
    }

    pub async fn input(&mut self, id: Uuid, input: Input) {
        take(&self.base.store, &mut self.base.client, id, input).await.unwrap();
    }

    /// Cancels it, and undoes all that was done, but for what parties were told.
    pub async fn cancel(&mut self, id: Uuid) {
        self.input(id, Input::Cancel).await;
        for key in [Key::whole(Step::FulfilOrder), Key::whole(Step::CreateInvoice), label(1)] {
            self.done(id, key).await;
        }
        assert_eq!(self.base.shipment(id).await.standing, Standing::Cancelled);
    }

    /// How parties are told in tests: at short intervals, and on this machine.
    pub fn settings(&self) -> NotifySettings {
        let server = format!("smtp://{}", self.postman.address).parse().unwrap();
        let mail = MailSettings {
            connect_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(10),
            ..MailSettings::new(server, "Shop <shop@example.com>".parse().unwrap())
        };
        NotifySettings {
            relay_schema: "relay".to_owned(),
            mail: Some(mail),
            webhooks: WebhookSettings {
                allow: vec!["127.0.0.0/8".parse().unwrap()],
                allow_http: true,
                deadline: Duration::from_secs(10),
                ..WebhookSettings::default()
            },
            schedule: Schedule::new(vec![Duration::from_millis(50); 3]).unwrap(),
        }
    }

    /// Starts a worker under its role.
    pub fn start(&self) -> Worker {
        self.start_with(self.settings(), |_| {})
    }

    pub fn start_with(&self, settings: NotifySettings, adjust: impl FnOnce(&mut ConsumerSettings)) -> Worker {
        let handler = Notify::new(settings).unwrap();
        let queue = QueueSpec {
            name: self.queue(),
            exchange: self.broker.exchange.clone(),
            routing_keys: vec!["shipment.notify".to_owned()],
            single_active: false,
        };
        // As if it had logged in as the role.
        let mut database = database::settings(&self.base.db.url);
        database.config.options(format!("-c role={}", self.role));
        let amqp = AmqpSettings::new(self.broker.url.parse().unwrap());
        let mut consumer = ConsumerSettings::new("notify", queue, database, amqp);
        handler.adjust(&mut consumer);
        consumer.dead_letter_exchange.clone_from(&self.broker.dead_letter_exchange);
        consumer.poll = Duration::from_millis(20);
        consumer.retry.floor = Duration::from_millis(10);
        consumer.retry.cap = Duration::from_millis(20);
        adjust(&mut consumer);
        Worker::start(consumer, handler)
    }

    /// Publishes every work order that is in the outbox, as relay would.
    pub async fn relay(&self) {
        self.relay_like("%").await;
    }

    /// The same of one shipment.
    pub async fn relay_of(&self, id: Uuid) {
        self.relay_like(&id.to_string()).await;
    }

    async fn relay_like(&self, shipment: &str) {
        let sql = "update relay.outbox set published_at = now()
                   where event_type = 'notify' and published_at is null and aggregate_id like $1
                   returning seq, event_id::text, aggregate_id, payload::text";
        let rows = self.base.client.query(sql, &[&shipment]).await.unwrap();
        for row in rows {
            let payload: String = row.get(3);
            self.publish(row.get(1), row.get(0), row.get(2), payload.as_bytes()).await;
        }
    }

    /// Publishes again what was published before, and under other ids, too.
    pub async fn relay_again(&self) {
        let sql = "select seq, event_id::text, aggregate_id, payload::text from relay.outbox
                   where event_type = 'notify' and published_at is not null";
        for row in self.base.client.query(sql, &[]).await.unwrap() {
            let payload: String = row.get(3);
            for id in [row.get(1), Uuid::new_v4().to_string()] {
                self.publish(id, row.get(0), row.get(2), payload.as_bytes()).await;
            }
        }
    }

    pub async fn publish(&self, id: String, seq: i64, shipment: String, payload: &[u8]) {
        let mut headers = FieldTable::default();
        let long = |text: &str| AMQPValue::LongString(LongString::from(text));
        headers.insert(short("x-relay-seq"), AMQPValue::LongLongInt(seq));
        headers.insert(short("x-relay-aggregate-type"), long("shipment"));
        headers.insert(short("x-relay-aggregate-id"), long(&shipment));
        headers.insert(short("traceparent"), long("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_message_id(short(&id))
            .with_type(short("notify"))
            .with_headers(headers);
        let channel = self.broker.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let exchange = short(&self.broker.exchange);
        let published =
            channel.basic_publish(exchange, short("shipment.notify"), options, payload, properties);
        assert!(published.await.unwrap().await.unwrap().is_ack());
    }

    /// An entry's state, and whether it is stalled.
    pub async fn entry(&self, id: Uuid, key: Key) -> (String, bool) {
        let shipment = self.base.shipment(id).await;
        let entry = shipment.entry(key).unwrap();
        (entry.state.to_string(), entry.stalled)
    }

    pub async fn wait_entry(&self, id: Uuid, key: Key, state: &str) {
        wait::until(&format!("{key} is {state}"), wait::LONG, async || self.entry(id, key).await.0 == state)
            .await;
    }

    pub async fn wait_stalled(&self, id: Uuid, key: Key) {
        wait::until(&format!("{key} is stalled"), wait::LONG, async || self.entry(id, key).await.1).await;
    }

    /// State and error of a notification: `sent`, or `failed: because`.
    pub async fn notification(&self, id: Uuid, party: i16, kind: &str) -> Option<String> {
        let sql = "select state || coalesce(': ' || last_error, '') from shipping.notifications
                   where shipment_id = $1 and party_no = $2 and kind = $3";
        let rows = self.base.client.query(sql, &[&id, &party, &kind]).await.unwrap();
        rows.first().map(|row| row.get(0))
    }

    pub async fn wait_notification(&self, id: Uuid, party: i16, says: &str) {
        wait::until(&format!("party {party}'s notification is {says}"), wait::LONG, async || {
            self.notification(id, party, "shipped").await.is_some_and(|said| said.starts_with(says))
        })
        .await;
    }

    /// State, attempts and status of the one delivery of a shipment.
    pub async fn delivery(&self, id: Uuid) -> (String, i32, Option<i16>) {
        let sql = "select d.state, d.attempts, d.last_status from shipping.deliveries d
                   join shipping.notifications using (notification_id) where shipment_id = $1 and kind = 'shipped'";
        let row = self.base.client.query_one(sql, &[&id]).await.unwrap();
        (row.get(0), row.get(1), row.get(2))
    }

    /// Why the endpoint is disabled.
    pub async fn disabled(&self) -> Option<String> {
        self.base.one("select disabled_reason from shipping.webhook_endpoints").await
    }

    pub async fn sql(&self, sql: &str) {
        self.base.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Waits until the inbox has nothing unfinished.
    pub async fn wait_idle(&self) {
        let sql = "select count(*) = 0 from relay.inbox where state in ('claimed', 'retrying', 'held')";
        wait::until("nothing is unfinished", wait::LONG, async || self.base.one::<bool>(sql).await).await;
    }

    pub async fn end(self, worker: Worker) {
        assert_eq!(worker.drain().await, Ended::Drained);
        self.base.end().await;
    }
}

/// A worker in this process.
pub struct Worker {
    pub notify: Notify,
    pub metrics: ConsumerMetrics,
    health: Health,
    stop: watch::Sender<bool>,
    task: JoinHandle<Ended>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- what is wrong with the worker: {:?}", self.health.troubles());
        }
    }
}

impl Worker {
    fn start(settings: ConsumerSettings, notify: Notify) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (metrics, health) = (ConsumerMetrics::new().unwrap(), Health::new());
        let handler = Handler::external(notify.clone());
        let run = consumer::run(settings, handler, metrics.clone(), health.clone(), stopped);
        let task = tokio::spawn(async move { run.await.expect("the settings are right") });
        Self { notify, metrics, health, stop, task }
    }

    pub async fn drain(mut self) -> Ended {
        self.stop.send_replace(true);
        (&mut self.task).await.expect("it ends well")
    }

    pub fn count(&self, result: &str) -> u64 {
        self.metrics.processed.with_label_values(&["notify", result]).get()
    }
}
