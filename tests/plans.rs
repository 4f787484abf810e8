//! The statements that run all the time find their rows by index, whatever the statistics say; the gauges of the backlog look
//! where there is something to find.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and its support says why"
)]
#![allow(dead_code, unreachable_pub, missing_docs, reason = "a test's support is shared with others")]

mod support;

use relay::{
    outbox::backlog::Gauge,
    postgres::{
        connect::connect,
        sql::{STEADY_PLANS, sets},
    },
};

/// What operators are told to ask.
#[tokio::test]
async fn every_statement_of_a_runbook_runs() {
    let database = support::database::Database::new(support::servers::shared()).await;
    let client = database.session().await;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
    let mut tried = 0;
    for page in std::fs::read_dir(folder).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        for statement in text.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let ran = client.simple_query(statement).await;
            assert!(ran.is_ok(), "{}: {statement}\n{ran:?}", page.display());
            tried += 1;
        }
    }
    assert!(tried > 8, "only {tried} statements were found: the search is broken");
}

/// A statement, its parameters, and the index by which it must go.
const STATEMENTS: &[(&str, &str, &str)] = &[
    (
        include_str!("../sql/queries/outbox/scan_ready.sql"),
        "0::bigint, 9::bigint, -1, '{}', 512::bigint, 1000000, true",
        "outbox_ready",
    ),
    (
        include_str!("../sql/queries/outbox/scan_due.sql"),
        "-1, '{}', 512::bigint, 1000000, 9000000::bigint",
        "outbox_waiting",
    ),
    (
        include_str!("../sql/queries/outbox/scan_released.sql"),
        "-1, '{}', 512::bigint, 1000000, 64::bigint, '{1,2}', '{3,4}'",
        "outbox_held",
    ),
    (include_str!("../sql/queries/outbox/next_due.sql"), "-1, 9000000::bigint", "outbox_waiting"),
    (include_str!("../sql/queries/held_keys/close_released.sql"), "-1, '{3,4}'", "outbox_pkey"),
    (include_str!("../sql/queries/outbox/mark_published.sql"), "'{1}', '{0}'", "outbox_pkey"),
    (include_str!("../sql/queries/outbox/mark_head_published.sql"), "'{1}', '{0}'", "outbox_pkey"),
    (include_str!("../sql/queries/outbox/mark_unlocked.sql"), "'{1}', '{0}'", "outbox_pkey"),
    (
        include_str!("../sql/queries/outbox/pause.sql"),
        "'00000000-0000-0000-0000-000000000000', '{1}', '{1}', '{1}', '{0}', '{1}', '{false}'",
        "outbox_pkey",
    ),
    (include_str!("../sql/queries/held_keys/release_paused.sql"), "1000, 'c'", "held_keys_paused"),
    (
        include_str!("../sql/queries/outbox/reschedule.sql"),
        "null, '{1}', '{1}', '{1}', '{0}', '{1}', '{1}', '{x}', '{false}', true",
        "outbox_pkey",
    ),
    (
        include_str!("../sql/queries/outbox/mark_dead.sql"),
        "null, '{1}', '{1}', '{1}', '{0}', '{1}', '{x}', '{x}', true",
        "outbox_pkey",
    ),
    (include_str!("../sql/queries/outbox/hold.sql"), "null, '{1}', '{1}', '{1}'", "outbox_pkey"),
    (include_str!("../sql/queries/outbox/defer.sql"), "null, '{1}', '{1}', '{1}'", "outbox_pkey"),
    (
        include_str!("../sql/queries/outbox/prunable.sql"),
        "0::bigint, 512::bigint, 9::bigint, 9::bigint",
        "outbox_pkey",
    ),
    (include_str!("../sql/queries/outbox/prune.sql"), "'{1}', 9::bigint", "outbox_pkey"),
    // Not hot, but asked every two seconds while somebody watches.
    (include_str!("../sql/queries/outbox/count_published.sql"), "1, 2, 9", "outbox_pkey"),
    (include_str!("../sql/queries/outbox/count_dead.sql"), "1, 2", "outbox_dead"),
    (include_str!("../sql/queries/outbox/list_retrying.sql"), "9", "outbox_waiting"),
    (include_str!("../sql/queries/outbox/hot_keys.sql"), "0, 9", "outbox_ready"),
];

