use std::time::Duration;

use relay::consumer::Ended;

use crate::{
    rig::{Kind, Rig, post},
    support::wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_begun_and_gives_the_rest_back() {
    for kind in [Kind::Inside, Kind::Outside] {
        let rig = Rig::new().await;
        let consumer = rig.start_with(kind, |settings| {
            settings.workers = 1;
            settings.batch = 1;
            settings.deadline = Duration::from_secs(20);
        });
        rig.publish(&post("begun").body("{\"gate\": \"g\"}")).await;
        rig.wait_at_gate("g").await;
        rig.publish_all(&[post("waiting"), post("behind")]).await;
        wait::until("they are handed out", wait::LONG, async || rig.queue_depth().await == 0).await;
        consumer.stop.send_replace(true);
        rig.open_gate("g").await;
        assert_eq!(consumer.drain().await, Ended::Drained);
        rig.wait_done("begun").await;
        wait::until("the others are back in the queue", wait::LONG, async || rig.queue_depth().await == 2)
            .await;
        assert_eq!(rig.effects("begun").await, 1);
        let consumer = rig.start(kind);
        rig.wait_done("waiting").await;
        rig.wait_done("behind").await;
        consumer.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_with_its_grace_and_what_was_broken_off_is_done_again() {
    let rig = Rig::new().await;
    let consumer = rig.start_with(Kind::Inside, |settings| {
        settings.grace = Duration::from_millis(200);
        settings.deadline = Duration::from_secs(20);
    });
    rig.publish(&post("a").body("{\"gate\": \"g\"}")).await;
    rig.wait_at_gate("g").await;
    assert_eq!(consumer.drain().await, Ended::GraceOver);
    assert_eq!(rig.effects("a").await, 0);
    rig.open_gate("g").await;
    let consumer = rig.start(Kind::Inside);
    rig.wait_done("a").await;
    assert_eq!(rig.effects("a").await, 1);
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_forgotten_after_the_horizon_and_not_before() {
    let rig = Rig::new().await;
    let insert = "insert into relay.inbox (consumer, message_id, done_at)
                  values ('shop', 'old', now() - interval '31 days'), ('shop', 'young', now() - interval '29 days'),
                         ('other', 'foreign', now() - interval '99 days')";
    rig.database.execute(insert, &[]).await;
    let dead = "insert into relay.inbox (consumer, message_id, state, done_at, dead_at, body, properties)
                values ('shop', 'dead', 'dead', null, now() - interval '99 days', '{}', '{}')";
    rig.database.execute(dead, &[]).await;
    let many = "insert into relay.inbox (consumer, message_id, done_at)
                select 'shop', 'm' || n, now() - interval '40 days' from generate_series(1, 2500) n";
    rig.database.execute(many, &[]).await;
    let consumer = rig.start(Kind::Inside);
    wait::until("the old are forgotten", wait::LONG, async || {
        rig.database.number("select count(*) from relay.inbox").await == 3
    })
    .await;
    let kept: Vec<String> = rig
        .database
        .query("select message_id from relay.inbox order by message_id", &[])
        .await
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(kept, ["dead", "foreign", "young"]);
    // A duplicate within the horizon is one.
    rig.publish(&post("young")).await;
    consumer.wait_count("duplicate", 1).await;
    assert_eq!(rig.effects("young").await, 0);
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_are_refused_with_their_name() {
    let rig = Rig::new().await;
    let mut settings = rig.place().settings("shop");
    settings.workers = 0;
    let handler = rig.place().handler(Kind::Inside, "shop");
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let metrics = relay::metrics::ConsumerMetrics::new().unwrap();
    let refused =
        relay::consumer::run(settings, handler, metrics, relay::health::Health::new(), stopped).await;
    assert!(refused.unwrap_err().to_string().contains("workers has to be at least 1"));
}
