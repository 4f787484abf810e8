//! What an operator mends: a payload, a key that is stuck; and what the audit says of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{io::Write, process::Stdio};

use relay::operator::{
    audit::Signed,
    dead::Which,
    edit::{EditError, edit},
    pauses::{PauseError, Paused, pause, resume},
};
use relay::{
    pause::Target,
    postgres::{
        connect::{Connection, connect},
        settings::{DatabaseSettings, Tls},
    },
};

mod operator_support;
use operator_support::{World, client};

async fn operator(world: &World) -> Connection {
    let settings = DatabaseSettings {
        config: world.database_url.parse().unwrap(),
        tls: Tls::Auto,
        ca_file: None,
        connect_timeout: std::time::Duration::from_secs(10),
        statement_timeout: std::time::Duration::from_secs(30),
        pooled: false,
        schema: "relay".to_owned(),
    };
    connect(&settings, "test").await.unwrap()
}

fn signed() -> Signed {
    Signed { actor: "tester".to_owned(), note: None }
}

/// A file of a test's own.
fn file(world: &World, text: &str) -> String {
    let path = format!("{}/{}.json", env!("CARGO_TARGET_TMPDIR"), world.name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_dead_row_is_edited_and_replayed_and_what_was_written_first_is_kept() {
    let world = World::new("edit").await;
    world.declare().await;
    let work = format!("{}.work", world.name);
    world.bind(&work, "#").await;
    let seq = world.insert_dead("1", "placed").await.to_string();
    let id: uuid::Uuid = world.one("select event_id from relay.outbox").await;
    let path = file(&world, r#"{"amount": 1}"#);
    world.ok(&["dlq", "edit", &seq, "--payload", &path, "--note", "a typo"]);
    // Once more, from standard input: the original is still the producer's.
    let mut command = world.command(&["dlq", "edit", &id.to_string(), "--payload", "-", "-o", "json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"amount": 12}"#).unwrap();
    let edited: serde_json::Value =
        serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(edited["generation"], 2);
    let shown = world.json(&["dlq", "show", &seq, "--payload", "-o", "json"]);
    assert_eq!(
        (&shown["payload"]["amount"], &shown["original_payload"], &shown["edited"]),
        (&12.into(), &serde_json::json!({}), &true.into())
    );
    let shown = world.json(&["dlq", "show", &seq, "-o", "json"]);
    assert!(shown.get("payload").is_none() && shown.get("original_payload").is_none(), "{shown}");
    assert_eq!(shown["edited"], true);
    let daemon = world.daemon();
    world.ok(&["replay-dlq", "--event-id", &id.to_string(), "--yes", "--note", "mended"]);
    let taken = world.take(&work, false).await;
    assert_eq!(
        (taken.id.as_str(), taken.body.as_slice()),
        (id.to_string().as_str(), &br#"{"amount": 12}"#[..])
    );
    drop(daemon);
    let audit = world.json(&["audit", "list", "-o", "json"]);
    let acts: Vec<_> =
        audit.as_array().unwrap().iter().map(|entry| (&entry["action"], &entry["note"])).collect();
    let (replay, edit, null) = ("replay".into(), "edit".into(), serde_json::Value::Null);
    assert_eq!(acts, [(&replay, &"mended".into()), (&edit, &null), (&edit, &"a typo".into())]);
    world.end().await;
}

#[tokio::test]
async fn only_a_dead_row_is_edited_and_only_with_a_payload_that_can_be_published() {
    let mut world = World::new("edit_refused").await;
    world.set("RELAY_LIMITS_PAYLOAD_BYTES", "2000");
    let live = world.insert("1", "placed").await;
    let dead = world.insert_dead("1", "placed").await;
    let discarded = world.insert_dead("2", "placed").await;
    world.ok(&["dlq", "discard", "--aggregate-id", "2", "--yes", "--note", "for the test"]);
    let cases = [
        (dead, "{".to_owned(), 2, "no JSON"),
        (dead, format!("\"{}\"", "x".repeat(2000)), 2, "limits.payload_bytes"),
        (dead, r#""\u0000""#.to_owned(), 1, "can't be stored"),
        (live, "1".to_owned(), 1, "is not dead"),
        (discarded, "1".to_owned(), 1, "was discarded"),
        (99, "1".to_owned(), 1, "no such row"),
    ];
    for (seq, payload, expected, says) in cases {
        let path = file(&world, &payload);
        let (code, _, stderr) = world.relay(&["dlq", "edit", &seq.to_string(), "--payload", &path]);
        assert_eq!(code, expected, "{payload}: {stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
    assert!(world.one::<bool>("select bool_and(original_payload is null) from relay.outbox").await);
    // Whoever looked at an older version changes nothing.
    let connection = operator(&world).await;
    let seen = edit(&connection.client, "relay", Which::Seq(dead), Some(0), "1", &signed()).await.unwrap();
    assert_eq!(seen.generation, 1);
    let late = edit(&connection.client, "relay", Which::Seq(dead), Some(0), "2", &signed()).await;
    assert!(matches!(late, Err(EditError::Changed(seq)) if seq == dead), "{late:?}");
    let audit = world.json(&["audit", "list", "--action", "discard", "-o", "json"]);
    assert_eq!(audit[0]["note"], "for the test", "the reason is in the audit");
    world.end().await;
}

#[tokio::test]
async fn a_head_that_is_retried_in_vain_is_skipped_and_its_key_goes_on() {
    let mut world = World::new("skip").await;
    world.set("RELAY_RETRY_MAX_ATTEMPTS", "1000");
    world.declare().await;
    let work = format!("{}.work", world.name);
    world.bind(&work, "order.placed").await;
    let daemon = world.daemon();
    let head = world.insert("1", "nowhere").await;
    world.insert("1", "placed").await;
    world.until("select exists (select from relay.outbox where state = 'held')").await;
    let (code, _, stderr) = world.relay(&["key", "release", "order/1", "--yes"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("relay key skip"), "{stderr}");
    let would = world.json(&["key", "skip", "order/1", "--dry-run", "-o", "json"]);
    assert_eq!((&would["head_seq"], &would["behind"]), (&head.into(), &1.into()));
    assert_eq!(world.relay(&["key", "skip", "order/1"]).0, 2, "it asks first");
    world.ok(&["key", "skip", "order/1", "--yes", "--note", "nobody wants it"]);
    assert_eq!(world.take(&work, false).await.kind, "placed");
    world.until("select not exists (select from relay.held_keys)").await;
    let skipped = format!(
        "select dead_reason = 'skipped' and resolved_at is not null from relay.outbox where seq = {head}"
    );
    assert!(world.one::<bool>(&skipped).await);
    assert_eq!(world.json(&["dlq", "list", "-o", "json"]), serde_json::json!([]), "it is dealt with");
    let audit = world.json(&["audit", "list", "--action", "skip", "-o", "json"]);
    assert_eq!((&audit[0]["note"], &audit[0]["filter"]["seq"]), (&"nobody wants it".into(), &head.into()));
    let (code, _, stderr) = world.relay(&["key", "skip", "order/1", "--yes"]);
    assert_eq!(code, 1, "{stderr}");
    drop(daemon);
    world.end().await;
}

#[tokio::test]
async fn a_parked_key_is_released_and_its_head_stays_dead() {
    let mut world = World::new("release").await;
    world.set("RELAY_OUTBOX_ON_DEAD", "park");
    world.declare().await;
    let work = format!("{}.work", world.name);
    world.bind(&work, "#").await;
    let head = world.insert_dead("1", "first").await;
    world.insert("1", "second").await;
    world.park("1", head).await;
    let daemon = world.daemon();
    world.until("select exists (select from relay.outbox where state = 'held')").await;
    let (code, _, stderr) = world.relay(&["key", "skip", "order/1", "--yes"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("relay key release"), "{stderr}");
    world.ok(&["key", "release", "order/1", "--yes", "--actor", "somebody"]);
    assert_eq!(world.take(&work, false).await.kind, "second");
    assert_eq!(world.json(&["dlq", "list", "-o", "json"])[0]["seq"], head);
    world.ok(&["replay-dlq", "--all", "--yes"]);
    assert_eq!(world.take(&work, false).await.kind, "first");
    let audit = world.json(&["audit", "list", "--actor", "somebody", "-o", "json"]);
    assert_eq!(audit.as_array().unwrap().len(), 1);
    assert_eq!(audit[0]["action"], "release");
    assert!(world.ok(&["audit", "list", "--since", "1h"]).contains("release"));
    assert_eq!(world.ok(&["audit", "list", "--since", "2999-01-01T00:00:00Z"]), "");
    drop(daemon);
    world.end().await;
}

#[tokio::test]
async fn what_is_paused_is_listed_paused_once_and_ended_by_what_it_is_about() {
    let world = World::new("pauses").await;
    let made = world.json(&["pause", "--key", "order/1", "--note", "wrong address", "-o", "json"]);
    assert_eq!(made["already"], false);
    let again = world.json(&["pause", "--key", "order/1", "-o", "json"]);
    assert_eq!((&again["pause_id"], &again["already"]), (&made["pause_id"], &true.into()));
    world.ok(&["pause", "--exchange", "elsewhere"]);
    world.ok(&["pause", "--routing-key", "order.*"]);
    world.ok(&["pause", "--all"]);
    let listed = world.json(&["pauses", "-o", "json"]);
    let scopes: Vec<_> =
        listed.as_array().unwrap().iter().map(|pause| pause["scope"].as_str().unwrap()).collect();
    assert_eq!(scopes, ["key", "route", "route", "all"]);
    assert_eq!((&listed[0]["note"], &listed[0]["aggregate_id"]), (&"wrong address".into(), &"1".into()));
    assert_eq!(listed[1]["routing_key"], "#");
    assert_eq!(listed[2]["exchange"], format!("{}.events", world.name));
    let table = world.ok(&["pauses"]);
    assert!(table.contains("key order/1") && table.contains("everything"), "{table}");
    let status = world.json(&["status", "-o", "json"]);
    assert_eq!(status["pauses"].as_array().unwrap().len(), 4);
    assert!(world.ok(&["status", "-o", "prometheus"]).contains("scope=\"route\"} 2"));
    let refused: [(&[&str], i32, &str); 6] = [
        (&["pause"], 2, "--all"),
        (&["pause", "--all", "--key", "a/b"], 2, "one thing"),
        (&["pause", "--key", "order"], 2, "order/4711"),
        (&["resume"], 2, "--everything"),
        (&["resume", "--key", "order/2"], 1, "no such pause"),
        (&["resume", "--id", "99"], 1, "no such pause"),
    ];
    for (args, expected, says) in refused {
        let (code, _, stderr) = world.relay(args);
        assert_eq!(code, expected, "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
    }
    world.ok(&["resume", "--exchange", "elsewhere", "--note", "over"]);
    let left = world.json(&["resume", "--all", "-o", "json"])["left"].clone();
    assert_eq!(left, 2);
    assert_eq!(world.json(&["resume", "--everything", "-o", "json"])["pauses"], 2);
    assert_eq!(world.json(&["resume", "--everything", "-o", "json"])["pauses"], 0);
    let audit = world.json(&["audit", "list", "-o", "json"]);
    let acts: Vec<_> =
        audit.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(acts, ["resume", "resume", "resume", "resume", "pause", "pause", "pause", "pause"]);
    assert_eq!((&audit[3]["note"], &audit[3]["filter"]["exchange"]), (&"over".into(), &"elsewhere".into()));
    world.end().await;
}

#[tokio::test]
async fn there_are_a_thousand_pauses_at_most_and_a_pause_of_many_keys_is_ended_in_batches() {
    let world = World::new("pauses_many").await;
    let connection = operator(&world).await;
    let client = &connection.client;
    let fill = "insert into relay.pauses (scope, aggregate_type, aggregate_id, actor)
                select 'key', 'order', n, 'test' from generate_series(1, 999) n";
    world.db.execute(fill, &[]).await.unwrap();
    let Paused::Now(all) = pause(client, "relay", &Target::All, &signed()).await.unwrap() else {
        panic!("it was not paused before")
    };
    let key = Target::Key { aggregate_type: "order".to_owned(), aggregate_id: "x".to_owned() };
    let refused = pause(client, "relay", &key, &signed()).await;
    assert!(matches!(refused, Err(PauseError::TooMany)), "{refused:?}");
    let held = "insert into relay.held_keys (aggregate_type, aggregate_id, lane, head_seq, reason, paused_by)
                select 'order', n, 0, n, 'parked', case when n % 10 = 0 then $2::bigint else $1::bigint end
                from generate_series(1, 2500) n";
    let other: i64 = world.one("select min(pause_id) from relay.pauses").await;
    world.db.execute(held, &[&all, &other]).await.unwrap();
    let resumed = resume(client, "relay", &[all], &signed()).await.unwrap();
    assert_eq!((resumed.pauses, resumed.keys), (1, 2250));
    let counts = "select count(*) filter (where reason = 'releasing') = 2250
                     and count(*) filter (where reason = 'parked') = 250 from relay.held_keys";
    assert!(world.one::<bool>(counts).await, "the others wait for another pause");
    world.end().await;
}

#[tokio::test]
async fn no_key_is_held_for_a_pause_that_ends_at_the_same_moment() {
    let world = World::new("pause_race").await;
    let relay_id = uuid::Uuid::from_u128(1);
    let lanes = "update relay.lanes set owner = $1, token = 1, expires_at = 'infinity'";
    world.db.execute(lanes, &[&relay_id]).await.unwrap();
    let relay = client(&world.database_url).await;
    let waits = "select exists (select from pg_stat_activity
                                where datname = current_database() and wait_event_type = 'Lock')";
    let hold = async |seq: i64, pause: i64| {
        let (lanes, tokens): (Vec<i16>, Vec<i64>) = ((0..32).collect(), vec![1; 32]);
        let (seqs, generations, pauses, suspects) = (vec![seq], vec![0], vec![pause], vec![false]);
        let statement = include_str!("../sql/queries/outbox/pause.sql");
        let row = relay
            .query_one(statement, &[&relay_id, &lanes, &tokens, &seqs, &generations, &pauses, &suspects])
            .await
            .unwrap();
        (row.get::<_, i64>(0), row.get::<_, Vec<i64>>(1))
    };
    let key = |id: &str| Target::Key { aggregate_type: "order".to_owned(), aggregate_id: id.to_owned() };
    let operator = operator(&world).await;
    let pause = async |id: &str| match pause(&operator.client, "relay", &key(id), &signed()).await.unwrap() {
        Paused::Now(pause) => pause,
        Paused::Already(_) => panic!("it was not paused before"),
    };

    // The operator is first: the relay waits for him, and then holds nothing.
    let (seq, first) = (world.insert("1", "placed").await, pause("1").await);
    let ending = client(&world.database_url).await;
    ending.batch_execute("begin").await.unwrap();
    ending.execute("delete from relay.pauses where pause_id = $1", &[&first]).await.unwrap();
    let (held, ()) = tokio::join!(hold(seq, first), async {
        world.until(waits).await;
        ending.batch_execute("commit").await.unwrap();
    });
    assert_eq!(held, (1, vec![first]), "it is told that the pause is over");
    assert_eq!(world.one::<String>("select reason from relay.held_keys").await, "releasing");
    world.db.execute("delete from relay.held_keys", &[]).await.unwrap();

    // The relay is first: the operator waits, and then lets the key go.
    let (seq, second) = (world.insert("2", "placed").await, pause("2").await);
    relay.batch_execute("begin").await.unwrap();
    assert_eq!(hold(seq, second).await, (1, vec![]));
    let pauses = [second];
    let by = signed();
    let (resumed, ()) = tokio::join!(resume(&operator.client, "relay", &pauses, &by), async {
        world.until(waits).await;
        relay.batch_execute("commit").await.unwrap();
    });
    assert_eq!(resumed.unwrap().keys, 1);
    assert_eq!(world.one::<String>("select reason from relay.held_keys").await, "releasing");
    world.end().await;
}
