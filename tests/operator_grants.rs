//! Roles with just their grants: the daemon does all of its work, a producer adds rows, and neither can do more.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use relay::{
    operator::grants::{self, Purpose},
    postgres::{
        connect::connect,
        migrate::{History, MIGRATIONS, PATIENCE, RELAY},
        settings::{DatabaseSettings, Tls},
    },
};

mod operator_support;
use operator_support::{World, client, url_of};

#[tokio::test]
async fn the_daemon_and_producers_do_their_work_with_just_their_grants() {
    let mut world = World::new("grants").await;
    let (run, produce) = (format!("{}_Run", world.name), format!("{}_produce", world.name));
    for role in [&run, &produce] {
        world.db.batch_execute(&format!("create role \"{role}\" login password 'relay'")).await.unwrap();
    }
    // As a cautious administrator does, so that the grants are seen to be complete.
    world.db.batch_execute("revoke execute on all functions in schema relay from public").await.unwrap();
    let (code, _, stderr) = world.relay(&["migrate", "--grant-run-to", "nobody; drop table x"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("there is no role \"nobody; drop table x\""), "{stderr}");
    for _ in 0..2 {
        world.ok(&["migrate", "--grant-run-to", &run, "--grant-enqueue-to", &produce]);
    }
    let own_url = world.database_url.clone();
    let as_role = |role: &str| url_of(&own_url, &world.name, Some(&format!("{role}:relay")));
    let (run_url, produce_url) = (as_role(&run), as_role(&produce));

    let producer = client(&produce_url).await;
    let add = |key: &'static str, kind: &'static str, headers: &'static str| {
        let sql = format!("select relay.enqueue('order', '{key}', '{kind}', '{{}}', headers => '{headers}')");
        let producer = &producer;
        async move { producer.execute(&sql, &[]).await.unwrap() }
    };
    world.declare().await;
    let work = format!("{}.work", world.name);
    world.bind(&work, "order.placed").await;
    world.set("DATABASE_URL", &run_url);
    world.set("RELAY_OUTBOX_ON_DEAD", "park");
    let pause = "insert into relay.pauses (scope, aggregate_type, aggregate_id, actor) values ('key', 'order', '9', 'x')";
    world.db.execute(pause, &[]).await.unwrap();
    let daemon = world.daemon();

    add("1", "placed", "{}").await;
    assert_eq!(world.take(&work, false).await.kind, "placed");
    // Unroutable, so it is retried while the next of its key is held; then it finds a queue.
    add("2", "shipped", "{}").await;
    add("2", "placed", "{}").await;
    world.until("select exists (select from relay.outbox where attempts > 0) and exists (select from relay.outbox where state = 'held')").await;
    world.bind(&work, "order.shipped").await;
    assert_eq!(world.take(&work, false).await.kind, "shipped");
    assert_eq!(world.take(&work, false).await.kind, "placed");
    // Poison: dies at once, parks its key.
    add("3", "placed", "{\"x-death\": 1}").await;
    world.until("select exists (select from relay.held_keys where reason = 'parked')").await;
    world.until("select exists (select from relay.outbox where dead_reason = 'invalid_headers')").await;
    // Paused, so it waits in the table; when that is over, the daemon lets it go.
    add("9", "placed", "{}").await;
    world.until("select exists (select from relay.held_keys where paused_by is not null)").await;
    world.db.execute("delete from relay.pauses", &[]).await.unwrap();
    assert_eq!(world.take(&work, false).await.kind, "placed");
    // Asleep by now or not: a plain insert is found as well, and its future waits.
    let insert = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, available_at) \
                  values ('order', '4', 'placed', '{}', now() + interval '1 second') returning event_id";
    producer.query_one(insert, &[]).await.unwrap();
    assert_eq!(world.take(&work, false).await.kind, "placed");
    world.until("select count(*) = 5 from relay.outbox where published_at is not null").await;
    drop(daemon);

    let relay = client(&run_url).await;
    // What the daemon runs now and then, and whose failures it keeps to itself.
    for query in [
        include_str!("../sql/queries/outbox/backlog.sql"),
        include_str!("../sql/queries/audit/totals.sql"),
        include_str!("../sql/queries/held_keys/repair.sql"),
        include_str!("../sql/queries/lanes/unowned.sql"),
        include_str!("../sql/queries/pauses/list.sql"),
    ] {
        relay.simple_query(&query.replace("$1", "0")).await.expect(query);
    }
    for (who, denied) in [
        (&relay, "update relay.outbox set payload = '1'"),
        (&relay, "delete from relay.outbox"),
        (&relay, "select actor from relay.audit"),
        (&relay, "update relay.lanes set lane = 1"),
        (&relay, "update relay.pauses set actor = 'nobody'"),
        (&relay, "delete from relay.pauses"),
        (&relay, "update relay.outbox set original_payload = '1'"),
        (&producer, "select payload from relay.outbox"),
        (&producer, "update relay.outbox set published_at = now()"),
        (
            &producer,
            "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, published_at) values ('a', 'b', 'c', '1', now())",
        ),
        (&producer, "select from relay.held_keys"),
    ] {
        let error = who.execute(denied, &[]).await.expect_err(denied);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{denied}");
    }
    drop((relay, producer));
    for role in [&run, &produce] {
        world.db.batch_execute(&format!("drop owned by \"{role}\"; drop role \"{role}\"")).await.unwrap();
    }
    world.end().await;
}

