//! What goes right: properties, order, schedules, late commits, rollbacks.

use std::time::{Duration, Instant};

use lapin::types::{AMQPValue, LongString};

use crate::{
    rig::Rig,
    support::{database::insert, wait},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_published_once_with_all_properties_and_headers() {
    let rig = Rig::new().await;
    let sql = r#"insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, headers)
        values ('order', 'o-17', 'placed', '{"b": 1.50, "a": [null, 12345678901234567890, "ü\u2028"], "b2": {}}',
                '{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b",
                  "int": -9223372036854775808, "float": 0.25, "yes": true, "none": null, "empty": ""}')
        returning seq, event_id::text, payload::text, floor(extract(epoch from created_at))::bigint,
                  to_char(created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#;
    let row = &rig.database.query(sql, &[]).await[0];
    let (seq, id, payload): (i64, String, String) = (row.get(0), row.get(1), row.get(2));
    let (created, created_at): (i64, String) = (row.get(3), row.get(4));
    let mut relay = rig.relay().start().await;

    let message = rig.broker.wait_tapped(1).await.remove(0);
    assert_eq!(message.id, id);
    assert_eq!(message.kind, "placed");
    assert_eq!(message.correlation_id, "o-17");
    assert_eq!(message.timestamp, u64::try_from(created).unwrap());
    assert_eq!(message.app_id, "relay");
    assert_eq!(message.content_type, "application/json");
    assert_eq!(message.delivery_mode, 2, "persistent");
    assert_eq!(message.exchange, rig.broker.exchange);
    assert_eq!(message.routing_key, "order.placed");
    assert_eq!(String::from_utf8(message.body.clone()).unwrap(), payload, "the text of the jsonb");
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    let expected = [
        ("empty", text("")),
        ("float", AMQPValue::Double(0.25)),
        ("int", AMQPValue::LongLongInt(i64::MIN)),
        ("none", AMQPValue::Void),
        ("traceparent", text("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        ("tracestate", text("a=b")),
        ("x-relay-aggregate-id", text("o-17")),
        ("x-relay-aggregate-type", text("order")),
        ("x-relay-attempt", AMQPValue::LongLongInt(1)),
        ("x-relay-created-at", text(&created_at)),
        ("x-relay-seq", AMQPValue::LongLongInt(seq)),
        ("yes", AMQPValue::Boolean(true)),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value)).into();
    assert_eq!(message.headers, expected);

    rig.database.wait_published(seq).await;
    let state = rig.database.state(seq).await;
    assert_eq!((state.attempts, state.dead_reason, state.last_error), (0, None, None));
    relay.wait_metric("relay_published_total", &[], wait::LONG, |published| published == 1.0).await;
    relay.drain().await;
    assert!(rig.broker.tapped().await.is_empty(), "it came twice");
    assert!(relay.complaints().is_empty(), "{:?}", relay.complaints());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_may_choose_its_routing_key_exchange_and_id() {
    let rig = Rig::new().await;
    let other = rig.broker.name("other");
    rig.broker.declare_exchange(&other, lapin::ExchangeKind::Topic).await;
    rig.broker.bind(&rig.broker.tap, &other, "my.key").await;
    let _relay = rig.relay().env("RELAY_OUTBOX_ALLOWED_EXCHANGES", &other).start().await;
    let sql = "select relay.enqueue('order', 'o-1', 'placed', '[]', exchange => $1, routing_key => 'my.key',
                                    event_id => '01890a5d-ac96-774b-bcce-b302099a8057')";
    rig.database.query(sql, &[&other]).await;
    let message = rig.broker.wait_tapped(1).await.remove(0);
    assert_eq!((message.exchange, message.routing_key.as_str()), (other, "my.key"));
    assert_eq!(message.id, "01890a5d-ac96-774b-bcce-b302099a8057");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_rolled_back_is_never_published() {
    let rig = Rig::new().await;
    let _relay = rig.relay().ready().await;
    let mut session = rig.database.session().await;
    let mut transaction = session.transaction().await.unwrap();
    insert(&transaction, "a", "placed").await;
    let savepoint = transaction.savepoint("s").await.unwrap();
    insert(&savepoint, "a", "phantom").await;
    savepoint.rollback().await.unwrap();
    transaction.commit().await.unwrap();
    let transaction = session.transaction().await.unwrap();
    insert(&transaction, "a", "phantom").await;
    insert(&transaction, "b", "phantom").await;
    transaction.rollback().await.unwrap();
    // What comes after has passed every scan that could have found the phantoms.
    for key in ["a", "b", "c"] {
        let seq = insert(&session, key, "placed").await;
        rig.database.wait_published(seq).await;
    }
    let seen = rig.broker.tapped().await;
    assert_eq!(rig.assert_complete(&seen).await, 0);
    assert_eq!(seen.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_of_many_keys_arrive_once_and_in_order_while_they_are_written() {
    let rig = Rig::new().await;
    let relay = rig.relay().ready().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let session = rig.database.session().await;
        writers.spawn(async move {
            for row in 0..250 {
                insert(&session, &format!("k{writer}.{}", row % 5), "placed").await;
            }
        });
    }
    writers.join_all().await;
    rig.database.wait_finished(wait::LONG).await;
    let seen = rig.broker.tapped().await;
    assert_eq!(seen.len(), 2000);
    assert_eq!(rig.assert_complete(&seen).await, 0, "duplicates without a fault");
    rig.assert_nobody_charged().await;
    relay.wait_metric("relay_published_total", &[], wait::LONG, |published| published == 2000.0).await;
    assert_eq!(relay.metric("relay_publish_outcomes_total", &["outcome=\"confirmed\""]), 2000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_published_in_order_by_a_relay_that_comes_later() {
    let rig = Rig::new().await;
    rig.database.insert_many(5000, 37).await;
    let _relay = rig.relay().start().await;
    rig.database.wait_finished(wait::LONG).await;
    let seen = rig.broker.tapped().await;
    assert_eq!(rig.assert_complete(&seen).await, 0, "duplicates without a fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_commit_below_published_rows_goes_out_at_once_while_relay_is_busy() {
    let rig = Rig::new().await;
    let _relay = rig.relay().ready().await;
    let mut late = rig.database.session().await;
    let busy = rig.database.session().await;
    for round in 0..5 {
        let transaction = late.transaction().await.unwrap();
        let low = insert(&transaction, "late", "placed").await;
        let mut last = 0;
        for row in 0..50 {
            last = insert(&busy, &format!("busy{row}"), "placed").await;
        }
        rig.database.wait_published(last).await;
        assert!(low < last);
        transaction.commit().await.unwrap();
        let committed = Instant::now();
        wait::until("the late row is published", wait::LONG, async || {
            insert(&busy, "busy", "placed").await;
            rig.database.state(low).await.published
        })
        .await;
        assert!(committed.elapsed() < Duration::from_secs(1), "round {round}: {:?}", committed.elapsed());
    }
    rig.database.wait_finished(wait::LONG).await;
    assert_eq!(rig.assert_complete(&rig.broker.tapped().await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_commit_stays_ahead_of_the_next_row_of_its_key() {
    let rig = Rig::new().await;
    let _relay = rig.relay().ready().await;
    let mut first = rig.database.session().await;
    let second = rig.database.session().await;
    // While rows keep coming relay looks for new ones far more often than for late ones.
    let busy = rig.database.session().await;
    let busy = tokio::spawn(async move {
        for row in 0.. {
            insert(&busy, &format!("busy{}", row % 50), "placed").await;
        }
    });
    for round in 0..10 {
        let key = format!("k{round}");
        let transaction = first.transaction().await.unwrap();
        insert(&transaction, &key, "first").await;
        // Another key's row carries relay's scan past the one that is not committed yet.
        rig.database.wait_published(insert(&second, "other", "placed").await).await;
        transaction.commit().await.unwrap();
        // Serialised on the key, as a lock on the domain row would do: it begins after the first one's commit.
        let last = insert(&second, &key, "second").await;
        rig.database.wait_published(last).await;
    }
    busy.abort();
    let _ = busy.await;
    rig.database.wait_finished(wait::LONG).await;
    assert_eq!(rig.assert_complete(&rig.broker.tapped().await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_committed_while_a_scan_begins_is_not_taken_for_a_scheduled_one() {
    let rig = Rig::new().await;
    // Polling alone, so that a scan for new rows is never far.
    let _relay = rig.relay().env("RELAY_DATABASE_LISTEN", "off").ready().await;
    let session = rig.database.session().await;
    let waiting = "select from pg_stat_activity
                   where datname = current_database() and application_name = 'relay scan'
                     and wait_event_type = 'Lock' and query like '-- Ready rows in a range%'";
    for round in 0..5 {
        // A scan's now() is when its statement began; what it sees is what was committed when it got its snapshot. The
        // lock makes that moment long. Another kind of scan may run into it first: then again.
        wait::found("a scan for new rows in between", wait::LONG, async || {
            session
                .batch_execute("rollback; begin; lock table relay.outbox in access exclusive mode")
                .await
                .unwrap();
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(1) {
                if !rig.database.query(waiting, &[]).await.is_empty() {
                    return Some(());
                }
                tokio::time::sleep(wait::TICK).await;
            }
            None
        })
        .await;
        let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, available_at)
                   values ('order', $1, 'first', '{}', clock_timestamp()), ('order', $1, 'second', '{}', now())";
        session.execute(sql, &[&format!("k{round}")]).await.unwrap();
        session.batch_execute("commit").await.unwrap();
        rig.database.wait_finished(wait::LONG).await;
    }
    assert_eq!(rig.assert_complete(&rig.broker.tapped().await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_row_waits_for_its_time_and_holds_nobody_up() {
    let rig = Rig::new().await;
    let mut relay = rig.relay().ready().await;
    // By plain insert, where relay finds out, and by the function, which knows.
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, available_at)
               values ('order', 'a', 'later', '{}', now() + interval '1.5 seconds') returning seq";
    let inserted: i64 = rig.database.query(sql, &[]).await[0].get(0);
    let sql =
        "select relay.enqueue('order', 'a', 'later', '{}', available_at => now() + interval '1.5 seconds')";
    rig.database.query(sql, &[]).await;
    let enqueued = inserted + 1;
    let behind = rig.database.insert("a", "placed").await;
    rig.database.wait_published(behind).await;
    rig.database.wait_published(rig.database.insert("b", "placed").await).await;
    for scheduled in [inserted, enqueued] {
        let state = rig.database.state(scheduled).await;
        assert_eq!((state.published, state.state.as_str()), (false, "waiting"));
    }
    rig.database.wait_finished(wait::LONG).await;
    let early = "select count(*) from relay.outbox where published_at < available_at";
    assert_eq!(rig.database.number(early).await, 0, "published before its time");
    let overdue = "select count(*) from relay.outbox where published_at > available_at + interval '1 second'";
    assert_eq!(rig.database.number(overdue).await, 0, "published long after its time");
    rig.assert_nobody_charged().await;
    relay.drain().await;
    let kinds: Vec<_> = rig.broker.tapped().await.into_iter().map(|message| message.kind).collect();
    assert_eq!(kinds, ["placed", "placed", "later", "later"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_shows_in_the_metrics_and_is_gone_when_it_is() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let lost = rig.database.insert("a", "lost").await;
    rig.database.insert("a", "placed").await;
    let relay = rig.relay().env("RELAY_RETRY_FLOOR", "20s").ready().await;
    let minute = Duration::from_secs(60);
    relay.wait_metric("relay_held_keys", &[], minute, |keys| keys == 1.0).await;
    relay.wait_metric("relay_pending_rows", &["state=\"waiting\""], minute, |rows| rows == 1.0).await;
    relay.wait_metric("relay_pending_rows", &["state=\"held\""], minute, |rows| rows == 1.0).await;
    relay.wait_metric("relay_oldest_unpublished_age_seconds", &[], minute, |age| age > 1.0).await;
    assert_eq!(relay.metric("relay_retries_total", &["reason=\"unroutable\""]), 1.0);
    assert_eq!(relay.metric("relay_lanes_owned", &[]), 32.0);
    assert_eq!(relay.get("/livez").0, 200);

    // Whoever binds the queue that was missing need not wait for the next attempt.
    rig.broker.bind(&rig.broker.tap, &rig.broker.exchange, "order.lost").await;
    rig.database.execute("update relay.outbox set available_at = now() where seq = $1", &[&lost]).await;
    rig.database.wait_finished(wait::LONG).await;
    relay.wait_metric("relay_held_keys", &[], minute, |keys| keys == 0.0).await;
    relay.wait_metric("relay_pending_rows", &["state=\"held\""], minute, |rows| rows == 0.0).await;
    relay.wait_metric("relay_oldest_unpublished_age_seconds", &[], minute, |age| age == 0.0).await;
    assert_eq!(relay.metric("relay_in_flight_rows", &[]), 0.0);
}
