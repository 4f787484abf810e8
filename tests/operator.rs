//! What an operator does, with the real binary, Postgres and RabbitMQ.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Stdio;

mod operator_support;
use operator_support::World;

#[tokio::test]
async fn a_replay_says_what_to_replay_and_that_it_is_meant() {
    let world = World::new("usage").await;
    world.insert_dead("1", "placed").await;
    let refused: [(&[&str], &str); 6] = [
        (&["replay-dlq", "--yes"], "--all"),
        (&["replay-dlq", "--all"], "--yes"),
        (&["replay-dlq", "--all", "--event-type", "placed", "--yes"], "--all"),
        (&["replay-dlq", "--reason", "boredom", "--yes"], "unroutable"),
        (&["replay-dlq", "--foreign", "--yes"], "--allow-queue"),
        (&["dlq", "discard", "--all"], "--yes"),
    ];
    for (args, says) in refused {
        let (code, stdout, stderr) = world.relay(args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
    }
    assert!(world.one::<bool>("select bool_and(dead_at is not null) from relay.outbox").await);
    world.end().await;
}

#[tokio::test]
async fn a_dry_run_shows_the_rows_and_changes_nothing() {
    let world = World::new("dry").await;
    let seq = world.insert_dead("1", "placed").await;
    world.insert_dead("2", "cancelled").await;
    let would = world.json(&["replay-dlq", "--event-type", "placed", "--dry-run", "-o", "json"]);
    assert_eq!(would["matched"], 1);
    assert_eq!(would["rows"][0]["seq"], seq);
    assert!(world.ok(&["replay-dlq", "--all", "--dry-run"]).contains("cancelled"));
    assert_eq!(world.one::<i64>("select count(*) from relay.outbox where dead_at is null").await, 0);
    assert_eq!(world.one::<i64>("select count(*) from relay.audit").await, 0);
    world.end().await;
}

#[tokio::test]
async fn every_filter_selects_and_all_of_them_must_hold() {
    let world = World::new("filters").await;
    world.insert_dead("1", "placed").await;
    world.insert_dead("2", "placed").await;
    world.insert_dead("2", "cancelled").await;
    let old =
        "update relay.outbox set dead_at = now() - interval '3 hours', dead_reason = 'refused' where seq = 1";
    world.db.execute(old, &[]).await.unwrap();
    let id: uuid::Uuid = world.one("select event_id from relay.outbox where seq = 2").await;
    let id = id.to_string();
    let cases: [(&[&str], &[i64]); 9] = [
        (&[], &[1, 2, 3]),
        (&["--event-id", &id], &[2]),
        (&["--event-type", "placed"], &[1, 2]),
        (&["--aggregate-type", "order", "--aggregate-id", "2"], &[2, 3]),
        (&["--event-type", "placed", "--aggregate-id", "2"], &[2]),
        (&["--reason", "refused"], &[1]),
        (&["--since", "2h"], &[2, 3]),
        (&["--until", "2h"], &[1]),
        (&["--since", "2001-01-01T00:00:00Z", "--limit", "2"], &[1, 2]),
    ];
    for (filter, expected) in cases {
        let args = [&["dlq", "list", "-o", "json"], filter].concat();
        let rows = world.json(&args);
        let seqs: Vec<i64> =
            rows.as_array().unwrap().iter().map(|row| row["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, expected, "{filter:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_dead_row_is_replayed_under_its_id_and_its_letter_is_removed() {
    let mut world = World::new("replay").await;
    world.set("RELAY_RETRY_MAX_ATTEMPTS", "1");
    let daemon = world.daemon();
    let seq = world.insert("1", "placed").await;
    world.until("select dead_at is not null from relay.outbox").await;
    let work = format!("{}.work", world.name);
    world.until_depth(&world.dlq(), 1).await;
    world.bind(&work, "order.placed").await;
    let done = world.json(&["replay-dlq", "--reason", "unroutable", "--yes", "-o", "json"]);
    assert_eq!(
        (&done["done"], &done["complete"], &done["stale_letters_removed"]),
        (&1.into(), &true.into(), &1.into())
    );
    let taken = world.take(&work, false).await;
    let id: uuid::Uuid = world.one("select event_id from relay.outbox").await;
    assert_eq!((taken.id, taken.kind), (id.to_string(), "placed".to_owned()));
    world.until("select published_at is not null from relay.outbox").await;
    world.until_depth(&world.dlq(), 0).await;
    let audit = world
        .db
        .query_one("select actor, action, filter::text, affected from relay.audit", &[])
        .await
        .unwrap();
    assert!(audit.get::<_, &str>(0).starts_with("tester@"));
    assert_eq!((audit.get::<_, &str>(1), audit.get::<_, i64>(3)), ("replay", 1));
    assert!(audit.get::<_, &str>(2).contains("unroutable"));
    let shown = world.json(&["dlq", "show", &seq.to_string(), "-o", "json"]);
    assert_eq!(
        (&shown["replays"], &shown["generation"], &shown["attempts"]),
        (&1.into(), &1.into(), &0.into())
    );
    // Doing it again does nothing.
    assert_eq!(world.json(&["replay-dlq", "--reason", "unroutable", "--yes", "-o", "json"])["done"], 0);
    drop(daemon);
    world.end().await;
}

#[tokio::test]
async fn dead_rows_of_one_parked_key_go_out_in_seq_order_whatever_the_batches() {
    let mut world = World::new("parked").await;
    world.set("RELAY_OUTBOX_ON_DEAD", "park");
    world.declare().await;
    let work = format!("{}.work", world.name);
    world.bind(&work, "#").await;
    // The second died last and so heads the key; the third came after it and is held.
    world.insert_dead("1", "first").await;
    let head = world.insert_dead("1", "second").await;
    world.insert("1", "third").await;
    world.park("1", head).await;
    let daemon = world.daemon();
    world.until("select state = 'held' from relay.outbox where event_type = 'third'").await;
    world.ok(&["replay-dlq", "--all", "--limit", "1", "--yes"]);
    assert_eq!(world.one::<String>("select reason from relay.held_keys").await, "parked");
    world.ok(&["replay-dlq", "--all", "--yes"]);
    for expected in ["first", "second", "third"] {
        assert_eq!(world.take(&work, false).await.kind, expected);
    }
    world.until("select not exists (select from relay.held_keys)").await;
    drop(daemon);
    world.end().await;
}

#[tokio::test]
async fn rows_of_a_key_that_goes_on_are_replayed_in_seq_order() {
    let world = World::new("order").await;
    world.declare().await;
    let work = format!("{}.work", world.name);
    world.bind(&work, "#").await;
    let kinds: Vec<String> = (0..25).map(|number| format!("event{number}")).collect();
    for kind in &kinds {
        world.insert_dead("1", kind).await;
    }
    let daemon = world.daemon();
    world.ok(&["replay-dlq", "--aggregate-id", "1", "--rate", "10/s", "--yes"]);
    for kind in &kinds {
        assert_eq!(&world.take(&work, false).await.kind, kind);
    }
    drop(daemon);
    world.end().await;
}

#[tokio::test]
async fn an_interrupted_replay_says_what_is_done_and_the_next_one_does_the_rest() {
    let world = World::new("stop").await;
    for _ in 0..20 {
        world.insert_dead("1", "placed").await;
    }
    let mut command = world.command(&["replay-dlq", "--all", "--rate", "1/s", "--yes", "--no-dlq-cleanup"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    world.until("select count(*) > 0 from relay.outbox where dead_at is null").await;
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("interrupted: replayed"), "{stderr}");
    let done: i64 = world.one("select count(*) from relay.outbox where dead_at is null").await;
    assert!((1..20).contains(&done));
    let rest = world.json(&["replay-dlq", "--all", "--yes", "--no-dlq-cleanup", "-o", "json"]);
    assert_eq!(rest["done"].as_i64(), Some(20 - done));
    assert_eq!(world.one::<i64>("select sum(affected)::bigint from relay.audit").await, 20);
    world.end().await;
}

#[tokio::test]
async fn replays_at_the_same_time_replay_each_row_once() {
    let world = World::new("twice").await;
    for key in ["1", "2"] {
        for _ in 0..300 {
            world.insert_dead(key, "placed").await;
        }
        let head = world.one::<i64>("select max(seq) from relay.outbox").await;
        world.park(key, head).await;
    }
    let args = ["replay-dlq", "--all", "--yes", "--no-dlq-cleanup", "-o", "json"];
    let runs: Vec<_> = (0..3).map(|_| world.command(&args).stdout(Stdio::piped()).spawn().unwrap()).collect();
    let mut done = 0;
    for run in runs {
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success());
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        done += summary["done"].as_i64().unwrap();
    }
    assert_eq!(done, 600);
    assert!(
        world
            .one::<bool>(
                "select bool_and(replays = 1 and generation = 1 and state = 'held') from relay.outbox"
            )
            .await
    );
    assert!(world.one::<bool>("select bool_and(reason = 'releasing') from relay.held_keys").await);
    assert_eq!(world.one::<i64>("select sum(affected)::bigint from relay.audit").await, 600);
    world.end().await;
}

#[tokio::test]
async fn a_replay_works_without_a_broker_and_warns_that_letters_stay() {
    let mut world = World::new("nobroker").await;
    world.insert_dead("1", "placed").await;
    world.set("AMQP_URL", "amqp://guest:guest@127.0.0.1:1/%2f");
    let (code, stdout, stderr) = world.relay(&["replay-dlq", "--all", "--yes"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("replayed 1 of 1") && stderr.contains("warning"), "{stdout}{stderr}");
    world.set("DATABASE_URL", "postgres://postgres@127.0.0.1:1/nothing");
    for args in [&["replay-dlq", "--all", "--yes"][..], &["status"], &["dlq", "list"]] {
        assert_eq!(world.relay(args).0, 69, "{args:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_discarded_row_is_published_by_nobody_and_its_parked_key_goes_on() {
    let mut world = World::new("discard").await;
    world.set("RELAY_OUTBOX_ON_DEAD", "park");
    world.declare().await;
    let work = format!("{}.work", world.name);
    world.bind(&work, "#").await;
    let head = world.insert_dead("1", "first").await;
    world.park("1", head).await;
    world.insert("1", "second").await;
    let daemon = world.daemon();
    world.until("select state = 'held' from relay.outbox where event_type = 'second'").await;
    let done = world.ok(&["dlq", "discard", "--event-type", "first", "--reason-note", "a test", "--yes"]);
    assert!(done.contains("discarded 1 of 1"), "{done}");
    assert_eq!(world.take(&work, false).await.kind, "second");
    assert!(world.one::<bool>("select resolved_at is not null and published_at is null from relay.outbox where event_type = 'first'").await);
    assert_eq!(
        world.one::<String>("select action || ': ' || note from relay.audit").await,
        "discard: a test"
    );
    assert_eq!(world.json(&["dlq", "list", "-o", "json"]).as_array().map(Vec::len), Some(0));
    world.until_depth(&work, 0).await;
    drop(daemon);
    world.end().await;
}

#[tokio::test]
async fn a_row_is_shown_without_its_payload_unless_asked_for() {
    let world = World::new("show").await;
    let seq = world.insert_dead("1", "placed").await.to_string();
    let id: uuid::Uuid = world.one("select event_id from relay.outbox").await;
    let id = id.to_string();
    let shown = world.ok(&["dlq", "show", &id]);
    for part in ["unroutable", "312 NO_ROUTE", "headers", "first_failed_at"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("payload"), "{shown}");
    let state = || world.json(&["dlq", "show", &seq, "-o", "json"])["state"].clone();
    assert_eq!(state(), "dead");
    world.db.execute("update relay.outbox set dead_at = null, dead_reason = null", &[]).await.unwrap();
    assert_eq!(state(), "ready");
    world.db.execute("update relay.outbox set published_at = now()", &[]).await.unwrap();
    assert_eq!(state(), "published");
    assert!(world.json(&["dlq", "show", &seq, "--payload", "-o", "json"])["payload"].is_object());
    let (code, stdout, stderr) = world.relay(&["dlq", "show", "4711"]);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert_eq!(world.relay(&["dlq", "show", "nonsense"]).0, 2);
    world.end().await;
}

#[tokio::test]
async fn an_event_is_traced_from_its_insert_through_death_and_replay_to_its_consumers() {
    let world = World::new("trace").await;
    let first = world.insert("1", "placed").await;
    let dead = world.insert_dead("2", "placed").await;
    let id: uuid::Uuid = world.one(&format!("select event_id from relay.outbox where seq = {dead}")).await;
    let id = id.to_string();
    let steps = |which: &str| -> Vec<String> {
        let traced = world.json(&["trace", which, "-o", "json"]);
        let step = |step: &serde_json::Value| {
            // Operators are of this machine.
            let who = step["who"].as_str().unwrap().split('@').next().unwrap();
            format!("{who} {}", step["what"].as_str().unwrap())
        };
        traced.as_array().unwrap().iter().map(step).collect()
    };
    assert_eq!(steps(&first.to_string()), ["producer inserted", "nobody is to publish it: ready"]);
    assert_eq!(steps(&id), ["producer inserted", "relay died"]);

    let work = format!("{}.work", world.name);
    world.declare().await;
    world.bind(&work, "#").await;
    world.ok(&["replay-dlq", "--event-id", &id, "--yes"]);
    let daemon = world.daemon();
    world.until("select count(*) = 2 from relay.outbox where published_at is not null").await;
    // Two consumers, one of which has it yet to do.
    let received = "insert into relay.inbox (consumer, message_id, state, done_at, due_at, properties, body, attempts) values \
        ('mailer', $1, 'done', now(), null, null, null, 1), ('biller', $1, 'retrying', null, now(), '{}', '', 3), \
        ('mailer', 'another', 'done', now(), null, null, null, 1)";
    world.db.execute(received, &[&id]).await.unwrap();
    let expected = [
        "producer inserted",
        "tester replay",
        "relay published",
        "biller received",
        "mailer received",
        "mailer done",
        "biller is to do it: retrying",
    ];
    assert_eq!(steps(&id), expected);
    assert_eq!(steps(&dead.to_string()), expected, "by its seq");
    let table = world.ok(&["trace", &id]);
    assert!(table.contains("after 1 replays") && table.contains("3 attempts"), "{table}");

    // The row is removed; the consumers know of it yet.
    world.db.execute("delete from relay.outbox where seq = $1", &[&dead]).await.unwrap();
    assert_eq!(steps(&id), [&expected[1..2], &expected[3..]].concat());
    let (code, stdout, stderr) = world.relay(&["trace", "4711"]);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("nothing is known of 4711"), "{stderr}");
    drop(daemon);
    world.end().await;
}

#[tokio::test]
async fn a_trace_says_behind_what_a_row_waits_and_who_discarded_it() {
    let world = World::new("trace_held").await;
    let head = world.insert_dead("1", "placed").await;
    world.park("1", head).await;
    let behind = world.insert("1", "paid").await;
    world.db.execute("update relay.outbox set state = 'held' where seq = $1", &[&behind]).await.unwrap();
    let table = world.ok(&["trace", &behind.to_string()]);
    assert!(table.contains(&format!("its key waits behind seq {head}, parked")), "{table}");
    world.ok(&["dlq", "discard", "--all", "--yes", "--reason-note", "a duplicate"]);
    let table = world.ok(&["trace", &head.to_string()]);
    let discarded = table.lines().find(|line| line.contains("discarded")).unwrap_or_default();
    assert!(discarded.contains("tester") && discarded.contains("a duplicate"), "{table}");
    world.end().await;
}

#[tokio::test]
async fn the_status_tells_age_backlog_keys_and_lanes_and_judges_the_age() {
    let world = World::new("status").await;
    world.insert("1", "placed").await;
    let head = world.insert_dead("2", "placed").await;
    world.park("2", head).await;
    world
        .db
        .execute("update relay.outbox set created_at = now() - interval '30 seconds', available_at = now() - interval '30 seconds'", &[])
        .await
        .unwrap();
    let status = world.json(&["status", "-o", "json"]);
    assert_eq!(
        (&status["pending"]["ready"], &status["dead"], &status["held_keys"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert!(
        status["oldest_age_seconds"].as_f64().is_some_and(|age| (30.0..300.0).contains(&age)),
        "{status}"
    );
    assert_eq!(status["first_held_keys"][0]["reason"], "parked");
    let table = world.ok(&["status"]);
    assert!(table.contains("no relay holds 32 of 32 lanes") && table.contains("order/2"), "{table}");
    for (args, expected, says) in [
        (["--warn", "1h", "--crit", "2h"], 0, "OK"),
        (["--warn", "10s", "--crit", "1h"], 1, "WARNING"),
        (["--warn", "10s", "--crit", "20s"], 2, "CRITICAL"),
    ] {
        let (code, stdout, stderr) = world.relay(&[&["status"][..], &args].concat());
        assert_eq!(code, expected, "{stdout}{stderr}");
        assert!(stdout.starts_with(&format!("RELAY {says}")), "{stdout}");
    }
    let metrics = world.ok(&["status", "-o", "prometheus"]);
    assert!(metrics.contains("relay_pending_rows{outbox=\"default\",state=\"ready\"} 1"), "{metrics}");
    // Scheduled, overdue, and nobody there to take it.
    let overdue = "update relay.outbox set state = 'waiting', available_at = now() - interval '20 seconds' where seq = 1";
    world.db.execute(overdue, &[]).await.unwrap();
    let age = world.json(&["status", "-o", "json"])["oldest_age_seconds"].as_f64().unwrap();
    assert!((20.0..30.0).contains(&age), "{age}");
    let daemon = world.daemon();
    world.until("select count(*) = 32 from relay.lanes where expires_at > now()").await;
    let status = world.json(&["status", "-o", "json"]);
    assert_eq!(status["relays"][0]["lanes"].as_array().map(Vec::len), Some(32), "{status}");
    drop(daemon);
    world.end().await;
}

#[tokio::test]
async fn an_event_is_added_by_hand_and_bad_json_never_reaches_the_database() {
    let mut world = World::new("enqueue").await;
    let base = ["enqueue", "--aggregate-type", "order", "--aggregate-id", "1", "--event-type", "placed"];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    let id = world.ok(&with(&["--payload", "{\"n\": 1}", "--headers", "{\"a\": \"b\"}", "--delay", "1h"]));
    let row = world.db.query_one("select event_id::text, state, payload::text, headers::text, available_at > now() + interval '59 minutes' from relay.outbox", &[]).await.unwrap();
    assert_eq!(
        (
            row.get::<_, String>(0),
            row.get::<_, &str>(1),
            row.get::<_, &str>(2),
            row.get::<_, &str>(3),
            row.get::<_, bool>(4)
        ),
        (id.trim().to_owned(), "ready", "{\"n\": 1}", "{\"a\": \"b\"}", true)
    );
    let given = "0190e7a8-0000-7000-8000-000000000001";
    assert_eq!(world.ok(&with(&["--payload", "1", "--event-id", given])).trim(), given);
    world.set("DATABASE_URL", "postgres://postgres@127.0.0.1:1/nothing");
    for (more, says) in [
        (["--payload", "{\"n\": "], "--payload is no JSON"),
        (["--payload", "@/nowhere.json"], "/nowhere.json"),
    ] {
        let (code, _, stderr) = world.relay(&with(&more));
        assert!(code != 69 && stderr.contains(says), "{stderr}");
    }
    let (code, _, stderr) = world.relay(&with(&["--payload", "1", "--headers", "[]"]));
    assert_eq!(code, 2, "{stderr}");
    world.end().await;
}

#[tokio::test]
async fn completions_and_the_manual_name_every_command() {
    let world = World::new("generated").await;
    let (completions, manual) = (world.ok(&["completions", "bash"]), world.ok(&["man"]));
    for command in relay::cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(completions.contains(&format!("relay,{name})")), "{name}: {completions}");
        assert!(manual.contains(&format!("relay\\-{}(1)", name.replace('-', "\\-"))), "{name}: {manual}");
    }
    world.end().await;
}