#[tokio::test]
async fn beside_a_relay_that_may_only_run_operators_commands_take_the_role_that_may_act() {
    let mut world = World::new("operators").await;
    let (run, operate) = (format!("{}_run", world.name), format!("{}_operate", world.name));
    for role in [&run, &operate] {
        world.db.batch_execute(&format!("create role \"{role}\" login password 'relay'")).await.unwrap();
    }
    world.db.batch_execute("revoke execute on all functions in schema relay from public").await.unwrap();
    world.ok(&["migrate", "--grant-run-to", &run, "--grant-operate-to", &operate]);
    world.ok(&["migrate", "--grant-enqueue-to", &run, "--grant-prune-to", &run]);
    world.declare().await;
    let own_url = world.database_url.clone();
    let as_role = |role: &str| url_of(&own_url, &world.name, Some(&format!("{role}:relay")));
    let (run_url, operate_url) = (as_role(&run), as_role(&operate));

    // What runbooks have operators look at and do: rows that are dead, a key that retries, one that is parked.
    let mut dead = Vec::new();
    for key in ["1", "2", "3"] {
        dead.push(world.insert_dead(key, "lost").await.to_string());
    }
    let retried = world.insert("4", "lost").await;
    let retrying = "insert into relay.held_keys (aggregate_type, aggregate_id, lane, head_seq, reason, due_at) \
                    select 'order', '4', lane, seq, 'retrying', now() + interval '1 h' from relay.outbox where seq = $1";
    world.db.execute(retrying, &[&retried]).await.unwrap();
    let parked = world.insert_dead("5", "lost").await;
    world.park("5", parked).await;
    let message = "insert into relay.inbox (consumer, message_id, state, done_at, dead_at, body, properties, reason) \
                   values ('mail', 'm-1', 'dead', null, now(), '{}', '{}', 'rejected')";
    world.db.execute(message, &[]).await.unwrap();
    let mended = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.json", world.name));
    std::fs::write(&mended, "{\"mended\": true}").unwrap();
    let [edited, replayed, discarded] = dead.as_slice() else { panic!("three") };
    let seq = |seq: &str| format!("select event_id::text from relay.outbox where seq = {seq}");
    let (replayed_id, discarded_id) =
        (world.one::<String>(&seq(replayed)).await, world.one::<String>(&seq(discarded)).await);
    let queue = format!("{}.work", world.name);
    let looks: [&[&str]; 10] = [
        &["status"],
        &["top", "--once", "--every", "200ms"],
        &["trace", edited],
        &["dlq", "list"],
        &["dlq", "list", "--consumer", "mail"],
        &["dlq", "show", edited, "--payload"],
        &["dlq", "show", "m-1", "--consumer", "mail"],
        &["key", "show", "order/4"],
        &["pauses"],
        &["audit", "list"],
    ];
    let acts: [&[&str]; 12] = [
        &["pause", "--all"],
        &["pause", "--key", "order/9", "--note", "n"],
        &["resume", "--all"],
        &["resume", "--everything"],
        &["dlq", "edit", edited, "--payload", mended.to_str().unwrap()],
        &["replay-dlq", "--event-id", &replayed_id, "--yes"],
        &["dlq", "discard", "--event-id", &discarded_id, "--yes", "--reason-note", "n"],
        &["replay-dlq", "--all", "--rate", "50/s", "--dry-run"],
        &["replay-dlq", "--foreign", "--allow-queue", &queue, "--yes"],
        &["replay-dlq", "--consumer", "mail", "--all", "--yes"],
        &["key", "skip", "order/4", "--yes"],
        &["key", "release", "order/5", "--yes"],
    ];

    // Relay's own role looks at much, does nothing, and is told what would.
    world.set("DATABASE_URL", &run_url);
    for refused in [looks[2], looks[9], acts[0], acts[4], acts[5], acts[6], acts[10]] {
        let (code, _, stderr) = world.relay(refused);
        assert_eq!(code, 1, "relay {refused:?}: {stderr}");
        for words in ["permission denied", "--grant-operate-to ROLE", "database.operator_url"] {
            assert!(stderr.contains(words), "relay {refused:?}: {stderr}");
        }
    }
    // As in relay's pod.
    world.set("RELAY_DATABASE_OPERATOR_URL", &operate_url);
    for args in looks.iter().chain(&acts) {
        world.ok(args);
    }
    let audit = world.json(&["audit", "list", "-o", "json"]);
    assert_eq!(audit.as_array().unwrap().len(), 11, "{audit:#}");
    // What operators may not do is done as relay itself.
    let payload = [
        "enqueue",
        "--aggregate-type",
        "order",
        "--aggregate-id",
        "7",
        "--event-type",
        "placed",
        "--payload",
        "{}",
    ];
    world.ok(&payload);
    world.ok(&["prune", "--older-than", "1s", "--yes"]);
    // And to look takes no more than the operators' connection.
    world.set("DATABASE_URL", "postgres://relay@127.0.0.1:1/shop");
    for args in looks {
        world.ok(args);
    }
    assert_eq!(world.relay(&payload).0, 69);

    std::fs::remove_file(&mended).unwrap();
    for role in [&run, &operate] {
        world.db.batch_execute(&format!("drop owned by \"{role}\"; drop role \"{role}\"")).await.unwrap();
    }
    world.end().await;
}

