//! What the inbox costs a consumer: messages a second through a transactional handler that inserts one row each, over
//! bare inserts of the same rows in transactions of as many.

use std::time::{Duration, Instant};

use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use relay::{
    amqp::{AmqpSettings, QueueSpec, Session, Topology, topology},
    consumer::{ConsumerSettings, Delivery, Failure, Handler, Transactional, run},
    health::Health,
    metrics::ConsumerMetrics,
    postgres::{connect::connect, transaction::Tx},
};
use tokio_postgres::types::Type;

use crate::{
    Result, database,
    report::{Report, median, setting},
    stack::Servers,
};

const BATCH: usize = 64;
const QUEUE: &str = "relay-bench.inbox";
const INSERT: &str = "insert into bench_inbox.effects (id) values ($1)";

struct Insert;

impl Transactional for Insert {
    async fn handle(&self, delivery: &Delivery, tx: &Tx<'_>) -> std::result::Result<(), Failure> {
        tx.query_typed(INSERT, &[(&delivery.message_id, Type::TEXT)]).await?;
        Ok(())
    }
}

pub(crate) async fn measure(servers: &Servers, report: &mut Report) -> Result<()> {
    let (mut bare, mut inbox, mut ratios) = (vec![], vec![], vec![]);
    for _ in 0..setting("BENCH_PAIRS", 5) {
        let (one, other) = pair(servers, setting("BENCH_MESSAGES", 20_000)).await?;
        println!("  bare inserts {one:.0}/s, inbox {other:.0}/s, ratio {:.2}", other / one);
        ratios.push(other / one);
        bare.push(one);
        inbox.push(other);
    }
    report.add(&format!("bare inserts, {BATCH} a commit"), median(&bare), "/s", None);
    report.add("messages through the inbox", median(&inbox), "/s", None);
    report.add("inbox over bare inserts", median(&ratios), "", Some("at least 0.6"));
    Ok(())
}

/// Rows a second of bare inserts, and messages a second of the consumer: one worker on one connection against one
/// connection, for what is compared is the inbox, not how many cores there are.
async fn pair(servers: &Servers, messages: usize) -> Result<(f64, f64)> {
    let database = database(&servers.database_url)?;
    let mut connection = connect(&database, "bench").await?;
    let prepare = "drop schema if exists bench_inbox cascade; create schema bench_inbox;
                   create table bench_inbox.effects (id text);
                   delete from relay.inbox where consumer = 'bench'";
    connection.client.batch_execute(prepare).await?;
    let begun = Instant::now();
    let ids: Vec<String> = (0..messages).map(|n| format!("bare-{n}")).collect();
    for batch in ids.chunks(BATCH) {
        let tx = connection.begin().await?;
        for id in batch {
            tx.query_typed(INSERT, &[(id, Type::TEXT)]).await?;
        }
        tx.commit().await?;
    }
    let bare = messages as f64 / begun.elapsed().as_secs_f64();

    let amqp = AmqpSettings::new(servers.amqp_url.parse()?);
    let objects = Topology {
        exchange: "relay-bench.events".to_owned(),
        dead_letter_exchange: "relay-bench.dlx".to_owned(),
        dead_letter_queue: "relay-bench.dlq".to_owned(),
    };
    let queue = fill(servers, &amqp, &objects, messages).await?;
    let mut settings = ConsumerSettings::new("bench", queue, database, amqp);
    settings.dead_letter_exchange.clone_from(&objects.dead_letter_exchange);
    (settings.workers, settings.batch) = (1, BATCH);
    let metrics = ConsumerMetrics::new()?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let begun = Instant::now();
    let running =
        tokio::spawn(run(settings, Handler::transactional(Insert), metrics.clone(), Health::new(), stopped));
    let done = metrics.processed.with_label_values(&["bench", "done"]);
    while done.get() < messages as u64 {
        if running.is_finished() || begun.elapsed() > Duration::from_secs(300) {
            return Err(format!("{} of {messages} messages were consumed", done.get()).into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let inbox = messages as f64 / begun.elapsed().as_secs_f64();
    stop.send_replace(true);
    running.await??;
    Ok((bare, inbox))
}

/// A queue with so many messages in it.
async fn fill(
    servers: &Servers,
    amqp: &AmqpSettings,
    objects: &Topology,
    messages: usize,
) -> Result<QueueSpec> {
    let session = Session::connect(amqp, "bench").await?;
    topology::declare(&session, objects).await?;
    let queue = QueueSpec {
        name: QUEUE.to_owned(),
        exchange: objects.exchange.clone(),
        routing_keys: vec!["#".to_owned()],
        single_active: false,
    };
    session.declare_queue(&queue).await?;
    let broker = Connection::connect(&servers.amqp_url, ConnectionProperties::default()).await?;
    let channel = broker.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut confirms = Vec::new();
    for n in 0..messages {
        let properties = BasicProperties::default()
            .with_message_id(ShortString::try_new(n.to_string())?)
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
    // When the connection ends meanwhile, lapin's answer may never come.
    let closing = broker.close(200, ShortString::try_new("done")?);
    let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
    Ok(queue)
}
