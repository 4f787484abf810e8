//! Asleep and awake: with a poll interval of a minute, whatever goes out soon was notified.

use std::time::{Duration, Instant};

use crate::{
    rig::Rig,
    support::{
        database::{Database, insert},
        relay::Relay,
        wait,
    },
};

/// Polling explains nothing in these tests.
fn sleepy(rig: &Rig) -> Relay {
    rig.relay().env("RELAY_OUTBOX_POLL_INTERVAL", "60s").env("RELAY_LEASE_DURATION", "3s")
}

const SESSIONS: &str = "select count(*) from pg_stat_activity
                        where datname = current_database() and application_name = 'relay listen'";

/// relay sleeps while its listening session holds the lock of each lane.
async fn wait_asleep(database: &Database) {
    let locks = "select count(*) from pg_locks l join pg_stat_activity a using (pid)
                 where l.locktype = 'advisory' and l.mode = 'ExclusiveLock' and l.granted
                   and a.datname = current_database() and a.application_name = 'relay listen'";
    wait::until("relay sleeps", wait::LONG, async || database.number(locks).await == 32).await;
}

async fn assert_soon(database: &Database, seq: i64, committed: Instant) {
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
