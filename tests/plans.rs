//! The statements that run all the time find their rows by index, whatever the statistics say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and its support says why"
)]
#![allow(dead_code, unreachable_pub, missing_docs, reason = "a test's support is shared with others")]

mod support;

use relay::postgres::sql::{STEADY_PLANS, sets};

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
    (include_str!("../sql/queries/outbox/scan_due.sql"), "-1, '{}', 512::bigint, 1000000", "outbox_waiting"),
    (
        include_str!("../sql/queries/outbox/scan_released.sql"),
        "-1, '{}', 512::bigint, 1000000, 64::bigint, '{1,2}'",
        "outbox_held",
    ),
    (include_str!("../sql/queries/outbox/next_due.sql"), "-1", "outbox_waiting"),
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
        include_str!("../sql/queries/outbox/prunable.sql"),
        "0::bigint, 512::bigint, 9::bigint, 9::bigint",
        "outbox_pkey",
    ),
    (include_str!("../sql/queries/outbox/prune.sql"), "'{1}', 9::bigint", "outbox_pkey"),
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
            assert!(!plan.contains("Seq Scan on outbox"), "{plan}");
        }
    }
}
