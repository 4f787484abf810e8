//! Rows that can't be published however often they are tried: every kind the table can store.

use crate::{rig::Rig, support::wait};

/// A row by the columns in which it differs from a good one, each an SQL expression.
struct Case {
    what: &'static str,
    columns: &'static [(&'static str, &'static str)],
    reason: &'static str,
}

const fn case(
    what: &'static str,
    columns: &'static [(&'static str, &'static str)],
    reason: &'static str,
) -> Case {
    Case { what, columns, reason }
}

const POISON: &[Case] = &[
    case("event_type of 256 bytes", &[("event_type", "repeat('x', 256)")], "invalid_name"),
    case("event_type of 128 letters, 256 bytes", &[("event_type", "repeat('ü', 128)")], "invalid_name"),
    case("event_type of a megabyte", &[("event_type", "repeat('x', 1000000)")], "invalid_name"),
    case("empty event_type", &[("event_type", "''")], "invalid_name"),
    case("empty aggregate_type", &[("aggregate_type", "''")], "invalid_name"),
    case("aggregate_type of 256 bytes", &[("aggregate_type", "repeat('x', 256)")], "invalid_name"),
    case("aggregate_id of 256 bytes", &[("aggregate_id", "repeat('x', 256)")], "invalid_name"),
    case(
        "aggregate_id that no index could hold",
        &[("aggregate_id", "(select string_agg(md5(n::text), '') from generate_series(1, 1000) n)")],
        "invalid_name",
    ),
    case("routing_key of 256 bytes", &[("routing_key", "repeat('x', 256)")], "invalid_name"),
    case("generated routing key of 256 bytes", &[("event_type", "repeat('x', 250)")], "invalid_name"),
    case("empty exchange", &[("exchange", "''")], "invalid_name"),
    case("exchange of 256 bytes", &[("exchange", "repeat('x', 256)")], "invalid_name"),
    case("the broker's own exchange", &[("exchange", "'amq.topic'")], "forbidden_exchange"),
    case("unknown exchange", &[("exchange", "'nobody.allowed.this'")], "forbidden_exchange"),
    case(
        "a few kilobytes of numbers that stand for a gigabyte of digits",
        &[("payload", "(select jsonb_agg(1e131071::numeric) from generate_series(1, 9000))")],
        "payload_too_large",
    ),
    case(
        "a few numbers that stand for 39 megabytes of digits",
        &[("payload", "(select jsonb_agg(1e131071::numeric) from generate_series(1, 300))")],
        "payload_too_large",
    ),
    case("headers that are an array", &[("headers", "'[1, 2]'")], "invalid_headers"),
    case("headers that are a string", &[("headers", "'\"x\"'")], "invalid_headers"),
    case("headers that are null", &[("headers", "'null'")], "invalid_headers"),
    case("array in a header", &[("headers", "'{\"a\": [1]}'")], "invalid_headers"),
    case("object in a header", &[("headers", "'{\"a\": {\"b\": 1}}'")], "invalid_headers"),
    case(
        "headers 3,000 levels deep",
        &[("headers", "(repeat('{\"a\":', 3000) || '1' || repeat('}', 3000))::jsonb")],
        "invalid_headers",
    ),
    case("number beyond a double", &[("headers", "'{\"a\": 1e400}'")], "invalid_headers"),
    case("integer beyond 64 bits", &[("headers", "'{\"a\": 9223372036854775808}'")], "invalid_headers"),
    case(
        "integer of 1,000 digits",
        &[("headers", "jsonb_build_object('a', repeat('9', 1000)::numeric)")],
        "invalid_headers",
    ),
    case("x-relay-seq", &[("headers", "'{\"x-relay-seq\": 1}'")], "invalid_headers"),
    case("X-Relay-Anything", &[("headers", "'{\"X-Relay-Anything\": 1}'")], "invalid_headers"),
    case("x-death", &[("headers", "'{\"x-death\": 1}'")], "invalid_headers"),
    case("X-DEATH", &[("headers", "'{\"X-DEATH\": 1}'")], "invalid_headers"),
    case("x-first-death-queue", &[("headers", "'{\"x-first-death-queue\": \"q\"}'")], "invalid_headers"),
    case("X-Last-Death-Reason", &[("headers", "'{\"X-Last-Death-Reason\": \"r\"}'")], "invalid_headers"),
    case("x-delivery-count", &[("headers", "'{\"x-delivery-count\": 1}'")], "invalid_headers"),
    case("CC", &[("headers", "'{\"CC\": \"other\"}'")], "invalid_headers"),
    case("bcc", &[("headers", "'{\"bcc\": \"other\"}'")], "invalid_headers"),
    case(
        "12,000 headers of nothing, which take more than a frame",
        &[("headers", "(select jsonb_object_agg('h' || n, '') from generate_series(1, 12000) n)")],
        "invalid_headers",
    ),
    case("empty header name", &[("headers", "'{\"\": 1}'")], "invalid_headers"),
    case(
        "header name of 300 bytes",
        &[("headers", "jsonb_build_object(repeat('x', 300), 1)")],
        "invalid_headers",
    ),
    case(
        "header of 200 kB",
        &[("headers", "jsonb_build_object('a', repeat('x', 200000))")],
        "invalid_headers",
    ),
    case(
        "20,000 small headers",
        &[("headers", "(select jsonb_object_agg('h' || n, n) from generate_series(1, 20000) n)")],
        "invalid_headers",
    ),
    case(
        "headers of 2 MB",
        &[("headers", "jsonb_build_object('a', repeat('x', 2000000))")],
        "invalid_headers",
    ),
    case(
        "payload too large, compressible",
        &[("payload", "to_jsonb(repeat('s3cret-payload', 10000))")],
        "payload_too_large",
    ),
    case(
        "payload too large, incompressible",
        &[(
            "payload",
            "(select jsonb_agg(md5(n::text) || 's3cret-payload') from generate_series(1, 3000) n)",
        )],
        "payload_too_large",
    ),
    case("payload too large by a byte", &[("payload", "to_jsonb(repeat('x', 65535))")], "payload_too_large"),
];

