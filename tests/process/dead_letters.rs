//! Rows that fail: retried, held behind, dead, parked.

use std::time::Duration;

use lapin::{
    options::ExchangeDeleteOptions,
    types::{AMQPValue, LongString},
};

use crate::{
    rig::{Rig, assert_in_order, through_proxy},
    support::{broker::short, relay::Relay, servers, wait},
};

/// Retries in moments.
fn quick(rig: &Rig) -> Relay {
    rig.relay().env("RELAY_RETRY_FLOOR", "50ms").env("RELAY_RETRY_CAP", "200ms")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unroutable_row_is_retried_holds_its_key_and_ends_dead_with_a_full_letter() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let mut relay = quick(&rig).ready().await;
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, headers)
               values ('order', 'a', 'lost', '{\"n\": 1}', '{\"traceparent\": \"t\"}') returning seq";
    let lost: i64 = rig.database.query(sql, &[]).await[0].get(0);
    let mut followers = Vec::new();
    for _ in 0..5 {
        followers.push(rig.database.insert("a", "placed").await);
    }
    let other = rig.database.insert("b", "placed").await;
    rig.database.wait_published(other).await;
    rig.database.wait_finished(wait::LONG).await;

    let state = rig.database.state(lost).await;
    assert_eq!((state.published, state.attempts), (false, 8));
    assert_eq!(state.dead_reason.as_deref(), Some("unroutable"));
    assert!(state.last_error.as_deref().unwrap_or_default().contains("312"), "{state:?}");
    let sql = format!(
        "select count(*) from relay.outbox f, relay.outbox h
         where h.seq = {lost} and f.aggregate_id = 'a' and f.seq > h.seq and f.published_at < h.dead_at"
    );
    assert_eq!(rig.database.number(&sql).await, 0, "a row overtook the head of its key");
    let seen = rig.broker.tapped().await;
    assert_in_order(&seen);
    let of_a: Vec<i64> =
        seen.iter().filter(|seen| seen.correlation_id == "a").map(|seen| seen.seq()).collect();
    assert_eq!(of_a, followers, "the rest of the key, once, in order");
    relay
        .wait_metric("relay_dead_lettered_total", &["reason=\"unroutable\""], wait::LONG, |dead| dead == 1.0)
        .await;
    assert_eq!(relay.metric("relay_retries_total", &["reason=\"unroutable\""]), 7.0);
    let held = "select count(*) from relay.held_keys";
    wait::until("the key is forgotten", wait::LONG, async || rig.database.number(held).await == 0).await;

    let letters = rig.broker.wait_dead_letters(1).await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(letter.id, rig.database.event_id(lost).await);
    assert_eq!(
        (letter.exchange.as_str(), letter.body.as_slice()),
        (rig.broker.dead_letter_exchange.as_str(), &br#"{"n": 1}"#[..])
    );
    assert_eq!(
        (letter.kind.as_str(), letter.correlation_id.as_str(), letter.delivery_mode),
        ("lost", "a", 2)
    );
    assert_eq!(letter.text("x-relay-reason"), "unroutable");
    assert!(letter.text("x-relay-error").contains("312"), "{}", letter.text("x-relay-error"));
    assert_eq!(letter.int("x-relay-attempts"), 8);
    assert_eq!(letter.text("x-relay-original-exchange"), rig.broker.exchange);
    assert_eq!(letter.text("x-relay-original-routing-key"), "order.lost");
    assert_eq!(letter.int("x-relay-replays"), 0);
    assert_eq!(letter.text("traceparent"), "t");
    assert_eq!((letter.int("x-relay-seq"), letter.text("x-relay-aggregate-type").as_str()), (lost, "order"));
    assert_eq!(letter.text("x-relay-aggregate-id"), "a");
    let times = "select to_char(first_failed_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS'), created_at < first_failed_at
                 from relay.outbox where dead_at is not null";
    let first_failed: String = rig.database.query(times, &[]).await[0].get(0);
    assert!(letter.text("x-relay-first-failed-at").starts_with(&first_failed));
    assert!(letter.text("x-relay-dead-at") > letter.text("x-relay-first-failed-at"));
    relay.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_becomes_routable_goes_out_before_its_followers() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let _relay = quick(&rig).env("RELAY_RETRY_MAX_ATTEMPTS", "1000").ready().await;
    let lost = rig.database.insert("a", "lost").await;
    for _ in 0..20 {
        rig.database.insert("a", "placed").await;
    }
    wait::until("it was tried thrice", wait::LONG, async || rig.database.state(lost).await.attempts >= 3)
        .await;
    assert_eq!(rig.database.published().await, 0);
    rig.broker.bind(&rig.broker.tap, &rig.broker.exchange, "#").await;
    rig.database.wait_finished(wait::LONG).await;
    let seen = rig.broker.tapped().await;
    assert_eq!(rig.assert_complete(&seen).await, 0);
    assert_eq!(seen[0].int("x-relay-attempt"), i64::from(rig.database.state(lost).await.attempts) + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_park_a_dead_row_holds_its_key_across_restarts_and_no_other() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let command = quick(&rig).env("RELAY_OUTBOX_ON_DEAD", "park").env("RELAY_RETRY_MAX_ATTEMPTS", "2");
    let mut relay = command.ready().await;
    let lost = rig.database.insert("a", "lost").await;
    for _ in 0..3 {
        rig.database.insert("a", "placed").await;
    }
    wait::until("it is dead", wait::LONG, async || rig.database.state(lost).await.dead_reason.is_some())
        .await;
    rig.broker.wait_dead_letters(1).await;
    relay.drain().await;
    let relay = command.ready().await;
    rig.database.insert("a", "placed").await;
    rig.database.wait_published(rig.database.insert("b", "placed").await).await;
    let held = "select count(*) from relay.outbox where aggregate_id = 'a' and state = 'held' and published_at is null";
    wait::until("the rest is held", wait::LONG, async || rig.database.number(held).await == 4).await;
    wait::throughout("the rest is held", Duration::from_secs(2), async || {
        rig.database.number(held).await == 4
    })
    .await;
    assert_eq!(rig.database.published().await, 1);
    let parked = "select count(*) from relay.held_keys where aggregate_id = 'a' and reason = 'parked'";
    assert_eq!(rig.database.number(parked).await, 1);
    relay.wait_metric("relay_held_keys", &[], wait::LONG, |keys| keys == 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nack_costs_no_attempt_and_other_queues_go_on() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let full = rig.broker.name("full");
    let overflow = AMQPValue::LongString(LongString::from("reject-publish"));
    rig.broker
        .declare_queue(&full, &[("x-max-length", AMQPValue::LongInt(1)), ("x-overflow", overflow)])
        .await;
    rig.broker.bind(&full, &rig.broker.exchange, "order.full").await;
    let relay = quick(&rig).env("RELAY_RETRY_MAX_ATTEMPTS", "2").ready().await;
    for row in 0..4 {
        let key = format!("k{row}");
        let first = rig.database.insert(&key, "full").await;
        if row > 0 {
            let nacked = async || rig.database.state(first).await.last_error.is_some();
            wait::until("it is nacked", wait::LONG, nacked).await;
        } else {
            rig.database.wait_published(first).await;
        }
    }
    relay
        .wait_metric("relay_retries_total", &["reason=\"nacked\""], wait::LONG, |retries| retries >= 9.0)
        .await;
    rig.database.wait_published(rig.database.insert("other", "placed").await).await;
    assert_eq!(rig.database.unfinished().await, 3);
    let mut seen = Vec::new();
    wait::until("the queue took them as it was emptied", wait::LONG, async || {
        seen.extend(rig.broker.drain(&full).await);
        rig.database.unfinished().await == 0
    })
    .await;
    seen.extend(rig.broker.drain(&full).await);
    assert_eq!(seen.len(), 4);
    rig.assert_nobody_charged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_names_a_missing_exchange_is_charged_alone() {
    let rig = Rig::new().await;
    let other = rig.broker.name("other");
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, exchange)
               select 'order', 'k' || n % 40, 'placed', '{}', case when n = 100 then $1 end
               from generate_series(1, 400) n";
    rig.database.execute(sql, &[&other]).await;
    let relay = quick(&rig)
        .env("RELAY_OUTBOX_ALLOWED_EXCHANGES", &other)
        .env("RELAY_RETRY_MAX_ATTEMPTS", "3")
        .start()
        .await;
    rig.database.wait_finished(wait::LONG).await;
    let state = rig.database.state(100).await;
    assert_eq!((state.dead_reason.as_deref(), state.attempts), (Some("refused"), 3), "{state:?}");
    assert!(state.last_error.as_deref().unwrap_or_default().contains("404"), "{state:?}");
    let charged = "select count(*) from relay.outbox where attempts > 0";
    assert_eq!(rig.database.number(charged).await, 1, "neighbours were charged");
    assert_eq!(rig.database.number("select sum(seq)::bigint from relay.outbox where suspect").await, 100);
    let seen = rig.broker.tapped().await;
    assert_in_order(&seen);
    assert_eq!(rig.database.published().await, 399);
    let letter = rig.broker.wait_dead_letters(1).await.remove(0);
    assert_eq!(letter.text("x-relay-original-exchange"), other);
    assert_eq!(letter.text("x-relay-reason"), "refused");
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_that_nobody_confirms_hold_up_no_other_row() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.broker.url).await;
    // Only dead letters have it.
    proxy.strand_whoever_sends("x-relay-reason");
    let other = rig.broker.name("other");
    let _relay = quick(&rig)
        .env("AMQP_URL", &url)
        .env("RELAY_AMQP_CONFIRM_TIMEOUT", "10m")
        .env("RELAY_OUTBOX_ALLOWED_EXCHANGES", &other)
        .env("RELAY_LIMITS_IN_FLIGHT_ROWS", "1024")
        .env("RELAY_DEAD_LETTER_FLOOD_LIMIT", "0")
        .ready()
        .await;
    let connections = proxy.accepted();
    // More than fit in memory.
    let dying = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, exchange)
                 select 'order', 'dying' || n, 'placed', '{}', 'forbidden' from generate_series(1, 3000) n";
    rig.database.execute(dying, &[]).await;
    wait::until("a dead letter is on its way", wait::LONG, async || proxy.accepted() > connections).await;
    // The channel is closed in the midst of these, and those after the missing exchange come under suspicion.
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, exchange)
               select 'order', 'k' || n, 'placed', '{}', case when n = 20 then $1 end
               from generate_series(1, 40) n";
    rig.database.execute(sql, &[&other]).await;
    wait::until("the others are published", wait::LONG, async || rig.database.published().await == 39).await;
    assert_eq!(rig.database.unfinished().await, 3001, "those that die");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_letter_is_refused_like_itself_dies_with_a_bare_one() {
    let own = servers::own().await;
    own.rabbitmqctl(&["eval", "application:set_env(rabbit, max_message_size, 100000)."]);
    let rig = Rig::on(own.servers()).await;
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, headers)
               values ('order', 'a', 'placed', jsonb_build_object('pad', repeat('x', 200000)), '{\"own\": \"1\"}')
               returning seq";
    let large: i64 = rig.database.query(sql, &[]).await[0].get(0);
    let next = rig.database.insert("a", "placed").await;
    let _relay = quick(&rig).env("RELAY_RETRY_MAX_ATTEMPTS", "2").start().await;
    rig.database.wait_published(next).await;
    let state = rig.database.state(large).await;
    assert_eq!((state.dead_reason.as_deref(), state.attempts), (Some("refused"), 2), "{state:?}");
    let letter = rig.broker.wait_dead_letters(1).await.remove(0);
    assert_eq!(letter.id, rig.database.event_id(large).await);
    assert_eq!(letter.body, b"");
    assert_eq!(letter.headers.get("x-relay-payload-omitted"), Some(&AMQPValue::Boolean(true)));
    assert_eq!(letter.headers.get("own"), None);
    let error = letter.text("x-relay-error");
    assert!(error.contains("neither payload nor headers") && error.contains("406"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_that_nobody_confirms_costs_the_others_no_connection() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.broker.url).await;
    proxy.strand_whoever_sends("strand-me");
    let relay = quick(&rig).env("AMQP_URL", &url).env("RELAY_AMQP_CONFIRM_TIMEOUT", "1s").ready().await;
    let connections = proxy.accepted();
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, suspect)
               values ('order', 'a', 'placed', '{\"n\": \"strand-me\"}', true) returning seq";
    let suspect: i64 = rig.database.query(sql, &[]).await[0].get(0);
    wait::until("it was tried thrice", wait::LONG, async || proxy.accepted() >= connections + 3).await;
    rig.database.wait_published(rig.database.insert("b", "placed").await).await;
    let said = relay.complaints();
    assert!(said.iter().all(|line| line.contains("suspects are not confirmed")), "{said:?}");
    assert_eq!(said.len(), 1, "{said:?}");
    proxy.thaw();
    rig.database.wait_published(suspect).await;
    rig.assert_nobody_charged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_was_deleted_and_is_there_again_is_no_trouble_any_more() {
    let rig = Rig::new().await;
    let relay = quick(&rig).env("RELAY_RETRY_MAX_ATTEMPTS", "1000").ready().await;
    let delete = rig.broker.channel().await;
    delete.exchange_delete(short(&rig.broker.exchange), ExchangeDeleteOptions::default()).await.unwrap();
    let seq = rig.database.insert("a", "placed").await;
    // Its bindings are gone, but what comes back came from there.
    wait::until("it comes back", wait::LONG, async || rig.database.state(seq).await.attempts > 0).await;
    relay.wait_ready().await;
    rig.broker.bind(&rig.broker.tap, &rig.broker.exchange, "#").await;
    rig.database.wait_published(seq).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_flood_limit_deaths_wait_and_publishing_goes_on() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let relay = quick(&rig)
        .env("RELAY_RETRY_MAX_ATTEMPTS", "1")
        .env("RELAY_DEAD_LETTER_FLOOD_LIMIT", "5")
        .ready()
        .await;
    for row in 0..20 {
        rig.database.insert(&format!("k{row}"), "lost").await;
        rig.database.insert(&format!("ok{row}"), "placed").await;
    }
    relay
        .wait_metric("relay_retries_total", &["reason=\"flood_guard\""], wait::LONG, |waiting| {
            waiting >= 15.0
        })
        .await;
    let published = async || rig.database.published().await == 20;
    wait::until("the others are published", wait::LONG, published).await;
    let dead = "select count(*) from relay.outbox where dead_at is not null";
    wait::until("as many as may have died", wait::LONG, async || rig.database.number(dead).await >= 5).await;
    assert_eq!(rig.database.number(dead).await, 5);
    assert_eq!(rig.database.unfinished().await, 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_failures_is_logged_by_its_first_rows_and_a_count() {
    const ROWS: u64 = 500;
    let rig = Rig::bound_to(&["order.nothing"]).await;
    let relay = quick(&rig)
        .env("RELAY_RETRY_MAX_ATTEMPTS", "2")
        .env("RELAY_DEAD_LETTER_FLOOD_LIMIT", "0")
        .ready()
        .await;
    rig.database.insert_many(500, 500).await;
    let count = |part: &str, field: &str| {
        let lines = relay.lines();
        let said =
            lines.iter().filter(|line| line["message"].as_str().is_some_and(|text| text.contains(part)));
        said.fold((0, 0), |(lines, sum), line| (lines + 1, sum + line[field].as_u64().unwrap_or(0)))
    };
    for (line, summary, metric) in [
        ("is tried again in", "more retries in", "relay_retries_total"),
        ("is dead: ", "more dead rows in", "relay_dead_lettered_total"),
    ] {
        relay.wait_metric(metric, &["reason=\"unroutable\""], wait::LONG, |rows| rows == 500.0).await;
        wait::until("every row is told, or counted", wait::LONG, async || {
            count(line, "seq").0 + count(summary, "more").1 == ROWS
        })
        .await;
        let ((lines, _), (summaries, _)) = (count(line, "seq"), count(summary, "more"));
        assert!(lines <= 5 * (summaries + 1), "{lines} lines, {summaries} summaries");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burial_whose_answer_was_lost_is_counted_once_it_is_repeated() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.database.url).await;
    let relay = quick(&rig).env("DATABASE_URL", &url).ready().await;
    proxy.leave_unanswered("invalid_headers");
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, headers)
               values ('order', 'a', 'placed', '{}', '{\"x-death\": 1}')";
    rig.database.execute(sql, &[]).await;
    let dead = "select count(*) from relay.outbox where dead_reason = 'invalid_headers'";
    wait::until("it is dead", wait::LONG, async || rig.database.number(dead).await == 1).await;
    proxy.thaw();
    proxy.cut();
    let counted = |deaths| deaths == 1.0;
    relay
        .wait_metric("relay_dead_lettered_total", &["reason=\"invalid_headers\""], wait::LONG, counted)
        .await;
    assert_eq!(rig.broker.wait_dead_letters(1).await.len(), 1);
}
