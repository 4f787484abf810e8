//! What the inbox costs a consumer: messages a second through a transactional handler that inserts one row each, over
//! bare inserts of the same rows in transactions of as many. Needs DATABASE_URL and AMQP_URL, and the schema `relay`.
//!
//! `cargo bench --bench inbox`; writes target/bench/inbox.json.

#![allow(clippy::print_stdout, reason = "a benchmark talks")]

use std::time::{Duration, Instant};

use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeleteOptions},
    types::ShortString,
};
use relay::{
    amqp::{AmqpSettings, QueueSpec, Session, Topology, topology},
    consumer::{ConsumerSettings, Delivery, Failure, Handler, Transactional, run},
    health::Health,
    metrics::ConsumerMetrics,
    postgres::connect::{DatabaseSettings, Tls, connect},
};
use tokio_postgres::{Transaction, types::Type};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const MESSAGES: usize = 20_000;
const BATCH: usize = 64;
const QUEUE: &str = "relay-bench.inbox";
const INSERT: &str = "insert into bench_inbox.effects (id) values ($1)";

struct Insert;

impl Transactional for Insert {
    async fn handle(&self, delivery: &Delivery, tx: &Transaction<'_>) -> std::result::Result<(), Failure> {
        tx.query_typed(INSERT, &[(&delivery.message_id, Type::TEXT)]).await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let (database_url, amqp_url) = (std::env::var("DATABASE_URL")?, std::env::var("AMQP_URL")?);
    let database = DatabaseSettings {
        config: database_url.parse()?,
        tls: Tls::Auto,
        ca_file: None,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(30),
        schema: "relay".to_owned(),
    };
    let mut connection = connect(&database, "bench").await?;
    let prepare = "drop schema if exists bench_inbox cascade; create schema bench_inbox;
                   create table bench_inbox.effects (id text);
                   delete from relay.inbox where consumer = 'bench'";
    connection.client.batch_execute(prepare).await?;
    let amqp = AmqpSettings::new(amqp_url.parse()?);
    let session = Session::connect(&amqp, "bench").await?;
    let objects = Topology {
        exchange: "relay-bench.events".to_owned(),
        dead_letter_exchange: "relay-bench.dlx".to_owned(),
        dead_letter_queue: "relay-bench.dlq".to_owned(),
    };
    topology::declare(&session, &objects).await?;
    let queue = QueueSpec {
        name: QUEUE.to_owned(),
        exchange: objects.exchange.clone(),
        routing_keys: vec!["#".to_owned()],
        single_active: false,
    };
    session.declare_queue(&queue).await?;

    // One worker on one connection against one connection: what is compared is the inbox, not how many cores there are.
    let begun = Instant::now();
    let ids: Vec<String> = (0..MESSAGES).map(|n| format!("bare-{n}")).collect();
    for batch in ids.chunks(BATCH) {
        let tx = connection.client.transaction().await?;
        for id in batch {
            tx.query_typed(INSERT, &[(id, Type::TEXT)]).await?;
        }
        tx.commit().await?;
    }
    let bare = MESSAGES as f64 / begun.elapsed().as_secs_f64();

    let broker = Connection::connect(&amqp_url, ConnectionProperties::default()).await?;
    let channel = broker.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut confirms = Vec::new();
    for n in 0..MESSAGES {
        let properties = BasicProperties::default()
            .with_message_id(ShortString::try_new(format!("{}-{n}", std::process::id()))?)
            .with_type(ShortString::try_new("placed")?)
            .with_delivery_mode(2);
        let exchange = ShortString::try_new(objects.exchange.as_str())?;
        let options = BasicPublishOptions::default();
        let routing_key = ShortString::try_new("order.placed")?;
        confirms.push(channel.basic_publish(exchange, routing_key, options, &[b'1'; 512], properties).await?);
    }
    for confirm in confirms {
        confirm.await?;
    }
    let mut settings = ConsumerSettings::new("bench", queue, database, amqp);
    settings.dead_letter_exchange.clone_from(&objects.dead_letter_exchange);
    (settings.workers, settings.batch) = (1, BATCH);
    let metrics = ConsumerMetrics::new()?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let begun = Instant::now();
    let running =
        tokio::spawn(run(settings, Handler::transactional(Insert), metrics.clone(), Health::new(), stopped));
    let done = metrics.processed.with_label_values(&["bench", "done"]);
    while done.get() < MESSAGES as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let inbox = MESSAGES as f64 / begun.elapsed().as_secs_f64();
    stop.send_replace(true);
    running.await??;
    channel.queue_delete(ShortString::try_new(QUEUE)?, QueueDeleteOptions::default()).await?;
    connection.client.batch_execute("drop schema bench_inbox cascade").await?;

    let ratio = inbox / bare;
    println!("bare inserts      {bare:9.0}/s, {BATCH} a commit");
    println!("inbox consumer    {inbox:9.0}/s");
    println!("ratio             {ratio:9.2}   at least 0.6");
    std::fs::create_dir_all("target/bench")?;
    let report = serde_json::json!({ "bare_per_s": bare, "inbox_per_s": inbox, "ratio": ratio });
    std::fs::write("target/bench/inbox.json", format!("{report:#}\n"))?;
    Ok(())
}