#[tokio::test]
async fn a_role_that_could_run_relay_before_a_migration_still_can_after_it() {
    let mut world = World::new("grants_before").await;
    let role = format!("{}_Run", world.name);
    world.db.batch_execute(&format!("create role \"{role}\" login password 'relay'")).await.unwrap();
    // As it was before rows could be suspects.
    world.db.batch_execute("drop schema relay cascade").await.unwrap();
    let settings = DatabaseSettings {
        config: world.database_url.parse().unwrap(),
        tls: Tls::Auto,
        ca_file: None,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(30),
        pooled: false,
        schema: "relay".to_owned(),
    };
    let mut connection = connect(&settings, "test").await.unwrap();
    let before = History { migrations: &MIGRATIONS[..4], ..RELAY };
    assert_eq!(before.migrate(&mut connection, "relay", PATIENCE, |_| {}).await.unwrap().len(), 4);
    let now = grants::script(Purpose::Run, "relay", &role);
    let then = now.replace("last_error,\n              suspect)", "last_error)");
    let then = then.replace("grant select, update (pause_id) on \"relay\".pauses to", "-- of");
    let then = then.replace("expires_at, floor, numbering)", "expires_at)");
    let then: String = then.lines().filter(|line| !line.starts_with("-- ")).collect::<Vec<_>>().join("\n");
    assert!(
        ["suspect", "pauses", "floor"].iter().all(|later| now.contains(later) && !then.contains(later)),
        "{then}"
    );
    grants::run(&connection.client, &then, &role).await.unwrap();
    drop(connection);
    world.ok(&["migrate"]);

    world.declare().await;
    let run_url = url_of(&world.database_url, &world.name, Some(&format!("{role}:relay")));
    world.set("DATABASE_URL", &run_url);
    let daemon = world.daemon();
    // Unroutable, so it is retried, and in the end dies.
    world.insert("1", "placed").await;
    world.until("select exists (select from relay.outbox where dead_reason = 'unroutable')").await;
    drop(daemon);
    world.db.batch_execute(&format!("drop owned by \"{role}\"; drop role \"{role}\"")).await.unwrap();
    world.end().await;
}