/// How the statement is run: planned for any parameters, without compiling the plan.
async fn plan(client: &tokio_postgres::Client, statement: &str, parameters: &str) -> String {
    client.batch_execute(&format!("deallocate all; prepare it as {statement}")).await.unwrap();
    let rows = client.query(&format!("explain execute it ({parameters})"), &[]).await.unwrap();
    rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
}

#[tokio::test]
async fn every_hot_statement_goes_by_its_index_and_is_not_compiled() {
    let database = support::database::Database::new(support::servers::shared()).await;
    let client = database.session().await;
    client.batch_execute(&format!("set jit = on; {}", sets("set", STEADY_PLANS))).await.unwrap();
    let jit: String = client.query_one("show jit", &[]).await.unwrap().get(0);
    assert_eq!(jit, "off", "compiling the look costs 235 ms a time");
    // As autovacuum may find it: then the planner believes it empty, however many rows come.
    client.batch_execute("vacuum (analyze) relay.outbox").await.unwrap();
    for filled in [false, true] {
        if filled {
            // Statistics of a table that is all published: a scan of it looks cheap, and is not.
            let fill =
                "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, published_at)
                        select 'order', n::text, 'created', '{}', now() from generate_series(1, 20000) n";
            client.batch_execute(fill).await.unwrap();
            client.batch_execute("analyze relay.outbox").await.unwrap();
        }
        for (statement, parameters, index) in STATEMENTS {
            let plan = plan(&client, statement, parameters).await;
            assert!(plan.contains(index), "not by {index}:\n{plan}");
            let whole = plan.lines().zip(plan.lines().skip(1)).find(|(line, next)| {
                line.contains(" using outbox_pkey on outbox") && !next.contains("Index Cond: (seq ")
            });
            assert_eq!(whole, None, "all of the primary key, in\n{plan}");
            assert!(!plan.contains("Seq Scan on outbox"), "{plan}");
        }
    }
}

/// Index entries that a statement goes through.
async fn entries(client: &mut tokio_postgres::Client, index: &str, statement: &str, parameters: &str) -> i64 {
    let transaction = client.transaction().await.unwrap();
    let count = format!("select pg_stat_get_xact_tuples_returned('relay.{index}'::regclass)");
    transaction.batch_execute(&format!("deallocate all; prepare it as {statement}")).await.unwrap();
    let before: i64 = transaction.query_one(&count, &[]).await.unwrap().get(0);
    transaction.execute(&format!("execute it ({parameters})"), &[]).await.unwrap();
    let after: i64 = transaction.query_one(&count, &[]).await.unwrap().get(0);
    transaction.commit().await.unwrap();
    after - before
}

#[tokio::test]
async fn looks_that_begin_where_the_last_one_ended_go_through_nothing_that_went_out_before() {
    let database = support::database::Database::new(support::servers::shared()).await;
    let (idle, mut client) = (database.session().await, database.session().await);
    let sets = sets("set", STEADY_PLANS);
    client
        .batch_execute(&format!("{sets} set enable_seqscan = off; set enable_bitmapscan = off"))
        .await
        .unwrap();
    let fill =
        "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, state, available_at)
                select 'order', '1', 'created', '{}'::jsonb, 'held', now() from generate_series(1, 4000) n
                union all
                select 'order', n::text, 'created', '{}', 'waiting', now() - (4000 - n) * interval '10 ms'
                from generate_series(1, 4000) n;
                insert into relay.held_keys (aggregate_type, aggregate_id, lane, head_seq, reason)
                select 'order', '1', relay.lane_of('order', '1'), 1, 'releasing';
                vacuum (analyze) relay.outbox";
    for statement in fill.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    idle.batch_execute("begin isolation level repeatable read; select from relay.outbox").await.unwrap();
    let went_out = "update relay.outbox set published_at = now()
                    where state = 'held' and seq <= 3900 or state = 'waiting' and available_at < now() - interval '9 s'";
    client.batch_execute(went_out).await.unwrap();
    let released = include_str!("../sql/queries/outbox/scan_released.sql");
    let close = include_str!("../sql/queries/held_keys/close_released.sql");
    let due = include_str!("../sql/queries/outbox/scan_due.sql");
    let next_due = include_str!("../sql/queries/outbox/next_due.sql");
    for (index, statement, whole, parameters, most) in [
        (
            "outbox_held",
            released,
            "-1, '{}', 512::bigint, 1000000, 64::bigint, '{}', '{}'",
            "-1, '{}', 512::bigint, 1000000, 64::bigint, '{}', '{3901}'",
            70,
        ),
        ("outbox_held", close, "-1, '{}'", "-1, '{3901}'", 0),
        (
            "outbox_waiting",
            due,
            "-1, '{}', 9::bigint, 1000000, null",
            "-1, '{}', 9::bigint, 1000000, 5000000",
            20,
        ),
        ("outbox_waiting", next_due, "-1, null", "-1, 5000000", 2),
    ] {
        let all = entries(&mut client, index, statement, whole).await;
        assert!(all > 2000, "a whole look goes through everything: {all}, in {statement}");
        let few = entries(&mut client, index, statement, parameters).await;
        assert!(few <= most, "{few} entries, in {statement}");
    }
}

