//! Asleep and awake: with a poll interval of a minute, whatever goes out soon was notified.

use std::time::{Duration, Instant};

use tokio_postgres::{AsyncMessage, NoTls};

use crate::{
    rig::{Rig, through_proxy},
    support::{
        database::{Database, insert},
        relay::Relay,
        wait,
    },
};

/// Polling explains nothing in these tests.
pub fn sleepy(rig: &Rig) -> Relay {
    rig.relay().env("RELAY_OUTBOX_POLL_INTERVAL", "60s").env("RELAY_LEASE_DURATION", "3s")
}

const SESSIONS: &str = "select count(*) from pg_stat_activity
                        where datname = current_database() and application_name = 'relay listen'";

/// relay sleeps while its listening session holds the lock of each lane.
pub async fn wait_asleep(database: &Database) {
    let locks = "select count(*) from pg_locks l join pg_stat_activity a using (pid)
                 where l.locktype = 'advisory' and l.mode = 'ExclusiveLock' and l.granted
                   and a.datname = current_database() and a.application_name = 'relay listen'";
    wait::until("relay sleeps", wait::LONG, async || database.number(locks).await == 32).await;
}

pub async fn assert_soon(database: &Database, seq: i64, committed: Instant) {
    database.wait_published(seq).await;
    let took = committed.elapsed();
    assert!(took < Duration::from_millis(1500), "row {seq} was published after {took:?}: nobody woke relay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_relay_is_woken_by_a_commit() {
    let rig = Rig::new().await;
    let relay = sleepy(&rig).ready().await;
    for round in 0..5 {
        wait_asleep(&rig.database).await;
        let seq = rig.database.insert(&format!("k{round}"), "placed").await;
        assert_soon(&rig.database, seq, Instant::now()).await;
    }
    assert!(relay.metric("relay_wakeups_total", &["cause=\"notify\""]) >= 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_commit_goes_out_at_once_though_relay_fell_asleep_meanwhile() {
    let rig = Rig::new().await;
    let _relay = sleepy(&rig).ready().await;
    let mut late = rig.database.session().await;
    wait_asleep(&rig.database).await;
    let transaction = late.transaction().await.unwrap();
    let low = insert(&transaction, "late", "placed").await;
    let high = rig.database.insert("soon", "placed").await;
    assert!(low < high);
    assert_soon(&rig.database, high, Instant::now()).await;
    wait_asleep(&rig.database).await;
    transaction.commit().await.unwrap();
    assert_soon(&rig.database, low, Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_saw_relay_awake_keeps_it_awake_until_its_commit() {
    let rig = Rig::new().await;
    let _relay = sleepy(&rig).ready().await;
    wait_asleep(&rig.database).await;
    // The first row wakes relay; the second, of another session, comes while it is awake, so nobody notifies for it.
    let (writer, seq) = wait::found("a writer that saw relay awake", wait::LONG, async || {
        rig.database.insert("k", "placed").await;
        let writer = rig.database.session().await;
        writer.batch_execute("begin").await.unwrap();
        let seq = insert(&writer, "k", "placed").await;
        let shared = "select from pg_locks
                      where locktype = 'advisory' and mode = 'ShareLock' and pid = pg_backend_pid()";
        (!writer.query(shared, &[]).await.unwrap().is_empty()).then_some((writer, seq))
    })
    .await;
    // Long enough for relay to have slept, were it not for the lock.
    let locks = "select count(distinct objid) from pg_locks l join pg_stat_activity a using (pid)
                 where l.locktype = 'advisory' and l.mode = 'ExclusiveLock'
                   and a.datname = current_database() and a.application_name = 'relay listen'";
    wait::throughout("relay is awake", Duration::from_secs(1), async || {
        rig.database.number(locks).await < 32
    })
    .await;
    writer.batch_execute("commit").await.unwrap();
    assert_soon(&rig.database, seq, Instant::now()).await;
    wait_asleep(&rig.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_listening_session_is_replaced_and_wakes_relay_again() {
    let rig = Rig::new().await;
    let relay = sleepy(&rig).ready().await;
    wait_asleep(&rig.database).await;
    let terminate = "select pid::bigint, pg_terminate_backend(pid)::text from pg_stat_activity
                     where datname = current_database() and application_name = 'relay listen'";
    let terminated = rig.database.query(terminate, &[]).await;
    assert_eq!(terminated.len(), 1);
    let old: i64 = terminated[0].get(0);
    // Without it relay polls, though the poll interval says a minute.
    let seq = rig.database.insert("a", "placed").await;
    assert_soon(&rig.database, seq, Instant::now()).await;
    let sql = format!("{SESSIONS} and pid <> {old}");
    wait::until("relay listens again", wait::LONG, async || rig.database.number(&sql).await == 1).await;
    relay.wait_metric("relay_listen_connected", &[], wait::LONG, |connected| connected == 1.0).await;
    wait_asleep(&rig.database).await;
    let before = relay.metric("relay_wakeups_total", &["cause=\"notify\""]);
    let seq = rig.database.insert("a", "placed").await;
    assert_soon(&rig.database, seq, Instant::now()).await;
    assert!(relay.metric("relay_wakeups_total", &["cause=\"notify\""]) > before);
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_notifications_relay_polls() {
    let rig = Rig::new().await;
    let _relay = rig.relay().env("RELAY_DATABASE_LISTEN", "off").ready().await;
    for round in 0..5 {
        let seq = rig.database.insert(&format!("k{round}"), "placed").await;
        rig.database.wait_published(seq).await;
    }
    assert_eq!(rig.database.number(SESSIONS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listening_session_alone_that_hears_nothing_any_more_is_replaced_and_wakes_relay_again() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.database.url).await;
    let relay = sleepy(&rig).env("RELAY_DATABASE_LISTEN_URL", &url).ready().await;
    relay.wait_metric("relay_listen_connected", &[], wait::LONG, |connected| connected == 1.0).await;
    wait_asleep(&rig.database).await;
    proxy.strand();
    // Nobody tells relay of it; it finds out, and looks.
    rig.database.wait_published(rig.database.insert("a", "placed").await).await;
    relay.wait_log("no notification arrived").await;
    assert!(relay.is_ready(), "it polls");
    relay.wait_metric("relay_listen_connected", &[], wait::LONG, |connected| connected == 1.0).await;
    assert!(proxy.accepted() >= 2);
    // Whoever lost it lets its locks go.
    proxy.cut();
    relay.wait_metric("relay_listen_connected", &[], wait::LONG, |connected| connected == 1.0).await;
    wait_asleep(&rig.database).await;
    let before = relay.metric("relay_wakeups_total", &["cause=\"notify\""]);
    let seq = rig.database.insert("a", "placed").await;
    assert_soon(&rig.database, seq, Instant::now()).await;
    assert!(relay.metric("relay_wakeups_total", &["cause=\"notify\""]) > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_notified_on_the_channel_harms_nothing() {
    let rig = Rig::new().await;
    let relay = sleepy(&rig).ready().await;
    let session = "select pid from pg_stat_activity
                   where datname = current_database() and application_name = 'relay listen'";
    let woken = || relay.metric("relay_wakeups_total", &["cause=\"notify\""]);
    wait_asleep(&rig.database).await;
    let listening: i32 = rig.database.query(session, &[]).await[0].get(0);
    let longest = "x".repeat(7999);
    for payload in
        ["", "released", "select 1; \u{1f980}\n{", "00000000-0000-0000-0000-000000000000", &longest]
    {
        wait_asleep(&rig.database).await;
        let before = woken();
        rig.database.execute("select pg_notify('relay.outbox', $1)", &[&payload]).await;
        if payload.is_empty() {
            wait::until("that wakes relay", wait::LONG, async || woken() > before).await;
        }
        wait_asleep(&rig.database).await;
        let seq = rig.database.insert("k", "placed").await;
        assert_soon(&rig.database, seq, Instant::now()).await;
    }
    // More of them at once than relay keeps.
    wait_asleep(&rig.database).await;
    let flood = "select pg_notify('relay.outbox', 'garbage ' || n) from generate_series(1, 5000) n";
    rig.database.execute(flood, &[]).await;
    wait_asleep(&rig.database).await;
    let seq = rig.database.insert("k", "placed").await;
    assert_soon(&rig.database, seq, Instant::now()).await;
    let still: i32 = rig.database.query(session, &[]).await[0].get(0);
    assert_eq!(still, listening, "its session was lost over it");
    assert_eq!(relay.complaints(), Vec::<String>::new());
    rig.assert_all_went_out(wait::LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_wakes_relay_says_nothing_however_large_the_row_is() {
    let rig = Rig::new().await;
    let _relay = sleepy(&rig).ready().await;
    let (listener, mut connection) = tokio_postgres::connect(&rig.database.url, NoTls).await.unwrap();
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = heard.send(notification);
            }
        }
    });
    listener.batch_execute("listen \"relay.outbox\"").await.unwrap();
    wait_asleep(&rig.database).await;
    let writer = rig.database.session().await;
    let pid: i32 = writer.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    // A payload of 8,000 bytes and more would have been the end of this transaction.
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, headers)
               values ('order', repeat('k', 255), 'placed', to_jsonb(repeat('x', 1000000)),
                       jsonb_build_object('h', repeat('y', 9000))) returning seq";
    let seq: i64 = writer.query_one(sql, &[]).await.unwrap().get(0);
    let wake_up = wait::found("a notification of the writer's", wait::LONG, async || {
        hears.try_recv().ok().filter(|notification| notification.process_id() == pid)
    })
    .await;
    assert_eq!((wake_up.channel(), wake_up.payload()), ("relay.outbox", ""));
    rig.database.wait_published(seq).await;
}
