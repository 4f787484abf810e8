//! Behind a pooler in transaction mode, with a real one.

use std::time::Instant;

use tokio_postgres::SimpleQueryMessage;

use crate::{
    rig::Rig,
    support::{
        database::{self, Database},
        pooler::Pooler,
        relay::{Relay, finish},
        servers::{self, Server},
        wait,
    },
    wake_up::{assert_soon, sleepy, wait_asleep},
};

/// Sessions lent at most: fewer than the connections of one relay.
pub const SESSIONS: u32 = 3;

/// A relay that goes through the pooler, and knows it.
fn pooled(relay: Relay, pooler: &Pooler) -> Relay {
    relay.env("DATABASE_URL", &pooler.url()).env("RELAY_DATABASE_POOLED", "true")
}

async fn listening(database: &Database) -> i64 {
    let sql = "select count(*) from pg_stat_activity
               where datname = current_database() and application_name = 'relay listen'";
    database.number(sql).await
}

/// One value, asked without preparing anything.
async fn value(client: &tokio_postgres::Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.unwrap_or_default().to_owned()
}

/// What relay leaves in the sessions that others are lent after it.
pub async fn assert_nothing_left(pooler: &Pooler, database: &Database) {
    let direct = database.session().await;
    let mut clients = Vec::new();
    // As many transactions at once as there are sessions, so that each is seen.
    for _ in 0..SESSIONS {
        let client = database::connect(&pooler.url()).await.unwrap();
        client.batch_execute("begin").await.unwrap();
        let settings =
            ["search_path", "statement_timeout", "lock_timeout", "enable_seqscan", "plan_cache_mode"];
        for setting in settings {
            let sql = format!("show {setting}");
            assert_eq!(value(&client, &sql).await, value(&direct, &sql).await, "{setting}");
        }
        assert_eq!(value(&client, "select count(*) from pg_prepared_statements").await, "0");
        let locks = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
        assert_eq!(value(&client, locks).await, "0");
        clients.push(client);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_pooler_all_goes_out_in_order_though_a_relay_and_the_pooler_are_killed() {
    let rig = Rig::new().await;
    let mut pooler = Pooler::before(&rig.database.url, SESSIONS).await;
    let command = pooled(rig.relay(), &pooler).env("RELAY_LEASE_DURATION", "3s");
    let mut first = command.ready().await;
    let mut second = command.ready().await;
    rig.in_the_midst_of(3000, 50).await;
    first.kill9();
    rig.database.insert_many(500, 50).await;
    second.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 32.0).await;
    rig.database.wait_finished(wait::LONG).await;

    rig.in_the_midst_of(3000, 50).await;
    pooler.kill();
    second.wait_trouble("database").await;
    pooler.start().await;
    second.wait_ready().await;
    rig.assert_all_went_out(wait::LONG).await;
    second.drain().await;
    assert_nothing_left(&pooler, &rig.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_may_restart_behind_the_pooler() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let pooler = Pooler::before(&rig.database.url, SESSIONS).await;
    let relay = pooled(rig.relay(), &pooler).env("RELAY_DATABASE_CONNECT_TIMEOUT", "2s").ready().await;
    rig.in_the_midst_of(3000, 50).await;
    own.kill(Server::Postgres);
    relay.wait_trouble("database").await;
    own.boot(Server::Postgres);
    relay.wait_ready().await;
    rig.assert_all_went_out(wait::LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_direct_connection_a_relay_behind_a_pooler_polls() {
    let rig = Rig::new().await;
    let pooler = Pooler::before(&rig.database.url, SESSIONS).await;
    // Were it to sleep, it would be for a minute.
    let relay = pooled(sleepy(&rig), &pooler).ready().await;
    for round in 0..5 {
        let seq = rig.database.insert(&format!("k{round}"), "placed").await;
        assert_soon(&rig.database, seq, Instant::now()).await;
    }
    assert_eq!(listening(&rig.database).await, 0);
    assert_eq!(relay.metric("relay_wakeups_total", &["cause=\"notify\""]), 0.0);
    assert_eq!(relay.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_connection_beside_the_pooler_wakes_a_relay_that_sleeps() {
    let rig = Rig::new().await;
    let pooler = Pooler::before(&rig.database.url, SESSIONS).await;
    let command = pooled(sleepy(&rig), &pooler).env("RELAY_DATABASE_LISTEN_URL", &rig.database.url);
    let mut relay = command.ready().await;
    for round in 0..5 {
        wait_asleep(&rig.database).await;
        let seq = rig.database.insert(&format!("k{round}"), "placed").await;
        assert_soon(&rig.database, seq, Instant::now()).await;
    }
    assert!(relay.metric("relay_wakeups_total", &["cause=\"notify\""]) >= 5.0);
    assert_eq!(relay.complaints(), Vec::<String>::new());
    relay.drain().await;
    assert_nothing_left(&pooler, &rig.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_deaths_and_an_operators_commands_go_through_a_pooler() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let pooler = Pooler::before(&rig.database.url, SESSIONS).await;
    let relay = pooled(rig.relay(), &pooler)
        .env("RELAY_RETRY_MAX_ATTEMPTS", "2")
        .env("RELAY_RETRY_FLOOR", "10ms")
        .env("RELAY_RETRY_CAP", "20ms")
        .ready()
        .await;
    let lost = rig.database.insert("a", "lost").await;
    let after = rig.database.insert("a", "placed").await;
    rig.database.wait_published(after).await;
    assert_eq!(rig.database.state(lost).await.dead_reason.as_deref(), Some("unroutable"));
    drop(relay);

    let url = pooler.url();
    let env = [("DATABASE_URL", url.as_str()), ("RELAY_DATABASE_POOLED", "true")];
    let ok = |args: &[&str]| {
        let done = finish(args, &env);
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
        done.stdout
    };
    assert!(ok(&["status"]).contains("dead                1"));
    assert!(ok(&["top", "--once", "--every", "200ms"]).contains("unroutable 1"));
    assert!(ok(&["dlq", "list"]).contains("unroutable"));
    ok(&["dlq", "show", &lost.to_string()]);
    ok(&[
        "enqueue",
        "--aggregate-type",
        "order",
        "--aggregate-id",
        "b",
        "--event-type",
        "placed",
        "--payload",
        "{}",
    ]);
    ok(&["replay-dlq", "--all", "--yes"]);
    assert_eq!(rig.database.state(lost).await.dead_reason, None, "it was replayed");
    assert_eq!(rig.database.unfinished().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_a_pooler_and_does_not_say_so_is_told_what_to_set() {
    let rig = Rig::new().await;
    let pooler = Pooler::before(&rig.database.url, SESSIONS).await;
    let relay = rig.relay().env("DATABASE_URL", &pooler.url()).start().await;
    relay.wait_log("set database.pooled = true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_take_the_direct_connection_and_say_so_when_there_is_none() {
    let empty = Database::empty(servers::shared()).await;
    let pooler = Pooler::before(&empty.url, SESSIONS).await;
    let url = pooler.url();
    let env = [
        ("DATABASE_URL", url.as_str()),
        ("RELAY_DATABASE_POOLED", "true"),
        ("RELAY_DATABASE_LISTEN_URL", &empty.url),
    ];
    let refused = finish(&["migrate"], &env[..2]);
    assert_eq!(refused.code, Some(78), "{}", refused.stderr);
    assert!(refused.stderr.contains("database.listen_url"), "{}", refused.stderr);
    let done = finish(&["migrate"], &env);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}
