//! `relay doctor`, where the broker, or what relay publishes to there, is not as it should be.

use lapin::{
    ExchangeKind,
    types::{AMQPValue, LongString},
};
use relay::operator::doctor::Check;

use crate::{
    alarm::Alarm,
    doctor::Doctor,
    rig::{Rig, through_proxy},
    several_outboxes::{File, block},
    support::{
        broker::Broker,
        database::Database,
        relay::finish,
        servers::{self, Own},
    },
};

fn quorum() -> [(&'static str, AMQPValue); 1] {
    [("x-queue-type", AMQPValue::LongString(LongString::from("quorum")))]
}

/// A relay's own objects, as somebody declares them by hand; the queue is not bound.
async fn declare(broker: &Broker) {
    broker.declare_exchange(&broker.dead_letter_exchange, ExchangeKind::Topic).await;
    broker.declare_queue(&broker.dead_letter_queue, &quorum()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_differs_from_what_relay_declares_is_told_and_stays_as_it_is() {
    let rig = Rig::new().await;
    let broker = &rig.broker;
    let doctor = Doctor::new(&rig.database, broker);
    broker.declare_exchange(&broker.dead_letter_exchange, ExchangeKind::Fanout).await;
    broker.declare_queue(&broker.dead_letter_queue, &[]).await;
    for _ in 0..2 {
        let said = doctor.says();
        assert_eq!(said.code, 2);
        let (exchange, queue) = (Check::DeadLetterExchange, Check::DeadLetterQueue);
        let delete = format!("delete exchange name={}", broker.dead_letter_exchange);
        said.assert(exchange, "failure", "received 'topic' but current is 'fanout'", &delete);
        said.assert(queue, "failure", "x-queue-type", "dead_letter.queue");
        said.assert(Check::DeadLetterBinding, "skipped", "needs rabbitmq.dead_letter_exchange", "");
        said.assert_only(&[exchange, queue, Check::DeadLetterBinding]);
    }
    // What is only to be there may be of another type; but a queue that is not replicated is worth a word.
    let verifying = Doctor::new(&rig.database, broker).env("RELAY_OUTBOX_DECLARE", "false");
    let said = verifying.says();
    said.assert_well(Check::DeadLetterExchange);
    said.assert(Check::DeadLetterQueue, "warning", "x-queue-type", "dead_letter.queue");
    assert_eq!(said.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_where_relay_does_not_declare_it() {
    let rig = Rig::new().await;
    let (database, broker) = (&rig.database, &rig.broker);
    let doctor = Doctor::new(database, broker).env("RELAY_OUTBOX_DECLARE", "false");
    let said = doctor.says();
    assert_eq!(said.code, 2);
    let (exchange, queue) = (&broker.dead_letter_exchange, &broker.dead_letter_queue);
    said.assert_well(Check::Exchange);
    let declare_exchange = format!("rabbitmqadmin declare exchange name={exchange} type=topic");
    said.assert(Check::DeadLetterExchange, "failure", "does not exist", &declare_exchange);
    let declare_queue = format!("rabbitmqadmin declare queue name={queue} durable=true queue_type=quorum");
    said.assert(Check::DeadLetterQueue, "failure", "does not exist", &declare_queue);
    // Nobody can tell by asking whether they are bound, until a row died, or could not.
    declare(broker).await;
    let said = doctor.says();
    said.assert(Check::DeadLetterBinding, "skipped", "no letter was sent yet", "rabbitmqctl list_bindings");
    assert_eq!(said.code, 0, "{:#}", said.report);
    broker.delete_exchange(&broker.exchange).await;
    doctor.says().assert(Check::Exchange, "failure", "does not exist", "outbox.declare = true");
    broker.declare_exchange(&broker.exchange, ExchangeKind::Topic).await;

    let relay = rig.relay().env("RELAY_OUTBOX_DECLARE", "false").env("RELAY_RETRY_CAP", "1s");
    let relay = relay.env("RELAY_RETRY_MAX_ATTEMPTS", "1").ready().await;
    let dying = database.insert("1", "placed").await;
    relay
        .wait_metric("relay_retries_total", &["dead_letter_failed"], crate::support::wait::LONG, |rows| {
            rows > 0.0
        })
        .await;
    let said = doctor.says();
    let bind = format!("source={exchange} destination_type=queue destination={queue} routing_key=#");
    said.assert(Check::DeadLetterBinding, "failure", "312 NO_ROUTE", &bind);
    assert_eq!(said.code, 2);
    broker.bind(queue, exchange, "#").await;
    database.wait_finished(crate::support::wait::LONG).await;
    assert_eq!(database.state(dying).await.dead_reason.as_deref(), Some("unroutable"));
    let said = doctor.says();
    said.assert(Check::DeadLetterBinding, "ok", "a letter got there at", "");
    said.assert(Check::DeadLetterQueue, "ok", "quorum queue with 1 letters", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_drops_letters_which_are_given_back_is_told_whoever_declared_it() {
    let rig = Rig::new().await;
    let (database, broker) = (&rig.database, &rig.broker);
    broker.declare_exchange(&broker.dead_letter_exchange, ExchangeKind::Topic).await;
    let declaring = || Doctor::new(database, broker);
    let verifying = || declaring().env("RELAY_OUTBOX_DECLARE", "false");
    let queue = &broker.dead_letter_queue;
    // RabbitMQ 3 takes what lifts the limit of RabbitMQ 4 for a limit that is exceeded at once.
    for (limit, times) in [(5, "more than 5 times"), (-1, "more than 0 times")] {
        let [kind] = quorum();
        broker.declare_queue(queue, &[kind, ("x-delivery-limit", AMQPValue::LongLongInt(limit))]).await;
        let delete = format!("rabbitmqctl delete_queue -p / {queue}, once it is empty");
        let said = declaring().says();
        said.assert(Check::DeadLetterQueue, "failure", times, &delete);
        said.assert_only(&[Check::DeadLetterQueue, Check::DeadLetterBinding]);
        verifying().says().assert(Check::DeadLetterQueue, "warning", times, "without x-delivery-limit");
        broker.delete_queue(queue).await;
    }
    broker.declare_queue(queue, &quorum()).await;
    declaring().says().assert_only(&[]);
    verifying().says().assert_well(Check::DeadLetterQueue);
    // What else differs is told as well, and the limit is no excuse.
    broker.delete_queue(queue).await;
    let [kind] = quorum();
    let more = [
        kind,
        ("x-delivery-limit", AMQPValue::LongLongInt(5)),
        ("x-message-ttl", AMQPValue::LongLongInt(1000)),
    ];
    broker.declare_queue(queue, &more).await;
    declaring().says().assert(Check::DeadLetterQueue, "failure", "x-message-ttl", "dead_letter.queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_missing_is_told_and_nothing_is_delivered_to_those_that_exist() {
    let rig = Rig::new().await;
    let (database, broker) = (&rig.database, &rig.broker);
    let (there, gone) = (broker.name("other"), broker.name("gone"));
    broker.declare_exchange(&there, ExchangeKind::Fanout).await;
    broker.bind(&broker.tap, &there, "").await;
    for exchange in [&there, &gone, &String::new()] {
        let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, exchange)
                   values ('order', '1', 'placed', '{}', $1)";
        database.execute(sql, &[exchange]).await;
    }
    database.insert("1", "placed").await;
    let allowed = format!("{there},{gone}");
    let doctor = Doctor::new(database, broker).env("RELAY_OUTBOX_ALLOWED_EXCHANGES", allowed);
    let said = doctor.says();
    said.assert(Check::Routes, "failure", &gone, &format!("rabbitmqadmin declare exchange name={gone}"));
    said.assert(Check::Routes, "warning", "exchange \"\"", "relay dlq discard --reason invalid_name");
    said.assert(Check::Routes, "ok", &format!("nobody knows: \"order.placed\" of {:?}", broker.exchange), "");
    said.assert_only(&[Check::Routes]);
    assert!(broker.tapped().await.is_empty(), "a probe was delivered");
    // Nothing goes there any more.
    let sql = "update relay.outbox set dead_at = now(), dead_reason = 'refused', resolved_at = now()
               where exchange in ($1, '')";
    database.execute(sql, &[&gone]).await;
    doctor.says().assert_only(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_hangs_or_refuses_is_told_in_time_and_the_database_all_the_same() {
    let rig = Rig::new().await;
    let (proxy, through) = through_proxy(&rig.broker.url).await;
    let doctor = Doctor::new(&rig.database, &rig.broker)
        .env("AMQP_URL", &through)
        .env("RELAY_AMQP_CONNECT_TIMEOUT", "1s");
    doctor.says().assert_only(&[]);
    proxy.freeze();
    let said = doctor.says();
    said.assert(
        Check::Broker,
        "failure",
        "did not finish the AMQP handshake within 1s",
        "rabbitmqctl status",
    );
    said.assert(Check::Routes, "skipped", "needs rabbitmq.connection", "");
    said.assert_well(Check::Rights);
    proxy.thaw();
    drop(proxy);
    let said = doctor.says();
    said.assert(Check::Broker, "failure", "cannot reach 127.0.0.1", "rabbitmq-diagnostics listeners");
    assert_eq!(said.code, 2);
    let (start, host) =
        rig.broker.url.split_once('@').map(|(_, host)| ("amqp://guest:wrong@", host)).unwrap();
    let said = doctor.env("AMQP_URL", format!("{start}{host}")).says();
    said.assert(
        Check::Broker,
        "failure",
        "refused the login of user \"guest\"",
        "rabbitmqctl authenticate_user guest",
    );
}

/// A user with a virtual host of its own.
struct User<'a>(&'a Own, &'static str);

impl<'a> User<'a> {
    fn new(own: &'a Own, name: &'static str) -> Self {
        own.rabbitmqctl(&["-q", "add_user", name, "relay"]);
        Self(own, name)
    }

    fn may(&self, configure: &str, write: &str, read: &str) {
        self.0.rabbitmqctl(&["-q", "set_permissions", "-p", "/", self.1, configure, write, read]);
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.0.rabbitmqctl(&["-q", "delete_user", self.1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_right_that_a_user_lacks_is_told_with_the_command_that_gives_it() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let (database, broker) = (&rig.database, &rig.broker);
    let user = User::new(&own, "doctor");
    let (_, host) = broker.url.split_once('@').unwrap();
    let doctor = Doctor::new(database, broker).env("AMQP_URL", format!("amqp://doctor:relay@{host}"));
    let names = [&broker.exchange, &broker.dead_letter_exchange, &broker.dead_letter_queue];
    let [exchange, dlx, dlq] = names.map(|name| name.replace('.', "\\."));
    let said = doctor.says();
    let all = format!("'^({exchange}|{dlx}|{dlq})$' '^({exchange}|{dlx}|{dlq})$' '^({dlx}|{dlq})$'");
    let permissions = format!("rabbitmqctl set_permissions -p / doctor {all}");
    said.assert(Check::Broker, "failure", "refused virtual host", &permissions);

    // Everything that relay needs, and no more.
    let (write, read) = (format!("^({exchange}|{dlx}|{dlq})$"), format!("^({dlx}|{dlq})$"));
    user.may(&write, &write, &read);
    let mut relay = rig.relay().env("AMQP_URL", &format!("amqp://doctor:relay@{host}")).ready().await;
    let seq = database.insert("1", "placed").await;
    database.wait_published(seq).await;
    let said = doctor.says();
    said.assert(Check::RoundTrip, "skipped", "no queue of its own", "");
    said.assert_only(&[Check::RoundTrip]);
    assert_eq!(said.code, 0);
    relay.drain().await;

    for (configure, write, read, check, right) in [
        (format!("^({dlx}|{dlq})$"), write.clone(), read.clone(), Check::Exchange, "configure"),
        (write.clone(), format!("^({dlx}|{dlq})$"), read.clone(), Check::Exchange, "write"),
        (
            format!("^({exchange}|{dlq})$"),
            write.clone(),
            read.clone(),
            Check::DeadLetterExchange,
            "configure",
        ),
        (write.clone(), format!("^({exchange}|{dlq})$"), read.clone(), Check::DeadLetterExchange, "write"),
        (format!("^({exchange}|{dlx})$"), write.clone(), read.clone(), Check::DeadLetterQueue, "configure"),
        (write.clone(), format!("^({exchange}|{dlx})$"), read.clone(), Check::DeadLetterBinding, ""),
        (write.clone(), write.clone(), "^$".to_owned(), Check::DeadLetterBinding, ""),
    ] {
        user.may(&configure, &write, &read);
        let said = doctor.says();
        assert_eq!(said.code, 2, "{check} {right}: {:#}", said.report);
        said.assert(check, "failure", right, &permissions);
    }
    // Who only verifies needs less.
    user.may("^$", &format!("^({exchange}|{dlx})$"), "^$");
    let said = doctor.env("RELAY_OUTBOX_DECLARE", "false").says();
    assert_eq!(said.code, 0, "{:#}", said.report);
    said.assert(Check::DeadLetterQueue, "ok", "only those see who may configure it", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_no_messages_is_told_and_the_rest_is_looked_at() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let doctor = Doctor::new(&rig.database, &rig.broker).env("RELAY_AMQP_CONNECT_TIMEOUT", "3s");
    let alarm = Alarm::raise(&own);
    let said = doctor.says();
    drop(alarm);
    assert_eq!(said.code, 2);
    said.assert(
        Check::RoundTrip,
        "failure",
        "takes no messages: low on memory",
        "rabbitmq-diagnostics alarms",
    );
    said.assert_only(&[Check::RoundTrip]);
    doctor.says().assert_only(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_outboxes_each_is_looked_at_and_named() {
    let (shop, billing) = (Rig::new().await, Rig::new().await);
    billing.database.execute("drop index relay.outbox_dead", &[]).await;
    let file = File::new(&[
        block("shop", &shop.database.url, &shop.broker, &shop.broker.url),
        block("billing", &billing.database.url, &billing.broker, "amqp://guest:guest@127.0.0.1:1"),
    ]);
    let env = [("RELAY_CONFIG", file.0.as_str())];
    let said = finish(&["doctor", "-o", "json"], &env);
    assert_eq!(said.code, Some(2), "{}{}", said.stdout, said.stderr);
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let bad = report["findings"].as_array().unwrap().iter().filter(|finding| !finding["cure"].is_null());
    let bad: Vec<_> = bad.map(|finding| (finding["outbox"].as_str(), finding["check"].as_str())).collect();
    let billing = Some("billing");
    assert_eq!(bad, [(billing, Some("schema.indexes")), (billing, Some("rabbitmq.connection"))]);
    let said = finish(&["doctor"], &env);
    let (first, second) = said.stdout.split_once("\noutbox billing\n").unwrap();
    assert!(first.starts_with("outbox shop\n") && !first.contains("FAILURE"), "{first}");
    assert!(second.contains("FAILURE  rabbitmq.connection"), "{second}");
    assert_eq!(finish(&["doctor", "--outbox", "shop"], &env).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_contradict_each_other_are_told() {
    let servers = servers::shared();
    let (database, broker) = (Database::new(servers).await, Broker::named(servers));
    let cases = [
        (
            "RELAY_DATABASE_CONNECT_TIMEOUT",
            "30s",
            Check::Times,
            "gives all lanes away",
            "database.connect_timeout",
        ),
        (
            "RELAY_DATABASE_STATEMENT_TIMEOUT",
            "100ms",
            Check::Times,
            "is cut off",
            "database.statement_timeout",
        ),
        ("RELAY_OUTBOX_POLL_INTERVAL", "1m", Check::Times, "waits for the poll", "outbox.poll_interval"),
        ("RELAY_AMQP_CONFIRM_TIMEOUT", "1s", Check::Times, "sent twice", "amqp.confirm_timeout = \"30s\""),
        ("RELAY_SHUTDOWN_GRACE", "10ms", Check::Times, "each restart", "shutdown.grace"),
        (
            "RELAY_LIMITS_IN_FLIGHT_BYTES",
            "16MiB",
            Check::Settings,
            "limits.in_flight_bytes",
            "change limits.payload_bytes",
        ),
        ("RELAY_AMQP_HEARTBEAT", "2s", Check::Settings, "a busy network", "change amqp.heartbeat"),
    ];
    for (name, value, check, what, cure) in cases {
        let said = Doctor::new(&database, &broker).env(name, value).says();
        said.assert(check, "warning", what, cure);
        said.assert_only(&[check]);
        assert_eq!(said.code, 1, "{name}");
    }
    let small = Doctor::new(&database, &broker)
        .env("RELAY_LIMITS_IN_FLIGHT_ROWS", "64")
        .env("RELAY_LIMITS_SCAN_ROWS", "64");
    small.says().assert(Check::Limits, "warning", "1024 unconfirmed", "limits.in_flight_rows = 4096");
    let frames = format!("{}?frame_max=8192", broker.url);
    let said = Doctor::new(&database, &broker).env("AMQP_URL", frames).says();
    said.assert(Check::Tuning, "warning", "frames of 8192 bytes", "limits.header_bytes");
    let said = finish(&["doctor", "--help"], &[]);
    assert!(said.stdout.contains("Exit codes: 0 all is well, 1 there are warnings"), "{}", said.stdout);
}
