//! A single backend of Postgres that stands still, as on a disk that hangs: its host answers for it, so nothing but relay
//! notices. Each is stopped while it is idle, for one that held a latch would stop the whole server.

use crate::{
    rig::Rig,
    support::{servers, stopped::Stopped, wait},
    wake_up::{sleepy, wait_asleep},
};

/// Stops one backend, commits a row, and waits until it is published and marked all the same.
async fn survives(name: &str) {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let relay = sleepy(&rig).env("RELAY_DATABASE_STATEMENT_TIMEOUT", "1s").ready().await;
    // Only then does it have them all.
    rig.database.wait_published(rig.database.insert("a", "placed").await).await;
    wait_asleep(&rig.database).await;
    let [stopped] = &Stopped::backends(&rig.database, name).await[..] else { panic!("there is one {name}") };
    let seq = rig.database.insert("a", "placed").await;
    rig.database.wait_published(seq).await;
    let sql = "select count(*) from pg_stat_activity
               where datname = current_database() and application_name = $1 and pid <> $2";
    wait::until("relay has another session for it", wait::LONG, async || {
        rig.database.query(sql, &[&name, &stopped.pid]).await[0].get::<_, i64>(0) > 0
    })
    .await;
    relay.wait_ready().await;
    stopped.resume();
    rig.database.wait_published(rig.database.insert("a", "placed").await).await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0, "what was confirmed was known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_backend_of_scans_is_given_up() {
    survives("relay scan").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_backend_of_marks_is_given_up() {
    survives("relay write").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_backend_of_leases_is_given_up() {
    survives("relay lease").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_backend_that_listens_is_given_up() {
    survives("relay listen").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_backend_of_the_gauges_is_given_up() {
    survives("relay measure").await;
}
