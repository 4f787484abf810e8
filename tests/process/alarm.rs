//! A memory alarm: the broker takes no messages for a while.

use std::time::{Duration, Instant};

use lapin::{
    Connection, ConnectionProperties,
    options::QueueDeclareOptions,
    types::{FieldTable, ShortString},
};
use relay::{
    amqp::{AmqpError, AmqpSettings, Session},
    message::Message,
    publisher::Outcome,
};

use crate::{
    rig::Rig,
    support::{
        servers::{self, Own},
        wait,
    },
};

const PATIENCE: Duration = Duration::from_secs(20);

/// An alarm, as long as it lives.
pub struct Alarm<'a>(&'a Own);

impl<'a> Alarm<'a> {
    pub fn raise(own: &'a Own) -> Self {
        own.rabbitmqctl(&["-q", "set_vm_memory_high_watermark", "0.00001"]);
        Self(own)
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.rabbitmqctl(&["-q", "set_vm_memory_high_watermark", "0.4"]);
    }
}

fn batch(queue: &str, size: usize) -> Vec<Message> {
    let message = |number: usize| Message {
        id: format!("alarm-{number}"),
        exchange: "amq.topic".to_owned(),
        routing_key: queue.to_owned(),
        kind: "placed".to_owned(),
        payload: b"{}".to_vec(),
        ..Message::default()
    };
    (0..size).map(message).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_fails_no_publish_and_hangs_no_close() {
    let own = servers::own().await;
    let url = own.servers().amqp_url.clone();
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let queues = connection.create_channel().await.unwrap();
    let queue = format!("relay-test.alarm.{}", uuid::Uuid::new_v4());
    let name = || ShortString::try_new(queue.as_str()).unwrap();
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    queues.queue_declare(name(), options, FieldTable::default()).await.unwrap();
    let topic = ShortString::try_new("amq.topic").unwrap();
    queues.queue_bind(name(), topic, name(), Default::default(), FieldTable::default()).await.unwrap();

    let mut settings = AmqpSettings::new(url.parse().unwrap());
    settings.confirm_timeout = Duration::from_millis(500);
    settings.connect_timeout = Duration::from_secs(2);
    let session = Session::connect(&settings, "relay-test").await.unwrap();
    let idle = Session::connect(&settings, "relay-test").await.unwrap();
    let mut channel = session.confirm_channel().await.unwrap();
    let mut blocked = session.blocked();
    let alarm = Alarm::raise(&own);
    let publisher = tokio::spawn({
        let messages = batch(&queue, 50);
        async move { channel.publish(&messages).await }
    });
    let told = tokio::time::timeout(PATIENCE, blocked.wait_for(Option::is_some)).await;
    let reason = told.map(|told| told.unwrap().clone().unwrap());
    // Four confirm timeouts' time: nothing is given up.
    wait::throughout("the alarm", settings.confirm_timeout * 4, async || !publisher.is_finished()).await;
    let opening = session.confirm_channel().await;
    let begun = Instant::now();
    let closed = idle.close(Duration::from_millis(500)).await;
    let bounded = begun.elapsed() < Duration::from_secs(2);
    drop(alarm);
    let report = tokio::time::timeout(PATIENCE, publisher).await;

    assert!(reason.as_deref().is_ok_and(|reason| reason.contains("memory")), "{reason:?}");
    assert!(matches!(opening, Err(AmqpError::Unanswered { blocked: true, .. })), "{opening:?}");
    assert!(bounded, "close hung; answered: {closed}");
    let report = report.unwrap().unwrap();
    assert_eq!((report.outcomes, report.failure), (vec![Outcome::Confirmed; 50], None));
    assert_eq!(*session.blocked().borrow(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_blocks_publishers_is_waited_for_and_gets_nothing_twice() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    // Shorter than the alarm: silence of a blocked broker is no lost confirm.
    let relay = rig.relay().env("RELAY_AMQP_CONFIRM_TIMEOUT", "2s").ready().await;
    let alarm = Alarm::raise(&own);
    rig.database.insert_many(2000, 100).await;
    relay.wait_metric("relay_amqp_blocked", &[], wait::LONG, |blocked| blocked == 1.0).await;
    relay.wait_trouble("broker (taking messages): the broker takes no messages: ").await;
    wait::throughout("the alarm", Duration::from_secs(5), async || {
        relay.metric("relay_amqp_blocked", &[]) == 1.0 && relay.metric("relay_amqp_connected", &[]) == 1.0
    })
    .await;
    drop(alarm);
    relay.wait_metric("relay_amqp_blocked", &[], wait::LONG, |blocked| blocked == 0.0).await;
    relay.wait_log("broker is up: taking messages").await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0, "duplicates");
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_blocked_stops_within_its_grace_period() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let mut relay = rig.relay().env("RELAY_SHUTDOWN_GRACE", "2s").ready().await;
    let alarm = Alarm::raise(&own);
    rig.database.insert_many(500, 50).await;
    relay.wait_metric("relay_amqp_blocked", &[], wait::LONG, |blocked| blocked == 1.0).await;
    let asked = Instant::now();
    relay.signal("TERM");
    assert_eq!(relay.wait_exit(wait::LONG).await.code(), Some(3), "it did not drain, and says so");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    drop(alarm);
    let _successor = rig.relay().ready().await;
    rig.assert_all_went_out(wait::LONG).await;
}
