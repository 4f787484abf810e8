//! Who keeps vacuum from cleaning the table is named.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

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
    let reader = rig.database.session().await;
    // It began first, and looks later.
    reader.batch_execute("begin isolation level repeatable read").await.unwrap();
    let writer = rig.database.session().await;
    writer.batch_execute("create table other (); begin; insert into other default values").await.unwrap();
    let pid: i32 = writer.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    reader.batch_execute("select 1").await.unwrap();
    let another = database::connect(&rig.database.url).await.unwrap();
    another.batch_execute("begin").await.unwrap();
    let relay = watchful(&rig).await;
    assert_eq!(said(&relay).await["pid"], pid);
    // One that reads committed rows and is idle holds nothing back, however long it has been open.
    writer.batch_execute("rollback").await.unwrap();
    drop(reader);
    relay.wait_log("nothing old keeps the table").await;
}

/// A standby that told what its queries need, and went away: its slot keeps that.
fn standby_gone(servers: &servers::Servers, slot: &str, lsn: &str, xmin: u32) {
    let address = servers.database_url.split('@').nth(1).unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let startup = b"\0\x03\0\0user\0postgres\0replication\0true\0\0";
    stream.write_all(&(startup.len() as u32 + 4).to_be_bytes()).unwrap();
    stream.write_all(startup).unwrap();
    until_message(&mut stream, b'Z');
    send(&mut stream, b'Q', format!("START_REPLICATION SLOT {slot} PHYSICAL {lsn}\0").as_bytes());
    until_message(&mut stream, b'W');
    // The feedback of a hot standby: its clock, the oldest transaction its queries see and its epoch, the same of the catalogs.
    let mut feedback = vec![b'h'];
    feedback.extend(0_i64.to_be_bytes());
    [xmin, 0, 0, 0].iter().for_each(|field| feedback.extend(field.to_be_bytes()));
    send(&mut stream, b'd', &feedback);
    // It goes with a word: what it said before is read first.
    send(&mut stream, b'c', &[]);
    until_message(&mut stream, b'c');
}

fn send(stream: &mut TcpStream, kind: u8, body: &[u8]) {
    stream.write_all(&[kind]).unwrap();
    stream.write_all(&(body.len() as u32 + 4).to_be_bytes()).unwrap();
    stream.write_all(body).unwrap();
}

fn until_message(stream: &mut TcpStream, kind: u8) {
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4];
        stream.read_exact(&mut body).unwrap();
        assert_ne!(head[0], b'E', "{}", String::from_utf8_lossy(&body));
        if head[0] == kind {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replication_slot_that_was_forgotten_is_named_and_aged_since_it_was_first_seen() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let session = rig.database.session().await;
    let slot = format!("standby_{}", std::process::id());
    session
        .execute("select pg_create_physical_replication_slot($1::text::name, true)", &[&slot])
        .await
        .unwrap();
    let row = session
        .query_one("select pg_current_wal_lsn()::text, pg_current_xact_id()::text::bigint", &[])
        .await
        .unwrap();
    let (lsn, xmin): (String, i64) = (row.get(0), row.get(1));
    standby_gone(own.servers(), &slot, &lsn, u32::try_from(xmin).unwrap());
    let relay = watchful(&rig).await;
    let line = said(&relay).await;
    assert_eq!((line["by"].as_str(), line["name"].as_str()), (Some("slot"), Some(slot.as_str())));
    assert_eq!(line["state"], "inactive");
    assert!(line["age_seconds"].as_u64() >= Some(1), "{line}");
    session.execute("select pg_drop_replication_slot($1::text::name)", &[&slot]).await.unwrap();
    relay.wait_log("nothing old keeps the table").await;
}
