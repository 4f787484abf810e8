//! Removing old rows by hand, with the real binary and Postgres.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Stdio;

use serde_json::{Value, json};

mod operator_support;
use operator_support::{World, client, url_of};

/// Rows of one event type, as old as all their times say.
async fn add(world: &World, kind: &str, rows: i32, columns: &str) {
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, created_at)
               select 'order', n::text, $1, '{}', now() - interval '10 days' from generate_series(1, $2) n
               returning seq";
    let seqs: Vec<i64> =
        world.db.query(sql, &[&kind, &rows]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let set = format!("update relay.outbox set {columns} where seq = any ($1)");
    world.db.execute(&set, &[&seqs]).await.unwrap();
}

const LONG_AGO: &str = "now() - interval '8 days'";
const LATELY: &str = "now() - interval '6 days'";

/// One row of every kind there is.
async fn add_every_kind(world: &World) {
    add(world, "published", 1, &format!("published_at = {LONG_AGO}")).await;
    add(world, "published lately", 1, &format!("published_at = {LATELY}")).await;
    add(world, "ready", 1, "state = 'ready'").await;
    add(world, "waiting", 1, "state = 'waiting', available_at = now() + interval '1 day', attempts = 1")
        .await;
    add(world, "held", 1, "state = 'held'").await;
    add(world, "dead", 1, &format!("dead_at = {LONG_AGO}, dead_reason = 'unroutable'")).await;
    add(world, "dead lately", 1, &format!("dead_at = {LATELY}, dead_reason = 'unroutable'")).await;
    add(world, "parked", 1, &format!("dead_at = {LONG_AGO}, dead_reason = 'unroutable'")).await;
    let head = world.one("select seq from relay.outbox where event_type = 'parked'").await;
    world.park("1", head).await;
    let dead = format!("dead_at = {LONG_AGO}, dead_reason = 'unroutable'");
    add(world, "discarded", 1, &format!("{dead}, resolved_at = {LONG_AGO}")).await;
    add(world, "discarded lately", 1, &format!("{dead}, resolved_at = {LATELY}")).await;
}