/// Odd, and all right.
const FINE: &[(&str, &[(&str, &str)])] = &[
    ("payload null", &[("payload", "'null'")]),
    ("payload of exactly the limit", &[("payload", "to_jsonb(repeat('x', 65534))")]),
    ("payload with a number beyond a double", &[("payload", "'{\"a\": 1e400}'")]),
    ("payload 5,000 levels deep", &[("payload", "(repeat('[', 5000) || repeat(']', 5000))::jsonb")]),
    ("names of 255 bytes", &[("event_type", "repeat('x', 255)"), ("routing_key", "repeat('y', 255)")]),
    ("aggregate_id of 255 bytes", &[("aggregate_id", "repeat('x', 255)")]),
    ("empty aggregate_id", &[("aggregate_id", "''")]),
    ("empty routing_key", &[("routing_key", "''")]),
    ("header name of 255 bytes", &[("headers", "jsonb_build_object(repeat('x', 255), 1)")]),
    ("header of 60 kB", &[("headers", "jsonb_build_object('a', repeat('x', 60000))")]),
    ("largest integer in a header", &[("headers", "'{\"a\": 9223372036854775807}'")]),
    ("header that is nearly reserved", &[("headers", "'{\"x-relayed\": 1, \"ccc\": 2, \"x-deaths\": 3}'")]),
    ("created before 1970", &[("created_at", "'0044-03-15 BC'")]),
    ("created at the end of time", &[("created_at", "'294276-12-31'")]),
    ("created at infinity", &[("created_at", "'infinity'")]),
    ("created at minus infinity", &[("created_at", "'-infinity'")]),
    ("available since minus infinity", &[("available_at", "'-infinity'")]),
];