#[tokio::test]
async fn a_look_for_released_rows_goes_through_a_thousand_keys_however_many_there_are() {
    let database = support::database::Database::new(support::servers::shared()).await;
    let mut client = database.session().await;
    client.batch_execute(&sets("set", STEADY_PLANS)).await.unwrap();
    let fill = "insert into relay.held_keys (aggregate_type, aggregate_id, lane, head_seq, reason)
                select 'order', n::text, relay.lane_of('order', n::text), n, 'releasing' from generate_series(1, 5000) n";
    client.batch_execute(fill).await.unwrap();
    let released = include_str!("../sql/queries/outbox/scan_released.sql");
    let close = include_str!("../sql/queries/held_keys/close_released.sql");
    for analyzed in [false, true] {
        if analyzed {
            client.batch_execute("vacuum (analyze) relay.held_keys").await.unwrap();
        }
        for (statement, parameters, most) in [
            (released, "-1, '{}', 512::bigint, 1000000, 64::bigint, '{1}', '{3,4}'", 1001),
            // And as many again by the function.
            (close, "-1, '{3,4}'", 2002),
        ] {
            let keys = entries(&mut client, "held_keys_releasing", statement, parameters).await;
            assert!((1..=most).contains(&keys), "{keys} keys, analyzed: {analyzed}, in {statement}");
        }
    }
}

const INSERT: &str = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload)
                      select 'order', '1', 'created', '{}' from generate_series(1, $1)";
const PUBLISH: &str = "update relay.outbox set published_at = now() where published_at is null";

#[tokio::test]
async fn a_gauge_counts_a_row_that_commits_after_later_ones_went_out() {
    let database = support::database::Database::new(support::servers::shared()).await;
    let (late, other) = (database.session().await, database.session().await);
    let watching = connect(&support::database::settings(&database.url), "gauge").await.unwrap();
    let mut gauge = Gauge::default();
    late.batch_execute("begin").await.unwrap();
    late.execute(INSERT, &[&1]).await.unwrap();
    other.execute(INSERT, &[&2]).await.unwrap();
    assert_eq!(gauge.measure(&watching.client, "relay").await.unwrap().pending[0], 2);
    other.execute(PUBLISH, &[]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(gauge.measure(&watching.client, "relay").await.unwrap().pending[0], 0);
    }
    late.batch_execute("commit").await.unwrap();
    // A measurement that fails in the middle has seen nothing.
    watching.client.batch_execute("set lock_timeout = '50ms'").await.unwrap();
    other.batch_execute("begin; lock table relay.held_keys in access exclusive mode").await.unwrap();
    gauge.measure(&watching.client, "relay").await.unwrap_err();
    other.batch_execute("commit").await.unwrap();
    let seen = gauge.measure(&watching.client, "relay").await.unwrap();
    assert_eq!((seen.pending[0], seen.first_ready), (1, Some(1)), "it lies below those that went out");
    assert_eq!(gauge.measure(&watching.client, "relay").await.unwrap().pending[0], 1, "and stays");
}