async fn left(world: &World) -> Vec<String> {
    let rows = world.db.query("select event_type from relay.outbox order by seq", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn rows(world: &World) -> i64 {
    world.one("select count(*) from relay.outbox").await
}

const STAY: [&str; 8] =
    ["published lately", "ready", "waiting", "held", "dead", "dead lately", "parked", "discarded lately"];

#[tokio::test]
async fn rows_published_or_discarded_long_ago_go_and_all_others_stay() {
    let world = World::new("prune").await;
    add_every_kind(&world).await;
    let done = world.json(&["prune", "--older-than", "7d", "--yes", "-o", "json"]);
    assert_eq!(
        done,
        json!({ "action": "prune", "dry_run": false, "rows": 2, "complete": true,
                "kinds": { "published": 1, "discarded": 1, "dead": 0 } })
    );
    assert_eq!(left(&world).await, STAY);
    let audit = world.db.query("select actor, action, filter::text, affected, note from relay.audit", &[]);
    let audit = audit.await.unwrap();
    let [entry] = audit.as_slice() else { panic!("{} entries", audit.len()) };
    assert!(entry.get::<_, &str>(0).starts_with("tester@"));
    let filter: Value = serde_json::from_str(entry.get(2)).unwrap();
    assert!(filter["finished_before"].is_string() && filter.get("dead_before").is_none(), "{filter}");
    assert_eq!(
        (entry.get::<_, &str>(1), entry.get::<_, i64>(3), entry.get::<_, Option<&str>>(4)),
        ("prune", 2, None)
    );
    // Without --older-than: as long as relay itself would keep them, a week by default.
    assert_eq!(world.json(&["prune", "--yes", "-o", "json"])["rows"], 0);
    world.end().await;
}

#[tokio::test]
async fn dead_rows_go_only_when_told_so_and_never_one_that_its_key_waits_behind() {
    let world = World::new("prunedead").await;
    add_every_kind(&world).await;
    let args = ["prune", "--dead-older-than", "7d", "--yes", "-o", "json"];
    assert_eq!(world.json(&args)["kinds"], json!({ "published": 1, "discarded": 1, "dead": 1 }));
    let stay: Vec<&str> = STAY.into_iter().filter(|kind| *kind != "dead").collect();
    assert_eq!(left(&world).await, stay);
    let filter: String = world.one("select filter->>'dead_before' from relay.audit").await;
    assert!(filter.ends_with('Z'), "{filter}");
    world.end().await;
}

#[tokio::test]
async fn a_dry_run_tells_what_would_go_and_changes_nothing() {
    let world = World::new("prunedry").await;
    add_every_kind(&world).await;
    let would = world.json(&["prune", "--dead-older-than", "1d", "--dry-run", "-o", "json"]);
    assert_eq!(would["kinds"], json!({ "published": 1, "discarded": 1, "dead": 2 }));
    let table = world.ok(&["prune", "--older-than", "1d", "--limit", "3", "--dry-run"]);
    assert!(table.contains("would remove 3 rows: 2 published, 1 discarded, 0 dead"), "{table}");
    assert_eq!((rows(&world).await, world.one::<i64>("select count(*) from relay.audit").await), (10, 0));
    world.end().await;
}

#[tokio::test]
async fn what_is_to_go_and_that_it_is_meant_must_be_said() {
    let mut world = World::new("pruneusage").await;
    add_every_kind(&world).await;
    let refused: [(&[&str], &str); 4] = [
        (&["prune"], "--yes"),
        (&["prune", "--older-than", "7", "--yes"], "7d"),
        (&["prune", "--older-than", "101years", "--yes"], "100 years"),
        (&["prune", "--batch", "0", "--yes"], "batch"),
    ];
    for (args, says) in refused {
        let (code, stdout, stderr) = world.relay(args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
    }
    world.set("RELAY_RETENTION_PUBLISHED", "off");
    let (code, _, stderr) = world.relay(&["prune", "--yes"]);
    assert!(code == 2 && stderr.contains("--older-than"), "{code}: {stderr}");
    assert_eq!(rows(&world).await, 10);
    assert_eq!(world.json(&["prune", "--older-than", "100years", "--yes", "-o", "json"])["rows"], 0);
    world.set("DATABASE_URL", "postgres://postgres@127.0.0.1:1/nothing");
    assert_eq!(world.relay(&["prune", "--older-than", "7d", "--yes"]).0, 69);
    world.end().await;
}

#[tokio::test]
async fn a_walk_passes_rows_that_stay_keeps_to_its_limit_and_ends_where_all_rows_are_young() {
    let world = World::new("prunewalk").await;
    add(&world, "dead", 250, "dead_at = now(), dead_reason = 'unroutable'").await;
    add(&world, "published", 250, &format!("published_at = {LONG_AGO}")).await;
    add(&world, "young", 250, "published_at = now(), created_at = now()").await;
    add(&world, "behind", 1, &format!("published_at = {LONG_AGO}")).await;
    let prune = |more: &[&'static str]| {
        world.json(&[&["prune", "--batch", "100", "--yes", "-o", "json"], more].concat())["rows"].clone()
    };
    assert_eq!(prune(&["--limit", "120"]), 120);
    let oldest: i64 = world.one("select min(seq) from relay.outbox where event_type = 'published'").await;
    assert_eq!(oldest, 250 + 120 + 1, "the oldest first");
    assert_eq!(prune(&[]), 130);
    assert_eq!(prune(&[]), 0, "a hundred rows in a row are young");
    world.db.execute("delete from relay.outbox where seq between 530 and 750", &[]).await.unwrap();
    assert_eq!(prune(&[]), 1);
    world.end().await;
}

#[tokio::test]
async fn an_interrupted_run_says_what_is_gone_and_the_next_one_does_the_rest() {
    let world = World::new("prunestop").await;
    add(&world, "published", 40, &format!("published_at = {LONG_AGO}")).await;
    let mut command = world.command(&["prune", "--rate", "2/s", "--yes"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    world.until("select count(*) < 40 from relay.outbox").await;
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("interrupted: removed"), "{stderr}");
    let left = rows(&world).await;
    assert!((1..40).contains(&left));
    let noted = "select affected || ' ' || note from relay.audit";
    assert_eq!(world.one::<String>(noted).await, format!("{} interrupted", 40 - left));
    assert_eq!(world.json(&["prune", "--yes", "-o", "json"])["rows"], left);
    world.end().await;
}

#[tokio::test]
async fn a_run_that_is_killed_leaves_an_audit_of_what_is_gone() {
    let world = World::new("prunekill").await;
    add(&world, "published", 40, &format!("published_at = {LONG_AGO}")).await;
    let mut child = world.command(&["prune", "--rate", "2/s", "--yes"]).spawn().unwrap();
    world.until("select count(*) < 37 from relay.outbox").await;
    child.kill().unwrap();
    child.wait().unwrap();
    // A statement under way ends by itself.
    world
        .until("select not exists (select from pg_stat_activity where application_name = 'relay operator')")
        .await;
    let gone = 40 - rows(&world).await;
    assert_eq!(world.one::<i64>("select affected from relay.audit where note = 'begun'").await, gone);
    world.end().await;
}

#[tokio::test]
async fn a_row_that_somebody_has_locked_stays_and_holds_nobody_up() {
    let world = World::new("prunelock").await;
    add(&world, "published", 3, &format!("published_at = {LONG_AGO}")).await;
    let other = client(&world.database_url).await;
    other.batch_execute("begin; select from relay.outbox where seq = 2 for update").await.unwrap();
    assert_eq!(world.json(&["prune", "--yes", "-o", "json"])["rows"], 2);
    other.batch_execute("rollback").await.unwrap();
    assert_eq!(world.json(&["prune", "--yes", "-o", "json"])["rows"], 1);
    world.end().await;
}

#[tokio::test]
async fn a_dead_row_that_is_replayed_meanwhile_stays() {
    let world = World::new("prunereplay").await;
    let dead = format!("dead_at = {LONG_AGO}, dead_reason = 'unroutable'");
    add(&world, "dead", 1, &dead).await;
    // As the command does, with the replay in between.
    let pruner = relay::outbox::pruner::Pruner::new("relay");
    let now = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
    let now: i64 = world.db.query_one(now, &[]).await.unwrap().get(0);
    let cutoffs = relay::outbox::pruner::Cutoffs { finished_us: now, dead_us: Some(now) };
    let look = pruner.look(&world.db, 0, 10, cutoffs).await.unwrap();
    assert_eq!(look.prunable.len(), 1);
    world.ok(&["replay-dlq", "--all", "--yes", "--no-dlq-cleanup"]);
    assert_eq!(pruner.prune(&world.db, &look.prunable, cutoffs).await.unwrap().total(), 0);
    // Dead again, and now its key waits behind it.
    world.db.execute(&format!("update relay.outbox set {dead}"), &[]).await.unwrap();
    world.park("1", 1).await;
    assert_eq!(pruner.prune(&world.db, &look.prunable, cutoffs).await.unwrap().total(), 0);
    assert_eq!(rows(&world).await, 1);
    world.end().await;
}

#[tokio::test]
async fn a_role_removes_old_rows_with_just_its_grants_and_reads_nothing_of_what_was_published() {
    let mut world = World::new("prunegrants").await;
    let role = format!("{}_role", world.name);
    world.db.batch_execute(&format!("create role \"{role}\" login password 'relay'")).await.unwrap();
    world.db.batch_execute("revoke execute on all functions in schema relay from public").await.unwrap();
    for _ in 0..2 {
        world.ok(&["migrate", "--grant-prune-to", &role]);
    }
    add_every_kind(&world).await;
    let url = url_of(&world.database_url, &world.name, Some(&format!("{role}:relay")));
    world.set("DATABASE_URL", &url);
    let args = ["prune", "--dead-older-than", "7d", "--yes", "-o", "json"];
    assert_eq!(world.json(&args)["rows"], 3);
    assert_eq!(world.one::<i64>("select affected from relay.audit").await, 3);
    let pruner = client(&url).await;
    for denied in [
        "select payload from relay.outbox",
        "update relay.outbox set published_at = now()",
        "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload) values ('a', 'b', 'c', '1')",
        "select actor from relay.audit",
        "delete from relay.audit",
        "update relay.held_keys set head_seq = 0",
    ] {
        let error = pruner.execute(denied, &[]).await.expect_err(denied);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{denied}");
    }
    let error =
        pruner.execute("update relay.outbox set lane = 1", &[]).await.expect_err("a lane is generated");
    assert_eq!(error.code().map(|code| code.code()), Some("428C9"));
    drop(pruner);
    world.db.batch_execute(&format!("drop owned by \"{role}\"; drop role \"{role}\"")).await.unwrap();
    world.end().await;
}
