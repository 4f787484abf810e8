//! Messages as a consumer sees them: of every kind in the document one, at least, each as it says.

use std::{collections::BTreeSet, time::Duration};

use lapin::{
    BasicProperties, ExchangeKind,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::AMQPValue,
};
use relay::{
    amqp::{AmqpSettings, QueueSpec},
    consumer::{self, ConsumerSettings, Delivery as Given, Ended, Failure, Handler, Transactional, Tx},
    health::Health,
    metrics::ConsumerMetrics,
    reason::DeadReason,
};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::{
    document::{described_headers, document, keys, report},
    rig::Rig,
    shipments::lives,
    support::{
        broker::{Broker, Delivery, short},
        database::{Database, settings},
        relay::Relay,
        servers, wait,
    },
};

/// Gives everything up at once.
struct Hopeless;

impl Transactional for Hopeless {
    async fn handle(&self, _: &Given, _: &Tx<'_>) -> Result<(), Failure> {
        Err(Failure::finally("unknown_type", "not for me"))
    }
}

/// Runs a consumer of the carrier's events that gives them up, until it is told to stop.
fn hopeless(
    database: &Database,
    broker: &Broker,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = Ended> + use<> {
    let queue = QueueSpec {
        name: broker.name("queue"),
        exchange: broker.exchange.clone(),
        routing_keys: vec!["carrier.#".to_owned()],
        single_active: false,
    };
    let amqp = AmqpSettings::new(broker.url.parse().expect("a URI"));
    let mut settings = ConsumerSettings::new("shop", queue, settings(&database.url), amqp);
    settings.dead_letter_exchange.clone_from(&broker.dead_letter_exchange);
    settings.poll = Duration::from_millis(50);
    let metrics = ConsumerMetrics::new().expect("metrics");
    let run = consumer::run(settings, Handler::transactional(Hopeless), metrics, Health::new(), stop);
    async { run.await.expect("the settings are right") }
}

/// A header or a body as JSON.
fn json_of(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Void => Value::Null,
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Double(value) => (*value).into(),
        AMQPValue::LongString(value) => value.to_string().into(),
        other => panic!("a header of a type that relay never sends: {other:?}"),
    }
}

/// A delivery, as dev/asyncapi takes it.
fn as_message(name: &str, delivery: &Delivery) -> Value {
    let headers: Map<String, Value> =
        delivery.headers.iter().map(|(name, value)| (name.clone(), json_of(value))).collect();
    let mut message = json!({
        "message": name,
        "headers": headers,
        "properties": {
            "message_id": delivery.id, "type": delivery.kind, "correlation_id": delivery.correlation_id,
            "timestamp": delivery.timestamp, "app_id": delivery.app_id, "content_type": delivery.content_type,
            "delivery_mode": delivery.delivery_mode,
        },
    });
    // What is no JSON is described as what it is: a body of which nothing is said.
    if let Ok(payload) = serde_json::from_slice::<Value>(&delivery.body) {
        message["payload"] = payload;
    }
    message
}

/// Which of the letters it is, by the headers that tell.
fn letter(delivery: &Delivery) -> &'static str {
    let has = |name: &str| delivery.headers.contains_key(name);
    match (has("x-relay-original-queue"), has("x-relay-consumer"), has("x-relay-payload-omitted")) {
        (true, true, false) => "garbageLetter",
        (false, true, false) => "consumerLetter",
        (false, false, true) => "rowLetterWithoutPayload",
        (false, false, false) => "rowLetter",
        other => panic!("a letter of no kind: {other:?}"),
    }
}

