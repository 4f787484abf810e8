//! What the operator tests share: a database and broker objects of a test's own, the real binary, and waiting on states.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

use std::{
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicGetOptions, BasicPublishOptions, BasicRejectOptions, QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use tokio_postgres::{Client, NoTls};

const LIMIT: Duration = Duration::from_secs(30);

pub struct World {
    pub name: String,
    pub database_url: String,
    pub db: Client,
    pub channel: Channel,
    _connection: Connection,
    admin_url: String,
    env: Vec<(String, String)>,
}

fn server(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; eval \"$(dev/stack up)\" first"))
}

pub async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("Postgres answers");
    tokio::spawn(connection);
    client
}

/// The same server, another database, perhaps as another user.
pub fn url_of(url: &str, database: &str, user: Option<&str>) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (authority, _) = rest.split_once('/').expect("a URL with a database");
    let authority = match (user, authority.rsplit_once('@')) {
        (Some(user), Some((_, host))) => format!("{user}@{host}"),
        (Some(user), None) => format!("{user}@{authority}"),
        (None, _) => authority.to_owned(),
    };
    format!("{scheme}://{authority}/{database}")
}

impl World {
    pub async fn new(test: &str) -> Self {
        let name = format!("op_{test}_{}", std::process::id());
        let admin_url = server("DATABASE_URL");
        let admin = client(&admin_url).await;
        admin.batch_execute(&format!("create database {name}")).await.expect("a database");
        let database_url = url_of(&admin_url, &name, None);
        let amqp_url = server("AMQP_URL");
        let connection =
            Connection::connect(&amqp_url, ConnectionProperties::default()).await.expect("RabbitMQ");
        let channel = connection.create_channel().await.expect("a channel");
        let env = [
            ("DATABASE_URL", database_url.as_str()),
            ("AMQP_URL", amqp_url.as_str()),
            ("RELAY_OUTBOX_EXCHANGE", &format!("{name}.events")),
            ("RELAY_DEAD_LETTER_EXCHANGE", &format!("{name}.dlx")),
            ("RELAY_DEAD_LETTER_QUEUE", &format!("{name}.dlq")),
            ("RELAY_ADMIN_LISTEN", "127.0.0.1:0"),
            ("RELAY_OUTBOX_POLL_INTERVAL", "200ms"),
            ("RELAY_RETRY_FLOOR", "50ms"),
            ("RELAY_RETRY_CAP", "200ms"),
            ("RELAY_LOG_LEVEL", "warn"),
            ("USER", "tester"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
        let db = client(&database_url).await;
        let world = Self { name, database_url, db, channel, _connection: connection, admin_url, env };
        world.ok(&["migrate"]);
        world
    }

    pub fn set(&mut self, key: &str, value: &str) {
        self.env.retain(|(known, _)| known != key);
        self.env.push((key.to_owned(), value.to_owned()));
    }

    pub fn dlq(&self) -> String {
        format!("{}.dlq", self.name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        command.args(args).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RELAY_") {
                command.env_remove(name);
            }
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Runs a command to its end; returns its exit code, stdout and stderr.
    pub fn relay(&self, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(args).output().expect("relay starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }

    /// Runs a command that has to succeed; returns its stdout.
    pub fn ok(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.relay(args);
        assert_eq!(code, 0, "relay {args:?}: {stdout}{stderr}");
        stdout
    }

    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(args)).expect("JSON")
    }

    /// Starts the daemon; it is killed when the result is dropped.
    pub fn daemon(&self) -> Daemon {
        let child = self.command(&["run"]).stdout(Stdio::null()).spawn().expect("relay starts");
        Daemon(child)
    }

    /// Adds a row, returns its seq.
    pub async fn insert(&self, key: &str, kind: &str) -> i64 {
        let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload) \
                   values ('order', $1, $2, '{}') returning seq";
        self.db.query_one(sql, &[&key, &kind]).await.expect("a row").get(0)
    }

    /// Adds a row that is dead already, as if it had been unroutable.
    pub async fn insert_dead(&self, key: &str, kind: &str) -> i64 {
        let seq = self.insert(key, kind).await;
        let sql = "update relay.outbox set dead_at = now(), dead_reason = 'unroutable', attempts = 8, \
                   last_error = '312 NO_ROUTE' where seq = $1";
        self.db.execute(sql, &[&seq]).await.expect("an update");
        seq
    }

    pub async fn park(&self, key: &str, head: i64) {
        let sql = "insert into relay.held_keys (aggregate_type, aggregate_id, lane, head_seq, reason) \
                   select 'order', $1, lane, seq, 'parked' from relay.outbox where seq = $2";
        self.db.execute(sql, &[&key, &head]).await.expect("a held key");
    }

    pub async fn one<T>(&self, sql: &str) -> T
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        self.db.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// Waits until a query answers true.
    pub async fn until(&self, sql: &str) {
        let begun = Instant::now();
        while !self.one::<bool>(sql).await {
            assert!(begun.elapsed() < LIMIT, "never true: {sql}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Declares a queue bound to the events exchange by a key.
    pub async fn bind(&self, queue: &str, key: &str) {
        self.queue(queue, None).await;
        let exchange = format!("{}.events", self.name);
        let bound = self.channel.queue_bind(
            queue.into(),
            exchange.as_str().into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.expect("a binding");
    }

    /// Declares a queue, perhaps with a dead-letter exchange.
    pub async fn queue(&self, queue: &str, dead_letter_exchange: Option<&str>) {
        let mut arguments = FieldTable::default();
        if let Some(exchange) = dead_letter_exchange {
            arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(exchange.into()));
        }
        let options = QueueDeclareOptions { auto_delete: false, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, arguments).await.expect("a queue");
    }

    /// Publishes to a queue, with an id and headers.
    pub async fn publish(&self, queue: &str, id: &str, headers: &[(&str, &str)]) {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
        let properties = BasicProperties::default()
            .with_message_id(id.into())
            .with_content_type("text/plain".into())
            .with_headers(table);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sent = self.channel.basic_publish("".into(), queue.into(), options, b"a body", properties);
        sent.await.expect("a publish");
    }

    /// Takes the next message off a queue, within the limit; acknowledged unless `reject` dead-letters it.
    pub async fn take(&self, queue: &str, reject: bool) -> Taken {
        let begun = Instant::now();
        loop {
            let got = self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("a get");
            if let Some(got) = got {
                if reject {
                    got.delivery.acker.reject(BasicRejectOptions { requeue: false }).await.expect("a reject");
                } else {
                    got.delivery.acker.ack(Default::default()).await.expect("an ack");
                }
                let properties = &got.delivery.properties;
                return Taken {
                    id: properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default(),
                    kind: properties.kind().as_ref().map(ToString::to_string).unwrap_or_default(),
                    content_type: properties
                        .content_type()
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                    headers: properties.headers().clone().unwrap_or_default(),
                    body: got.delivery.data.clone(),
                };
            }
            assert!(begun.elapsed() < LIMIT, "nothing arrives in {queue}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn depth(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let state = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        state.expect("a queue").message_count()
    }

    /// Waits until a queue has so many messages.
    pub async fn until_depth(&self, queue: &str, depth: u32) {
        let begun = Instant::now();
        loop {
            let is = self.depth(queue).await;
            if is == depth {
                return;
            }
            assert!(begun.elapsed() < LIMIT, "{queue} has {is} messages, never {depth}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Declares what the daemon would.
    pub async fn declare(&self) {
        let uri = server("AMQP_URL").parse().expect("an AMQP URI");
        let settings = relay::amqp::AmqpSettings::new(uri);
        let session = relay::amqp::Session::connect(&settings, "test").await.expect("a session");
        let topology = relay::amqp::Topology {
            exchange: format!("{}.events", self.name),
            dead_letter_exchange: format!("{}.dlx", self.name),
            dead_letter_queue: self.dlq(),
        };
        relay::amqp::topology::declare(&session, &topology).await.expect("a topology");
    }

    /// Removes what the test made. Not on a failure: then it is there to look at, in a stack that is wiped anyway.
    pub async fn end(self) {
        for queue in [self.dlq(), format!("{}.work", self.name)] {
            let _ = self.channel.queue_delete(queue.as_str().into(), Default::default()).await;
        }
        for exchange in ["events", "dlx"] {
            let name = format!("{}.{exchange}", self.name);
            let _ = self.channel.exchange_delete(name.as_str().into(), Default::default()).await;
        }
        let name = self.name.clone();
        drop(self.db);
        let admin = client(&self.admin_url).await;
        let _ = admin.batch_execute(&format!("drop database {name} with (force)")).await;
    }
}

pub struct Taken {
    pub id: String,
    pub kind: String,
    pub content_type: String,
    pub headers: FieldTable,
    pub body: Vec<u8>,
}

pub struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
