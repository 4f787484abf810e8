//! What a batch learns about each of its messages.

use lapin::types::{AMQPValue, FieldTable};
use relay::{
    message::HeaderValue,
    publisher::{ChannelFailure, Outcome},
};

use crate::rig::{Queues, THREADS, batch, message, publish_alone, session, unique};

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