/// Rows that die, with what they die of.
async fn spoil(database: &Database, nowhere: &str) -> Vec<DeadReason> {
    let sql =
        "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, headers, exchange)
               values ('order', $1, $2, to_jsonb(repeat('x', $3)), $4::text::jsonb, $5)";
    let own = r#"{"n": 1, "half": 0.5, "yes": true, "none": null}"#;
    let rows: [(DeadReason, &str, i32, &str, Option<&str>); 5] = [
        (DeadReason::Unroutable, "lost", 1, own, Some(nowhere)),
        (DeadReason::PayloadTooLarge, "large", 5000, own, None),
        (DeadReason::InvalidHeaders, "odd", 1, r#"{"x-death": 1}"#, None),
        (DeadReason::InvalidName, "", 1, own, None),
        (DeadReason::ForbiddenExchange, "astray", 1, own, Some("amq.topic")),
    ];
    for (reason, kind, length, headers, exchange) in rows {
        database.execute(sql, &[&reason.as_str(), &kind, &length, &headers, &exchange]).await;
    }
    // And one that goes out as any other does.
    database.execute(sql, &[&"17", &"paid", &1, &own, &None::<&str>]).await;
    rows.map(|(reason, ..)| reason).to_vec()
}

/// Makes the consumer's queue, and puts into it what is no message.
async fn litter(broker: &Broker) {
    let (queue, quorum) = (broker.name("queue"), AMQPValue::LongString("quorum".into()));
    broker.declare_queue(&queue, &[("x-queue-type", quorum)]).await;
    broker.bind(&queue, &broker.exchange, "carrier.#").await;
    let channel = broker.channel().await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    let (options, none) = (BasicPublishOptions::default(), BasicProperties::default());
    let sent = channel.basic_publish(short(""), short(&queue), options, b"{", none);
    assert!(sent.await.expect("published").await.expect("confirmed").is_ack());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_the_document_is_met_on_the_wire_and_is_as_described() {
    let mut rig = Rig::new().await;
    lives(&mut rig).await;
    let broker = Broker::new(servers::shared()).await;
    let nowhere = broker.name("other");
    broker.declare_exchange(&nowhere, ExchangeKind::Topic).await;
    let reasons = spoil(&rig.db, &nowhere).await;
    let relay = Relay::between(&rig.db, &broker)
        .env("RELAY_RETRY_MAX_ATTEMPTS", "1")
        .env("RELAY_LIMITS_PAYLOAD_BYTES", "4096")
        .env("RELAY_OUTBOX_ALLOWED_EXCHANGES", &nowhere);
    litter(&broker).await;
    let (stop, stopped) = watch::channel(false);
    let consumer = tokio::spawn(hopeless(&rig.db, &broker, stopped));
    let mut running = relay.ready().await;
    rig.db.wait_finished(wait::LONG).await;

    // One for each row that died, one of the consumer, one of what it was littered with.
    let letters = broker.wait_dead_letters(reasons.len() + 2).await;
    let events = broker.tapped().await;
    stop.send_replace(true);
    assert!(matches!(consumer.await.unwrap(), Ended::Drained), "it is told to stop, and does");
    running.drain().await;

    let known = keys(&document()["components"]["messages"]);
    let mut messages = Vec::new();
    for event in &events {
        messages.push(as_message("row", event));
        if known.contains(&event.routing_key.as_str()) {
            messages.push(as_message(&event.routing_key, event));
        } else {
            assert_eq!(event.routing_key, "order.paid", "an event of shipping's that is not described");
        }
    }
    messages.extend(letters.iter().map(|delivery| as_message(letter(delivery), delivery)));
    assert_eq!(report(&messages).troubles, [""; 0]);

    let met: BTreeSet<&str> = messages.iter().filter_map(|message| message["message"].as_str()).collect();
    assert_eq!(met, known.into_iter().collect(), "not every message was met");
    let headers = messages.iter().flat_map(|message| message["headers"].as_object().unwrap().keys());
    let headers: BTreeSet<&str> =
        headers.map(String::as_str).filter(|name| name.starts_with("x-relay-")).collect();
    assert_eq!(headers, described_headers().into_iter().collect(), "not every header was met");
}
