//! The AMQP adapter against a real broker, given by `AMQP_URL`, and against the faults of a proxy before it.
//!
//! Nothing here blocks or stops the broker; an alarm is raised in tests/process/alarm.rs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

#[path = "support/proxy.rs"]
mod proxy;

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{
        BasicNackOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};
use proxy::Proxy;
use relay::{
    amqp::{AmqpError, AmqpSettings, ConfirmChannel, Session, Topology, topology},
    message::{HeaderValue, Message},
    publisher::{ChannelFailure, Outcome},
};
use tokio::sync::RwLock;
use uuid::Uuid;

/// Tests that count lapin's threads take it alone, all others share it.
static THREADS: RwLock<()> = RwLock::const_new(());

const PATIENCE: Duration = Duration::from_secs(20);

fn url() -> String {
    std::env::var("AMQP_URL").expect("AMQP_URL must name a running RabbitMQ")
}

fn uri() -> AMQPUri {
    url().parse().expect("AMQP_URL is an AMQP URI")
}

fn upstream() -> String {
    let authority = uri().authority;
    format!("{}:{}", authority.host, authority.port)
}

fn settings() -> AmqpSettings {
    settings_for(&uri())
}

fn settings_for(uri: &AMQPUri) -> AmqpSettings {
    let mut settings = AmqpSettings::new(uri.to_string().parse().unwrap());
    settings.insecure = true;
    settings
}

fn settings_through(proxy: &Proxy) -> AmqpSettings {
    let mut uri = uri();
    uri.authority.host = proxy.address().ip().to_string();
    uri.authority.port = proxy.address().port();
    settings_for(&uri)
}

async fn session() -> Session {
    Session::connect(&settings(), "relay-test").await.unwrap()
}

/// Queues that vanish with the test: exclusive to a connection of its own.
struct Queues {
    _connection: Connection,
    channel: Channel,
}

