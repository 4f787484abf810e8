//! The database killed, frozen, away, in the way.

use std::time::{Duration, Instant};

use crate::{
    rig::Rig,
    support::{
        servers::{self, Server},
        wait,
    },
};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_starts_without_its_database_and_publishes_when_it_comes() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    rig.database.insert_many(200, 20).await;
    own.kill(Server::Postgres);
    let relay = rig.relay().start().await;
    relay.wait_trouble("database").await;
    assert_eq!(relay.get("/livez").0, 200);
    own.boot(Server::Postgres);
    relay.wait_ready().await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_killed_in_the_midst_of_it_costs_no_row_and_no_duplicate() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let relay = rig.relay().ready().await;
    rig.in_the_midst_of(8000, 300).await;
    own.kill(Server::Postgres);
    relay.wait_trouble("database").await;
    relay.wait_metric("relay_database_connected", &[], wait::LONG, |connected| connected == 0.0).await;
    own.boot(Server::Postgres);
    rig.assert_unfinished().await;
    let duplicates = rig.assert_all_went_out(MINUTE).await;
    assert_eq!(duplicates, 0, "relay lives, and knows what was confirmed");
    relay.wait_ready().await;
    relay.wait_metric("relay_database_connected", &[], wait::LONG, |connected| connected == 1.0).await;
    // It listens again, too.
    relay.wait_metric("relay_listen_connected", &[], wait::LONG, |connected| connected == 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_frozen_past_the_lease_stops_publishing_and_is_found_again() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let relay = rig.relay().env("RELAY_LEASE_DURATION", "3s").ready().await;
    rig.in_the_midst_of(8000, 300).await;
    own.freeze(Server::Postgres);
    let frozen = Instant::now();
    relay.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 0.0).await;
    assert!(frozen.elapsed() < Duration::from_secs(5), "it gave its lanes up after {:?}", frozen.elapsed());
    relay.wait_trouble("database").await;
    let sent = relay.metric("relay_publish_outcomes_total", &["outcome=\"confirmed\""]);
    wait::throughout("nothing is sent without a lease", Duration::from_secs(1), async || {
        relay.metric("relay_publish_outcomes_total", &["outcome=\"confirmed\""]) <= sent
    })
    .await;
    own.thaw(Server::Postgres);
    rig.assert_all_went_out(MINUTE).await;
    relay.wait_ready().await;
    assert_eq!(relay.metric("relay_lanes_lost_total", &[]), 32.0, "each lane once");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_kind_of_statement_that_fails_keeps_relay_unready_though_others_succeed() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let relay = rig.relay().env("RELAY_RETRY_FLOOR", "2m").ready().await;
    // A key that is held makes relay ask now and then whether it was let go.
    let lost = rig.database.insert("held", "lost").await;
    wait::until("its key is held", wait::LONG, async || rig.database.state(lost).await.attempts == 1).await;
    let sql = "select pg_get_functiondef('relay.close_released'::regproc)";
    let intact: String = rig.database.query(sql, &[]).await[0].get(0);
    let broken = "create or replace function relay.close_released(mask integer) returns void language plpgsql
                  as 'begin raise exception ''out of order''; end'";
    rig.database.execute(broken, &[]).await;
    // Nothing of another key is left to release, so it is to be let go.
    let done = "insert into relay.held_keys (aggregate_type, aggregate_id, lane, head_seq, reason)
                select aggregate_type, 'done', lane, seq, 'releasing' from relay.outbox where seq = $1";
    rig.database.execute(done, &[&lost]).await;
    relay.wait_trouble("out of order").await;
    // Rows go on all the while, each by scans that succeed.
    wait::throughout("relay is unready", Duration::from_secs(2), async || {
        rig.database.wait_published(rig.database.insert("a", "placed").await).await;
        !relay.is_ready()
    })
    .await;
    let said = relay.complaints().iter().filter(|line| line.contains("out of order")).count();
    assert_eq!(said, 1, "{:?}", relay.complaints());
    rig.database.execute(&intact, &[]).await;
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_has_locked_is_said_once_and_marked_when_it_is_free() {
    let rig = Rig::new().await;
    let locked = rig.database.insert("a", "placed").await;
    let session = rig.database.session().await;
    session.batch_execute("begin").await.unwrap();
    session.query("select from relay.outbox where seq = $1 for update", &[&locked]).await.unwrap();
    let mut relay = rig.relay().ready().await;
    relay.wait_log("somebody holds locks").await;
    let said = || relay.complaints().iter().filter(|line| line.contains("somebody holds locks")).count();
    wait::throughout("said once", Duration::from_secs(3), async || {
        rig.database.wait_published(rig.database.insert("b", "placed").await).await;
        said() == 1
    })
    .await;
    assert!(!rig.database.state(locked).await.published);
    session.batch_execute("rollback").await.unwrap();
    rig.database.wait_published(locked).await;
    relay.wait_log("nobody holds locks").await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0);
    relay.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_can_mark_neither_at_once_nor_around_locks_is_given_up() {
    let rig = Rig::new().await;
    // The head of a held key, whose entry somebody has locked: both ways to mark it let the key go.
    let head = rig.database.insert("a", "placed").await;
    rig.database.execute("update relay.outbox set state = 'waiting'", &[]).await;
    let entry = "insert into relay.held_keys (aggregate_type, aggregate_id, lane, head_seq, reason, due_at)
                 select aggregate_type, aggregate_id, lane, seq, 'retrying', now() from relay.outbox";
    rig.database.execute(entry, &[]).await;
    let session = rig.database.session().await;
    session.batch_execute("begin; select from relay.held_keys for update").await.unwrap();
    let relay = rig.relay().ready().await;
    let sql = "select pid::bigint from pg_stat_activity
               where datname = current_database() and application_name = 'relay write'";
    let pids = async || rig.database.query(sql, &[]).await.iter().map(|row| row.get(0)).collect::<Vec<i64>>();
    let first = wait::found("it writes", wait::LONG, async || pids().await.first().copied()).await;
    wait::until("it writes by another session", wait::LONG, async || {
        pids().await.first().is_some_and(|pid| *pid != first)
    })
    .await;
    session.batch_execute("rollback").await.unwrap();
    rig.database.wait_published(head).await;
    rig.database.wait_published(rig.database.insert("a", "placed").await).await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0);
    relay.wait_metric("relay_published_total", &[], wait::LONG, |published| published == 2.0).await;
    relay.wait_ready().await;
}
