//! What an operator does with the dead-letter queue, with the real binary, Postgres and RabbitMQ.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use lapin::types::{AMQPValue, FieldTable};

mod operator_support;
use operator_support::World;

#[tokio::test]
async fn letters_of_others_go_back_to_allowed_queues_alone_and_the_rest_stays() {
    let world = World::new("foreign").await;
    world.declare().await;
    let (work, other) = (format!("{}.work", world.name), format!("{}.other", world.name));
    for queue in [&work, &other] {
        world.queue(queue, Some(&format!("{}.dlx", world.name))).await;
        world.publish(queue, "7", &[("traceparent", "00-abc"), ("x-relay-seq", "1")]).await;
        world.take(queue, true).await;
    }
    world.publish(&world.dlq(), "8", &[("x-relay-reason", "unroutable")]).await;
    world.until_depth(&world.dlq(), 3).await;
    let args = ["replay-dlq", "--foreign", "--allow-queue", &work, "-o", "json"];
    let would = world.json(&[&args[..], &["--dry-run"]].concat());
    assert_eq!((&would["sent"][&work], &would["relays_own"]), (&1.into(), &1.into()), "{would}");
    world.until_depth(&world.dlq(), 3).await;
    let did = world.json(&[&args[..], &["--yes"]].concat());
    assert_eq!((&did["sent"][&work], &did["not_allowed"][&other]), (&1.into(), &1.into()), "{did}");
    let taken = world.take(&work, false).await;
    assert_eq!(
        (taken.id.as_str(), taken.content_type.as_str(), &taken.body[..]),
        ("7", "text/plain", &b"a body"[..])
    );
    let mut headers: Vec<String> = taken.headers.inner().keys().map(ToString::to_string).collect();
    headers.sort();
    assert_eq!(headers, ["traceparent", "x-relay-seq"]);
    world.until_depth(&world.dlq(), 2).await;
    let audit: String =
        world.one("select action || filter::text || affected from relay.audit where note is null").await;
    assert!(audit.contains("send_back") && audit.contains(&work) && audit.ends_with('1'), "{audit}");
    // A queue that is gone: the letter comes back as unroutable, and stays.
    world.channel.queue_delete(other.as_str().into(), Default::default()).await.unwrap();
    let (code, stdout, _) = world.relay(&["replay-dlq", "--foreign", "--allow-queue", &other, "--yes"]);
    assert_eq!(code, 3, "{stdout}");
    assert!(stdout.contains("312"), "{stdout}");
    world.until_depth(&world.dlq(), 2).await;
    world.end().await;
}

#[tokio::test]
async fn a_clean_up_leaves_letters_of_consumers_of_dead_rows_and_of_other_outboxes() {
    let world = World::new("cleanup").await;
    world.declare().await;
    let (replayed, dead) =
        (world.insert_dead("1", "placed").await, world.insert_dead("2", "cancelled").await);
    let notice = async |seq: i64, id: String, reason: bool| {
        let mut headers = FieldTable::default();
        headers.insert("x-relay-seq".into(), AMQPValue::LongLongInt(seq));
        headers.insert("x-relay-replays".into(), AMQPValue::LongLongInt(0));
        if reason {
            headers.insert("x-relay-reason".into(), AMQPValue::LongString("unroutable".into()));
        }
        let properties =
            lapin::BasicProperties::default().with_message_id(id.as_str().into()).with_headers(headers);
        let sent = world.channel.basic_publish(
            "".into(),
            world.dlq().as_str().into(),
            Default::default(),
            b"{}",
            properties,
        );
        sent.await.unwrap();
    };
    let id = async |seq: i64| {
        let row =
            world.db.query_one("select event_id from relay.outbox where seq = $1", &[&seq]).await.unwrap();
        row.get::<_, uuid::Uuid>(0).to_string()
    };
    notice(replayed, id(replayed).await, true).await;
    notice(replayed, id(replayed).await, false).await;
    notice(dead, id(dead).await, true).await;
    notice(replayed, uuid::Uuid::new_v4().to_string(), true).await;
    world.until_depth(&world.dlq(), 4).await;
    let done = world.json(&["replay-dlq", "--event-type", "placed", "--yes", "-o", "json"]);
    assert_eq!(done["stale_letters_removed"], 1, "{done}");
    world.until_depth(&world.dlq(), 3).await;
    world.end().await;
}
