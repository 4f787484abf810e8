//! Who keeps vacuum from cleaning the table is named.

use tokio_postgres::{Client, NoTls};

use crate::{
    rig::Rig,
    support::{
        database,
        relay::{RelayProcess, finish},
        servers, wait,
    },
};

/// A relay to which a transaction is old after a second.
async fn watchful(rig: &Rig) -> RelayProcess {
    rig.relay().env("RELAY_DATABASE_OLD_TRANSACTION", "1s").ready().await
}

/// A session with an open transaction that holds cleanup back, and its process.
async fn idle(url: &str) -> (Client, i32) {
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    let (client, connection) = config.application_name("nightly \"report\"").connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("begin isolation level repeatable read; select 1").await.unwrap();
    let pid = client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    (client, pid)
}

fn held(relay: &RelayProcess, by: &str) -> f64 {
    relay.metric("relay_cleanup_held_seconds", &[&format!("by=\"{by}\"")])
}

/// The one line that names it.
async fn said(relay: &RelayProcess) -> serde_json::Value {
    wait::found("what holds cleanup back", wait::LONG, async || {
        let lines = relay.lines().into_iter();
        lines.rev().find(|line| {
            line["message"].as_str().is_some_and(|text| text.contains("keeps the table from being cleaned,"))
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_left_open_is_named_with_its_process_application_age_and_state_until_it_ends() {
    let rig = Rig::new().await;
    let (open, pid) = idle(&rig.database.url).await;
    let relay = watchful(&rig).await;
    let line = said(&relay).await;
    assert_eq!(line["level"], "WARN");
    assert_eq!((line["by"].as_str(), line["pid"].as_i64()), (Some("session"), Some(i64::from(pid))));
    assert_eq!(line["name"], "nightly \"report\"");
    assert_eq!(line["state"], "idle in transaction");
    assert!(line["age_seconds"].as_u64() >= Some(1), "{line}");
    assert!(held(&relay, "session") >= 1.0);
    assert_eq!((held(&relay, "prepared"), held(&relay, "slot")), (0.0, 0.0));

    let env = [("DATABASE_URL", rig.database.url.as_str()), ("RELAY_DATABASE_OLD_TRANSACTION", "1s")];
    let table = finish(&["status"], &env).stdout;
    assert!(table.contains(&format!("held back by session {pid} of")), "{table}");
    let status: serde_json::Value =
        serde_json::from_str(&finish(&["status", "-o", "json"], &env).stdout).unwrap();
    assert_eq!(status["cleanup_held"]["pid"], pid);
    assert!(status["cleanup_held"]["age_seconds"].as_f64() >= Some(1.0), "{status}");
    let young = finish(&["status"], &env[..1]).stdout;
    assert!(!young.contains("held back"), "five minutes are not over: {young}");

    drop(open);
    relay.wait_log("nothing old keeps the table from being cleaned any more").await;
    relay.wait_metric("relay_cleanup_held_seconds", &["session"], wait::LONG, |age| age < 1.0).await;
    assert_eq!(relay.complaints().len(), 1, "once a minute is enough: {:?}", relay.complaints());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_transactions_it_may_not_look_into_relay_tells_who_it_is_and_how_long_it_has_seen_it() {
    let rig = Rig::new().await;
    let role = format!("watcher_{}", std::process::id());
    rig.database.execute(&format!("create role {role} login"), &[]).await;
    let migrate = finish(&["migrate", "--grant-run-to", &role], &[("DATABASE_URL", &rig.database.url)]);
    assert_eq!(migrate.code, Some(0), "{}", migrate.stderr);
    let url = rig.database.url.replacen("postgres@", &format!("{role}@"), 1);
    let (_open, pid) = idle(&rig.database.url).await;
    let relay =
        rig.relay().env("DATABASE_URL", &url).env("RELAY_DATABASE_OLD_TRANSACTION", "1s").ready().await;
    let line = said(&relay).await;
    assert_eq!((line["pid"].as_i64(), line["name"].as_str()), (Some(pid.into()), Some("nightly \"report\"")));
    assert_eq!(line["state"], serde_json::Value::Null, "that takes pg_read_all_stats");
    let table = finish(&["status"], &[("DATABASE_URL", &url)]).stdout;
    assert!(table.contains("nobody knows how long"), "{table}");
    drop(relay);
    rig.database.execute(&format!("drop owned by {role}"), &[]).await;
    rig.database.execute(&format!("drop role {role}"), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_that_was_forgotten_is_named() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let session = rig.database.session().await;
    // No row of relay's: a trigger that wakes it can't be prepared.
    let prepare =
        "create table other (); begin; insert into other default values; prepare transaction 'forgotten'";
    session.batch_execute(prepare).await.unwrap();
    let relay = watchful(&rig).await;
    let line = said(&relay).await;
    assert_eq!((line["by"].as_str(), line["name"].as_str()), (Some("prepared"), Some("forgotten")));
    assert!(held(&relay, "prepared") >= 1.0 && held(&relay, "session") == 0.0);
    session.batch_execute("rollback prepared 'forgotten'").await.unwrap();
    relay.wait_log("nothing old keeps the table").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_under_the_oldest_transaction_is_named_not_those_whose_snapshots_it_holds_back() {
    let rig = Rig::new().await;
    let writer = rig.database.session().await;
    writer.batch_execute("create table other (); begin; insert into other default values").await.unwrap();
    let pid: i32 = writer.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let (reader, _) = idle(&rig.database.url).await;
    let another = database::connect(&rig.database.url).await.unwrap();
    another.batch_execute("begin").await.unwrap();
    let relay = watchful(&rig).await;
    assert_eq!(said(&relay).await["pid"], pid);
    // One that reads committed rows and is idle holds nothing back, however long it has been open.
    writer.batch_execute("rollback").await.unwrap();
    drop(reader);
    relay.wait_log("nothing old keeps the table").await;
}