#[tokio::test]
async fn what_is_held_ages_from_when_its_key_is_let_go() {
    let database = support::database::Database::new(support::servers::shared()).await;
    let client = database.session().await;
    let watching = connect(&support::database::settings(&database.url), "gauge").await.unwrap();
    let mut gauge = Gauge::default();
    let hold =
        "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, state, created_at)
                select 'order', '1', 'created', '{}', 'held', now() - n * interval '1 minute'
                from generate_series(9, 5, -1) n;
                update relay.outbox set available_at = created_at;
                insert into relay.held_keys (aggregate_type, aggregate_id, lane, head_seq, reason)
                values ('order', '1', relay.lane_of('order', '1'), 1, 'parked')";
    client.batch_execute(hold).await.unwrap();
    let parked = gauge.measure(&watching.client, "relay").await.unwrap();
    assert_eq!((parked.oldest_age, parked.oldest_ready_age), (0.0, 0.0), "it waits for an operator");
    client.batch_execute("update relay.held_keys set reason = 'releasing'").await.unwrap();
    let let_go = gauge.measure(&watching.client, "relay").await.unwrap();
    for age in [let_go.oldest_age, let_go.oldest_ready_age] {
        assert!((540.0..600.0).contains(&age), "it waits for relay: {let_go:?}");
    }
}

#[tokio::test]
async fn a_row_that_is_retried_ages_from_when_it_was_written_and_a_replayed_one_from_when_it_is_due() {
    let database = support::database::Database::new(support::servers::shared()).await;
    let client = database.session().await;
    let watching = connect(&support::database::settings(&database.url), "gauge").await.unwrap();
    let mut gauge = Gauge::default();
    let fail = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, state, created_at,
                                          available_at, first_failed_at, replays)
                values ('order', '1', 'created', '{}', 'waiting', now() - interval '1 day', now() + interval '1 minute',
                        now() - interval '1 day', 1)";
    client.batch_execute(fail).await.unwrap();
    assert_eq!(gauge.measure(&watching.client, "relay").await.unwrap().oldest_age, 0.0);
    client.batch_execute("update relay.outbox set available_at = now() - interval '1 minute'").await.unwrap();
    let overdue = gauge.measure(&watching.client, "relay").await.unwrap().oldest_age;
    assert!((60.0..120.0).contains(&overdue), "{overdue}");
    client.batch_execute("update relay.outbox set replays = 0").await.unwrap();
    let retried = gauge.measure(&watching.client, "relay").await.unwrap().oldest_age;
    assert!((86_400.0..86_500.0).contains(&retried), "{retried}");
}

#[tokio::test]
async fn a_gauge_goes_through_nothing_published_under_an_open_transaction_whatever_fails_in_between() {
    let database = support::database::Database::new(support::servers::shared()).await;
    let (idle, other) = (database.session().await, database.session().await);
    let mut gauge = Gauge::default();
    idle.batch_execute("begin isolation level repeatable read; select from relay.outbox").await.unwrap();
    other.execute(INSERT, &[&3000]).await.unwrap();
    other.execute(PUBLISH, &[]).await.unwrap();
    let mut entries = Vec::new();
    for round in 0..4 {
        // What breaks a connection changes nothing about the rows.
        let watching = connect(&support::database::settings(&database.url), "gauge").await.unwrap();
        watching.client.batch_execute("set enable_seqscan = off; set enable_bitmapscan = off").await.unwrap();
        if round == 3 {
            watching.client.batch_execute("set lock_timeout = '50ms'").await.unwrap();
            other.batch_execute("begin; lock table relay.held_keys in access exclusive mode").await.unwrap();
            gauge.sweep(&watching.client, "relay").await.unwrap_err();
            other.batch_execute("commit").await.unwrap();
        }
        watching.client.batch_execute("begin").await.unwrap();
        let count = "select pg_stat_get_xact_tuples_returned('relay.outbox_ready'::regclass)";
        let before: i64 = watching.client.query_one(count, &[]).await.unwrap().get(0);
        gauge.measure(&watching.client, "relay").await.unwrap();
        let after: i64 = watching.client.query_one(count, &[]).await.unwrap().get(0);
        watching.client.batch_execute("commit").await.unwrap();
        entries.push(after - before);
    }
    assert!(entries[0] >= 3000, "the first one has to: {entries:?}");
    assert_eq!(entries[2..], [0, 0], "{entries:?}");
}