impl Queues {
    async fn new() -> Self {
        let connection = Connection::connect(&url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self { _connection: connection, channel }
    }

    /// A queue bound to `amq.topic` by its own name.
    async fn bound(&self, arguments: FieldTable) -> String {
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

    async fn depth(&self, name: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap();
        queue.message_count()
    }
}

fn unique(what: &str) -> String {
    format!("relay-test.{what}.{}", Uuid::new_v4())
}

fn message(routing_key: &str) -> Message {
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

fn batch(routing_key: &str, size: usize) -> Vec<Message> {
    (0..size).map(|_| message(routing_key)).collect()
}

async fn publish_alone(channel: &mut ConfirmChannel, message: Message) -> Outcome {
    let mut report = channel.publish(&[message]).await;
    report.outcomes.remove(0)
}

fn lapin_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("lapin")).count()
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Everything an operator may ever be shown of an error.
fn shown(error: &AmqpError) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(cause) = source {
        write!(text, " {cause} {cause:?}").unwrap();
        source = cause.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_seventh_of_5000_pipelined_messages_is_told_apart_as_unroutable() {
    let _shared = THREADS.read().await;
    let queues = Queues::new().await;
    let queue = queues.bound(FieldTable::default()).await;
    let session = session().await;
    let mut channel = session.confirm_channel().await.unwrap();
    let mut routable = 0;
    for size in [1024, 976, 2000, 1000] {
        let mut messages = batch(&queue, size);
        messages.iter_mut().step_by(7).for_each(|message| message.routing_key = unique("nowhere"));
        let report = channel.publish(&messages).await;
        assert_eq!(report.failure, None);
        for (index, outcome) in report.outcomes.iter().enumerate() {
            match outcome {
                Outcome::Returned { code: 312, text } if index % 7 == 0 => assert_eq!(text, "NO_ROUTE"),
                Outcome::Confirmed if index % 7 != 0 => routable += 1,
                other => panic!("message {index} of {size}: {other:?}"),
            }
        }
    }
    assert_eq!(queues.depth(&queue).await, routable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_channels_at_once_each_learn_their_own_outcomes() {
    let _shared = THREADS.read().await;
    let queues = Queues::new().await;
    let queue = queues.bound(FieldTable::default()).await;
    let full = queues.bound(one_place()).await;
    let session = session().await;
    assert_eq!(
        publish_alone(&mut session.confirm_channel().await.unwrap(), message(&full)).await,
        Outcome::Confirmed
    );
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let mut channel = session.confirm_channel().await.unwrap();
        let mut messages = batch(&queue, 500);
        messages.iter_mut().step_by(2).for_each(|message| message.routing_key.clone_from(&full));
        tasks.push(tokio::spawn(async move { channel.publish(&messages).await }));
    }
    for task in tasks {
        let outcomes = task.await.unwrap().outcomes;
        assert!(outcomes.iter().step_by(2).all(|outcome| *outcome == Outcome::Nacked));
        assert!(outcomes.iter().skip(1).step_by(2).all(|outcome| *outcome == Outcome::Confirmed));
    }
}

/// A queue that takes one message and refuses the next.
fn one_place() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    arguments
}

#[tokio::test]
async fn a_batch_may_be_confirmed_returned_and_nacked_at_once() {
    let _shared = THREADS.read().await;
    let queues = Queues::new().await;
    let (open, full) = (queues.bound(FieldTable::default()).await, queues.bound(one_place()).await);
    let session = session().await;
    let mut channel = session.confirm_channel().await.unwrap();
    assert_eq!(publish_alone(&mut channel, message(&full)).await, Outcome::Confirmed);
    let messages = [message(&open), message(&unique("nowhere")), message(&full), message(&open)];
    let report = channel.publish(&messages).await;
    let returned = Outcome::Returned { code: 312, text: "NO_ROUTE".to_owned() };
    assert_eq!(report.outcomes, [Outcome::Confirmed, returned, Outcome::Nacked, Outcome::Confirmed]);
    assert_eq!((report.failure, channel.is_usable()), (None, true));
}

#[tokio::test]
async fn a_message_arrives_with_every_property_and_header() {
    let _shared = THREADS.read().await;
    let queues = Queues::new().await;
    let queue = queues.bound(FieldTable::default()).await;
    let session = session().await;
    let mut sent = message(&queue);
    sent.headers = vec![
        ("null".into(), HeaderValue::Null),
        ("bool".into(), HeaderValue::Bool(true)),
        ("int".into(), HeaderValue::Int(i64::MIN)),
        ("double".into(), HeaderValue::Double(0.5)),
        ("text".into(), "grüße".into()),
    ];
    let mut channel = session.confirm_channel().await.unwrap();
    assert_eq!(publish_alone(&mut channel, sent.clone()).await, Outcome::Confirmed);
    let got = queues.channel.basic_get(queue.as_str().into(), Default::default()).await.unwrap().unwrap();
    let properties = &got.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    assert_eq!(got.data, sent.payload);
    assert_eq!(text(properties.message_id()), Some(sent.id));
    assert_eq!(text(properties.kind()), Some(sent.kind));
    assert_eq!(text(properties.correlation_id()), Some(sent.correlation_id));
    assert_eq!(text(properties.app_id()), Some(sent.app_id));
    assert_eq!(text(properties.content_type()).as_deref(), Some("application/json"));
    assert_eq!((*properties.delivery_mode(), *properties.timestamp()), (Some(2), Some(sent.timestamp)));
    let headers = properties.headers().as_ref().unwrap().inner();
    assert_eq!(headers["null"], AMQPValue::Void);
    assert_eq!(headers["bool"], AMQPValue::Boolean(true));
    assert_eq!(headers["int"], AMQPValue::LongLongInt(i64::MIN));
    assert_eq!(headers["double"], AMQPValue::Double(0.5));
    assert_eq!(headers["text"], AMQPValue::LongString("grüße".into()));
}

#[tokio::test]
async fn a_missing_exchange_costs_its_neighbours_the_session_but_charges_none_of_them() {
    let _shared = THREADS.read().await;
    let queues = Queues::new().await;
    let queue = queues.bound(FieldTable::default()).await;
    let session = session().await;
    let mut channel = session.confirm_channel().await.unwrap();
    let mut messages = batch(&queue, 200);
    messages[50].exchange = unique("missing");
    let report = channel.publish(&messages).await;
    assert!(
        matches!(report.failure, Some(ChannelFailure::ChannelClosed { code: 404, .. })),
        "{:?}",
        report.failure
    );
    assert_eq!(report.outcomes[50], Outcome::Unknown);
    assert!(report.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Confirmed | Outcome::Unknown)));
    let confirmed = report.outcomes.iter().filter(|outcome| **outcome == Outcome::Confirmed).count();
    assert!(queues.depth(&queue).await as usize >= confirmed);

    assert!(!channel.is_usable());
    let again = channel.publish(&messages[..2]).await;
    assert_eq!((again.outcomes, again.failure), (vec![Outcome::Unknown; 2], report.failure));
    // lapin goes on sending what it had queued, which RabbitMQ would answer with 504; so the session is ended.
    assert!(matches!(session.lost().await, ChannelFailure::ConnectionLost { .. }));
    assert!(session.confirm_channel().await.is_err());
}

#[tokio::test]
async fn a_message_to_a_missing_exchange_alone_is_refused_with_the_brokers_words() {
    let _shared = THREADS.read().await;
    let session = session().await;
    let mut channel = session.confirm_channel().await.unwrap();
    let mut lost = message("anywhere");
    lost.exchange = unique("missing");
    let report = channel.publish(&[lost.clone()]).await;
    let [Outcome::Refused { code: 404, text }] = &report.outcomes[..] else { panic!("{report:?}") };
    assert!(text.contains(&lost.exchange), "{text}");
    assert!(
        matches!(report.failure, Some(ChannelFailure::ChannelClosed { code: 404, .. })),
        "{:?}",
        report.failure
    );
    // A quarantine goes on, a channel for each suspect.
    for _ in 0..20 {
        let mut next = session.confirm_channel().await.expect("the session outlives its channel");
        assert!(matches!(publish_alone(&mut next, lost.clone()).await, Outcome::Refused { code: 404, .. }));
    }
}

#[tokio::test]
async fn headers_of_exactly_one_frame_are_sent_and_a_byte_more_is_refused_unsent() {
    let _shared = THREADS.read().await;
    let queues = Queues::new().await;
    let queue = queues.bound(FieldTable::default()).await;
    let session = session().await;
    let mut channel = session.confirm_channel().await.unwrap();
    let filled = |length| {
        let mut message = message(&queue);
        message.headers = vec![("big".into(), HeaderValue::Text("h".repeat(length)))];
        message
    };
    // Everything but the text, to the byte: frame and header 22, properties 18, strings 16+36+6+8+5, entry 9.
    let fits = session.frame_max() as usize - 22 - 18 - 71 - 9;
    let messages = [filled(fits), filled(fits + 1), message(&queue)];
    let report = channel.publish(&messages).await;
    assert_eq!(report.failure, None);
    let [Outcome::Confirmed, Outcome::Refused { code: 0, text }, Outcome::Confirmed] = &report.outcomes[..]
    else {
        panic!("{report:?}")
    };
    assert!(text.contains("frame"), "{text}");
    assert_eq!(queues.depth(&queue).await, 2);
}

#[tokio::test]
async fn a_name_of_256_bytes_is_refused_without_a_panic_and_its_neighbours_go_out() {
    let _shared = THREADS.read().await;
    let queues = Queues::new().await;
    let queue = queues.bound(FieldTable::default()).await;
    let session = session().await;
    let mut channel = session.confirm_channel().await.unwrap();
    let messages = [message(&queue), message(&"k".repeat(256)), message(&queue)];
    let report = channel.publish(&messages).await;
    assert_eq!(report.failure, None);
    let [Outcome::Confirmed, Outcome::Refused { code: 0, text }, Outcome::Confirmed] = &report.outcomes[..]
    else {
        panic!("{report:?}")
    };
    assert!(text.contains("256"), "{text}");
}

#[tokio::test]
async fn a_second_message_of_the_same_id_is_not_sent() {
    let _shared = THREADS.read().await;
    let queues = Queues::new().await;
    let queue = queues.bound(FieldTable::default()).await;
    let session = session().await;
    let mut channel = session.confirm_channel().await.unwrap();
    let once = message(&queue);
    let report = channel.publish(&[once.clone(), once, message(&queue)]).await;
    assert_eq!(report.outcomes, [Outcome::Confirmed, Outcome::Unknown, Outcome::Confirmed]);
    assert_eq!((report.failure, queues.depth(&queue).await), (None, 2));
}

#[tokio::test]
async fn tls_to_a_plaintext_port_fails() {
    let _shared = THREADS.read().await;
    let encrypted = url().replacen("amqp://", "amqps://", 1);
    let settings = AmqpSettings::new(encrypted.parse().unwrap());
    let error = Session::connect(&settings, "relay-test").await.unwrap_err();
    assert!(matches!(error, AmqpError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_wrong_password_is_a_refused_login_and_is_shown_nowhere() {
    let _shared = THREADS.read().await;
    let mut uri = uri();
    uri.authority.userinfo.password = "hunter2-is-wrong".to_owned();
    let settings = settings_for(&uri);
    let error = Session::connect(&settings, "relay-test").await.unwrap_err();
    assert!(matches!(error, AmqpError::LoginRefused { .. }) && error.is_configuration(), "{error:?}");
    let everything = format!("{} {settings:?} {settings:#?} {}", shown(&error), settings.uri);
    assert!(!everything.contains("hunter2"), "{everything}");
    let debug = format!("{:?}", session().await);
    assert!(!debug.contains(&format!(":{}@", self::uri().authority.userinfo.password)), "{debug}");
}

#[tokio::test]
async fn a_missing_virtual_host_is_named() {
    let _shared = THREADS.read().await;
    let mut uri = uri();
    uri.vhost = unique("vhost");
    let error = Session::connect(&settings_for(&uri), "relay-test").await.unwrap_err();
    assert!(matches!(&error, AmqpError::VhostRefused { vhost, .. } if *vhost == uri.vhost), "{error:?}");
    assert!(error.is_configuration());
}

#[tokio::test]
async fn an_unreachable_broker_is_named_with_host_and_port_and_may_come_back() {
    let _shared = THREADS.read().await;
    let mut uri = uri();
    uri.authority.host = "127.0.0.1".to_owned();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    uri.authority.port = port;
    let error = Session::connect(&settings_for(&uri), "relay-test").await.unwrap_err();
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(matches!(error, AmqpError::Unreachable { .. }) && !error.is_configuration(), "{error:?}");

    let proxy = Proxy::start(upstream()).await.unwrap();
    proxy.refuse();
    let error = Session::connect(&settings_through(&proxy), "relay-test").await.unwrap_err();
    assert!(!error.is_configuration(), "{error:?}");
    proxy.thaw();
    Session::connect(&settings_through(&proxy), "relay-test").await.expect("the same settings work again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_peer_cannot_hold_a_handshake_or_a_thread() {
    let _alone = THREADS.write().await;
    wait_until("other tests' threads end", || lapin_threads() == 0).await;
    let proxy = Proxy::start(upstream()).await.unwrap();
    proxy.freeze();
    let mut settings = settings_through(&proxy);
    settings.connect_timeout = Duration::from_millis(300);
    for _ in 0..3 {
        let begun = Instant::now();
        let error = Session::connect(&settings, "relay-test").await.unwrap_err();
        assert!(matches!(error, AmqpError::HandshakeTimeout { protocol: "AMQP", .. }), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    let encrypted = settings_through(&proxy).uri.to_string().replacen("amqp://", "amqps://", 1);
    let mut tls = AmqpSettings::new(encrypted.parse().unwrap());
    tls.connect_timeout = settings.connect_timeout;
    let error = Session::connect(&tls, "relay-test").await.unwrap_err();
    assert!(matches!(error, AmqpError::HandshakeTimeout { protocol: "TLS", .. }), "{error:?}");

    settings.connect_timeout = PATIENCE;
    let abandoned = Session::connect(&settings, "relay-test");
    let outcome = tokio::time::timeout(Duration::from_millis(300), abandoned).await;
    assert!(outcome.is_err(), "a frozen peer answered");
    wait_until("every handshake's thread ends", || lapin_threads() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_dropped_closed_or_killed_leaves_no_thread() {
    let _alone = THREADS.write().await;
    wait_until("other tests' threads end", || lapin_threads() == 0).await;
    let dropped = session().await;
    let mut orphan = dropped.confirm_channel().await.unwrap();
    assert_eq!(lapin_threads(), 1);
    let lost = dropped.lost();
    drop(dropped);
    assert!(matches!(lost.await, ChannelFailure::ConnectionLost { .. }));
    assert_eq!(publish_alone(&mut orphan, message("anywhere")).await, Outcome::Unknown);
    wait_until("the dropped session's thread ends", || lapin_threads() == 0).await;

    assert!(session().await.close(PATIENCE).await, "the broker answers a close");
    wait_until("the closed session's thread ends", || lapin_threads() == 0).await;

    let killed = session().await;
    killed.kill();
    killed.lost().await;
    wait_until("the killed session's thread ends", || lapin_threads() == 0).await;
    assert!(killed.confirm_channel().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_nobody_answers_is_bounded() {
    let _shared = THREADS.read().await;
    let proxy = Proxy::start(upstream()).await.unwrap();
    let session = Session::connect(&settings_through(&proxy), "relay-test").await.unwrap();
    let lost = session.lost();
    proxy.freeze();
    let begun = Instant::now();
    assert!(!session.close(Duration::from_millis(200)).await);
    lost.await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_acks_end_the_connection_and_leave_every_message_unknown() {
    let _shared = THREADS.read().await;
    let queues = Queues::new().await;
    let queue = queues.bound(FieldTable::default()).await;
    let proxy = Proxy::start(upstream()).await.unwrap();
    let mut settings = settings_through(&proxy);
    settings.confirm_timeout = Duration::from_millis(500);
    let session = Session::connect(&settings, "relay-test").await.unwrap();
    let mut channel = session.confirm_channel().await.unwrap();
    assert_eq!(publish_alone(&mut channel, message(&queue)).await, Outcome::Confirmed);
    proxy.freeze_upstream_to_client();
    let begun = Instant::now();
    let report = channel.publish(&batch(&queue, 100)).await;
    assert!(begun.elapsed() < settings.confirm_timeout * 2, "{:?}", begun.elapsed());
    assert_eq!(report.outcomes, vec![Outcome::Unknown; 100]);
    assert!(matches!(report.failure, Some(ChannelFailure::ConnectionLost { .. })), "{:?}", report.failure);
    assert_eq!(Some(session.lost().await), report.failure, "the session tells the same cause");
    assert!(!channel.is_usable());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_is_cancelled_half_way_ends_the_connection() {
    let _shared = THREADS.read().await;
    let proxy = Proxy::start(upstream()).await.unwrap();
    let session = Session::connect(&settings_through(&proxy), "relay-test").await.unwrap();
    let mut channel = session.confirm_channel().await.unwrap();
    proxy.freeze();
    let messages = batch("anywhere", 10);
    let outcome = tokio::time::timeout(Duration::from_millis(100), channel.publish(&messages)).await;
    assert!(outcome.is_err(), "a frozen peer confirmed");
    assert!(!channel.is_usable());
    assert!(
        matches!(session.lost().await, ChannelFailure::ConnectionLost { reason } if reason.contains("abandoned"))
    );
    let report = channel.publish(&messages).await;
    assert_eq!(report.outcomes, vec![Outcome::Unknown; 10]);
    assert!(matches!(report.failure, Some(ChannelFailure::ConnectionLost { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_in_flight_confirms_only_what_was_confirmed() {
    let _shared = THREADS.read().await;
    let queues = Queues::new().await;
    let queue = queues.bound(FieldTable::default()).await;
    let proxy = Proxy::start(upstream()).await.unwrap();
    let session = Session::connect(&settings_through(&proxy), "relay-test").await.unwrap();
    let mut channel = session.confirm_channel().await.unwrap();
    proxy.freeze_upstream_to_client();
    let messages = batch(&queue, 300);
    let (report, ()) = tokio::join!(channel.publish(&messages), async {
        while queues.depth(&queue).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.cut();
    });
    assert_eq!(report.outcomes, vec![Outcome::Unknown; 300]);
    assert!(matches!(report.failure, Some(ChannelFailure::ConnectionLost { .. })), "{:?}", report.failure);
    // Alone on its channel, but a lost connection says nothing about a message.
    wait_until("the session sees it", || !channel.is_usable()).await;
}

fn names() -> Topology {
    Topology {
        exchange: unique("events"),
        dead_letter_exchange: unique("dlx"),
        dead_letter_queue: unique("dlq"),
    }
}

async fn remove(topology: &Topology) {
    let queues = Queues::new().await;
    for name in [&topology.exchange, &topology.dead_letter_exchange] {
        let _ = queues.channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await;
    }
    let name = topology.dead_letter_queue.as_str().into();
    let _ = queues.channel.queue_delete(name, QueueDeleteOptions::default()).await;
}

#[tokio::test]
async fn the_topology_is_missing_then_declared_then_declared_again_and_takes_dead_letters() {
    let _shared = THREADS.read().await;
    let (session, names) = (session().await, names());
    let missing = topology::verify(&session, &names).await;
    let declared = [topology::declare(&session, &names).await, topology::declare(&session, &names).await];
    let verified = topology::verify(&session, &names).await;
    let mut letter = message("any.key.at.all");
    letter.exchange.clone_from(&names.dead_letter_exchange);
    let outcome = publish_alone(&mut session.confirm_channel().await.unwrap(), letter).await;
    remove(&names).await;

    let missing = missing.unwrap_err();
    assert!(matches!(&missing, AmqpError::Missing { name, .. } if *name == names.exchange), "{missing:?}");
    assert!(missing.is_configuration() && missing.to_string().contains("outbox.declare"), "{missing}");
    assert!(declared.iter().chain([&verified]).all(Result::is_ok), "{declared:?} {verified:?}");
    assert_eq!(outcome, Outcome::Confirmed);
}

#[tokio::test]
async fn a_dead_letter_survives_any_number_of_redeliveries() {
    let _shared = THREADS.read().await;
    let (session, names) = (session().await, names());
    topology::declare(&session, &names).await.unwrap();
    let mut letter = message("any.key");
    letter.exchange.clone_from(&names.dead_letter_exchange);
    assert_eq!(
        publish_alone(&mut session.confirm_channel().await.unwrap(), letter).await,
        Outcome::Confirmed
    );
    let queues = Queues::new().await;
    let mut deliveries = 0;
    let begun = Instant::now();
    // RabbitMQ 4 would drop it after the 20th, unless told otherwise.
    while deliveries < 25 && begun.elapsed() < PATIENCE {
        let name = names.dead_letter_queue.as_str().into();
        match queues.channel.basic_get(name, Default::default()).await.unwrap() {
            Some(got) => {
                deliveries += 1;
                got.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await.unwrap();
            }
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    remove(&names).await;
    assert_eq!(deliveries, 25);
}

#[tokio::test]
async fn an_object_that_exists_with_other_properties_is_named_and_costs_no_session() {
    let _shared = THREADS.read().await;
    let (session, names) = (session().await, names());
    let queues = Queues::new().await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let classic = names.dead_letter_queue.as_str().into();
    queues.channel.queue_declare(classic, options, FieldTable::default()).await.unwrap();
    let mismatch = topology::declare(&session, &names).await;
    let mut other = names.clone();
    other.exchange = "amq.fanout".to_owned();
    let fanout = topology::declare(&session, &other).await;
    other.exchange = "n".repeat(256);
    let long = topology::declare(&session, &other).await;
    let channel = session.confirm_channel().await;
    remove(&names).await;

    let mismatch = mismatch.unwrap_err();
    let AmqpError::Mismatch { object: "queue", name, text } = &mismatch else { panic!("{mismatch:?}") };
    assert!(*name == names.dead_letter_queue && text.contains("x-queue-type"), "{text}");
    assert!(mismatch.is_configuration());
    let fanout = fanout.unwrap_err();
    assert!(
        matches!(&fanout, AmqpError::Mismatch { object: "exchange", .. } | AmqpError::Denied { .. }),
        "{fanout:?}"
    );
    assert!(matches!(long.unwrap_err(), AmqpError::Name { length: 256, .. }));
    channel.expect("the session goes on");
}
