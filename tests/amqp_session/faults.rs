//! Sessions that end, by us, by nobody's answer, by a cut.

use std::time::{Duration, Instant};

use lapin::types::FieldTable;
use relay::{
    amqp::Session,
    publisher::{ChannelFailure, Outcome},
};

use crate::{
    proxy::Proxy,
    rig::{
        PATIENCE, Queues, THREADS, batch, lapin_threads, message, publish_alone, session, settings_through,
        upstream, wait_until,
    },
};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_ends_for_good_and_nobody_mends_it_behind_our_back() {
    let _shared = THREADS.read().await;
    let queues = Queues::new().await;
    let queue = queues.bound(FieldTable::default()).await;
    let proxy = Proxy::start(upstream()).await.unwrap();
    let first = Session::connect(&settings_through(&proxy), "relay-test").await.unwrap();
    let mut channel = first.confirm_channel().await.unwrap();
    assert_eq!(publish_alone(&mut channel, message(&queue)).await, Outcome::Confirmed);
    // Whoever would connect again could.
    proxy.cut();
    let lost = tokio::time::timeout(PATIENCE, first.lost()).await;
    assert!(matches!(lost, Ok(ChannelFailure::ConnectionLost { .. })), "{lost:?}");
    let begun = Instant::now();
    assert_eq!(publish_alone(&mut channel, message(&queue)).await, Outcome::Unknown);
    assert!(begun.elapsed() < Duration::from_secs(1), "it waited for {:?}", begun.elapsed());
    assert!(!channel.is_usable());
    assert!(first.confirm_channel().await.is_err());

    let second = Session::connect(&settings_through(&proxy), "relay-test").await.unwrap();
    let mut channel = second.confirm_channel().await.unwrap();
    assert_eq!(publish_alone(&mut channel, message(&queue)).await, Outcome::Confirmed);
    assert_eq!(proxy.accepted(), 2, "connections");
    assert_eq!(queues.depth(&queue).await, 2, "what was sent to nobody came after all");
}
