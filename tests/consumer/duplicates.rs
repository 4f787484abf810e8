use crate::rig::{Kind, Rig, post};

#[tokio::test(flavor = "multi_thread")]
async fn however_often_it_is_delivered_the_effect_is_done_once() {
    let rig = Rig::new().await;
    let one = rig.start(Kind::Inside);
    let other = rig.start(Kind::Inside);
    let mut posts = Vec::new();
    for _ in 0..5 {
        posts.extend((0..40).map(|n| post(&format!("m{n}"))));
    }
    rig.publish_all(&posts).await;
    crate::support::wait::until("all are dealt with", crate::support::wait::LONG, async || {
        let all = |result| one.count(result) + other.count(result);
        all("done") + all("duplicate") >= 200
    })
    .await;
    assert_eq!(one.count("done") + other.count("done"), 40);
    for n in 0..40 {
        assert_eq!(rig.effects(&format!("m{n}")).await, 1, "effects of m{n}");
    }
    one.drain().await;
    other.drain().await;
    assert_eq!(rig.queue_depth().await, 0, "all are acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_with_the_same_message_the_second_waits_for_the_first() {
    let rig = Rig::new().await;
    let body = "{\"gate\": \"g\"}";
    // One message at a time, so that each of the two has one.
    let one = rig.start_with(Kind::Inside, |settings| settings.prefetch = 1);
    let other = rig.start_with(Kind::Inside, |settings| settings.prefetch = 1);
    one.wait_ready().await;
    other.wait_ready().await;
    rig.publish_all(&[post("same").body(body), post("same").body(body)]).await;
    rig.wait_at_gate("g").await;
    let waiting =
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%relay.inbox%'
                   and datname = current_database()";
    crate::support::wait::until(
        "the other one waits at the primary key",
        crate::support::wait::LONG,
        async || rig.database.number(waiting).await == 1,
    )
    .await;
    rig.open_gate("g").await;
    crate::support::wait::until("both are dealt with", crate::support::wait::LONG, async || {
        one.count("done") + other.count("done") == 1 && one.count("duplicate") + other.count("duplicate") == 1
    })
    .await;
    assert_eq!(rig.effects("same").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_effect_is_not_repeated_for_a_duplicate() {
    let rig = Rig::new().await;
    let consumer = rig.start(Kind::Outside);
    rig.publish_all(&[post("a"), post("a"), post("a")]).await;
    consumer.wait_count("duplicate", 2).await;
    rig.wait_done("a").await;
    assert_eq!((rig.outside("a").await, rig.effects("a").await), (1, 1));
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_done_message_leaves_no_body_behind_and_events_that_follow_continue_its_trace() {
    let rig = Rig::new().await;
    for kind in [Kind::Inside, Kind::Outside] {
        let id = format!("{kind:?}");
        let consumer = rig.start(kind);
        rig.publish(&post(&id).body("{\"follow\": true}")).await;
        rig.wait_done(&id).await;
        consumer.drain().await;
        let sql = "select body is null and properties is null from relay.inbox where message_id = $1";
        assert!(rig.database.query(sql, &[&id]).await[0].get::<_, bool>(0));
        let sql = "select count(*) from relay.outbox where payload->>'because' = $1
                   and headers->>'traceparent' like '00-0af7651916cd43dd8448eb211c80319c-%'";
        assert_eq!(rig.database.query(sql, &[&id]).await[0].get::<_, i64>(0), 1);
    }
}