/// Adds a row that differs from a good one in these columns; returns its seq.
async fn insert(rig: &Rig, number: usize, differing: &[(&str, &str)]) -> i64 {
    let key = format!("'p{number}'");
    let mut columns = vec![
        ("aggregate_type", "'order'"),
        ("aggregate_id", key.as_str()),
        ("event_type", "'placed'"),
        ("payload", "'{\"secret\": \"s3cret-payload\"}'"),
    ];
    for (name, value) in differing {
        columns.retain(|(column, _)| column != name);
        columns.push((name, value));
    }
    let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let sql = format!(
        "insert into relay.outbox ({}) values ({}) returning seq",
        names.join(", "),
        values.join(", ")
    );
    rig.database.query(&sql, &[]).await[0].get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_of_every_kind_dies_with_its_reason_and_touches_nobody() {
    let rig = Rig::new().await;
    rig.broker.bind(&rig.broker.tap, &rig.broker.exchange, "").await;
    // All of it before relay starts, so that poison and its neighbours are scanned and published together.
    let (mut poison, mut good) = (Vec::new(), Vec::new());
    for (number, case) in POISON.iter().enumerate() {
        poison.push((case, insert(&rig, number, case.columns).await));
        // Of the same key, where that is a key at all, and of another.
        good.push((case.what, rig.database.insert(&format!("p{number}"), "placed").await));
        good.push((case.what, rig.database.insert(&format!("n{number}"), "placed").await));
    }
    for (number, (what, columns)) in FINE.iter().enumerate() {
        good.push((what, insert(&rig, 1000 + number, columns).await));
    }
    let relay = rig.relay().env("RELAY_LIMITS_PAYLOAD_BYTES", "65536").start().await;
    wait::until("every row is published or dead", wait::LONG, async || rig.database.unfinished().await == 0)
        .await;

    for (case, seq) in &poison {
        let state = rig.database.state(*seq).await;
        assert_eq!(state.dead_reason.as_deref(), Some(case.reason), "{}: {state:?}", case.what);
        assert!(state.last_error.is_some_and(|error| !error.contains("s3cret")), "{}", case.what);
    }
    for (what, seq) in &good {
        let state = rig.database.state(*seq).await;
        assert!(state.published && state.attempts == 0, "{what}: {state:?}");
    }
    let seen = rig.broker.tapped().await;
    assert_eq!(seen.len(), good.len(), "each good row once");

    let letters = rig.broker.wait_dead_letters(poison.len()).await;
    assert_eq!(letters.len(), poison.len(), "each poison row once");
    for (case, seq) in &poison {
        let letter = letters.iter().find(|letter| letter.seq() == *seq).expect("a letter of each");
        assert_eq!(letter.text("x-relay-reason"), case.reason, "{}", case.what);
        assert_eq!(letter.id, rig.database.event_id(*seq).await, "{}", case.what);
        assert!(!letter.text("x-relay-error").contains("s3cret"), "{}", case.what);
    }
    let null = good.iter().find(|(what, _)| *what == "payload null").expect("it is there").1;
    assert!(seen.iter().any(|message| message.seq() == null && message.body == b"null"));
    assert!(!relay.log().contains("s3cret"), "a payload in the log");
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_scheduled_for_infinity_waits_and_holds_nobody_up() {
    let rig = Rig::new().await;
    let never = insert(&rig, 0, &[("available_at", "'infinity'")]).await;
    let relay = rig.relay().ready().await;
    wait::until("it waits", wait::LONG, async || rig.database.state(never).await.state == "waiting").await;
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, available_at)
               values ('order', 'a', 'placed', '{}', now() + interval '300 milliseconds') returning seq";
    for key in ["a", "b", "c"] {
        rig.database.wait_published(rig.database.insert(key, "placed").await).await;
        let later: i64 = rig.database.query(sql, &[]).await[0].get(0);
        rig.database.wait_published(later).await;
    }
    assert_eq!(rig.database.unfinished().await, 1);
    assert!(relay.complaints().is_empty(), "{:?}", relay.complaints());
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_created_at_infinity_does_not_blind_the_gauges() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    for (number, created_at) in
        ["'infinity'", "'-infinity'", "now() - interval '1 hour'"].into_iter().enumerate()
    {
        insert(&rig, number, &[("event_type", "'lost'"), ("created_at", created_at)]).await;
    }
    let relay = rig.relay().env("RELAY_RETRY_FLOOR", "10m").env("RELAY_RETRY_CAP", "20m").ready().await;
    relay.wait_metric("relay_pending_rows", &["state=\"waiting\""], wait::LONG, |rows| rows == 3.0).await;
    relay
        .wait_metric("relay_oldest_unpublished_age_seconds", &[], wait::LONG, |age| {
            (3600.0..4000.0).contains(&age)
        })
        .await;
}
