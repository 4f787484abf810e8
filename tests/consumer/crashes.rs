use crate::{
    rig::{Kind, Place, Rig, post},
    support::{proxy::Proxy, wait},
    worker::Worker,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_at_any_step_leaves_the_effect_to_be_done_once() {
    for (kind, place) in [
        (Kind::Inside, "before:"),
        (Kind::Inside, "after:"),
        (Kind::Outside, "prepare:"),
        (Kind::Outside, "before:"),
        (Kind::Outside, "after:"),
        (Kind::Outside, "finish:"),
    ] {
        let rig = Rig::new().await;
        rig.trouble("a", &format!("{place}abort"), 1).await;
        rig.publish(&post("a")).await;
        Worker::start(&rig, kind).wait_aborted().await;
        assert_eq!(rig.effects("a").await, 0, "{kind:?} {place}");
        let _second = Worker::start(&rig, kind);
        rig.wait_done("a").await;
        assert_eq!(rig.effects("a").await, 1, "{kind:?} {place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_after_the_commit_and_before_the_acknowledgement_repeats_nothing() {
    for kind in [Kind::Inside, Kind::Outside] {
        let rig = Rig::new().await;
        let url = rig.broker.url.clone();
        let authority = url.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("a host");
        let proxy = Proxy::start(authority).await.expect("a proxy");
        let mut place = rig.place();
        place.amqp_url = url.replace(authority, &proxy.address().to_string());
        let mut worker = Worker::at(&place, kind);
        rig.publish(&post("a").body("{\"gate\": \"g\"}")).await;
        rig.wait_at_gate("g").await;
        // What the worker says from now on, the broker never hears. For the external kind the acknowledgement may be out
        // already; then there is nothing left to repeat.
        proxy.freeze();
        rig.open_gate("g").await;
        rig.wait_done("a").await;
        worker.kill9();
        proxy.cut();
        let second = rig.start(kind);
        if kind == Kind::Inside {
            second.wait_count("duplicate", 1).await;
        }
        second.drain().await;
        assert_eq!(rig.queue_depth().await, 0);
        assert_eq!(rig.effects("a").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_worker_is_dead_after_its_attempts() {
    for (kind, place) in [(Kind::Inside, "before:"), (Kind::Outside, "prepare:"), (Kind::Outside, "before:")]
    {
        let rig = Rig::new().await;
        rig.trouble("a", &format!("{place}abort"), 99).await;
        rig.publish_all(&[post("a"), post("good")]).await;
        let mut deaths = 0;
        let mut worker = Worker::start(&rig, kind);
        wait::until("the killer is dead", 3 * wait::LONG, async || {
            if !worker.is_running() {
                deaths += 1;
                worker = Worker::start(&rig, kind);
            }
            rig.state("a").await.is_some_and(|(state, _)| state == "dead")
        })
        .await;
        // Three attempts; and one more where the first was the broker's word against nobody's.
        assert!((3..=4).contains(&deaths), "{kind:?} {place}: it killed {deaths} workers");
        assert_eq!(rig.state("a").await, Some(("dead".to_owned(), 3)), "{kind:?} {place}");
        assert_eq!(rig.broker.wait_dead_letters(1).await[0].text("x-relay-reason"), "exhausted");
        wait::until("good is done", wait::LONG, async || {
            let others: Vec<_> =
                rig.deaths().await.into_iter().filter(|death| !death.starts_with("a ")).collect();
            assert_eq!(others, Vec::<String>::new(), "{kind:?} {place}: it took its neighbour along");
            rig.state("good").await.is_some_and(|(state, _)| state == "done")
        })
        .await;
        assert_eq!(rig.effects("good").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_worker_spares_slow_ones_that_were_in_work_beside_it() {
    let rig = Rig::new().await;
    let place = Place { is_patient: true, ..rig.place() };
    rig.trouble("a", "before:abort", 99).await;
    rig.trouble("slow", "before:slow", 99).await;
    // As a worker leaves them that had begun both.
    let sql = "insert into relay.inbox (consumer, message_id, state, attempts, due_at, claim_token, done_at, event_type,
                                        aggregate_type, aggregate_id, seq, properties, body)
               select 'shop', id, 'claimed', 1, now(), gen_random_uuid(), null, 'placed', 'order', id, 1, '{}', '{}'
               from unnest(array['a', 'slow']) id";
    rig.database.execute(sql, &[]).await;
    let mut worker = Worker::at(&place, Kind::Outside);
    wait::until("the slow one is done", 2 * wait::LONG, async || {
        if !worker.is_running() {
            worker = Worker::at(&place, Kind::Outside);
        }
        let state = rig.state("slow").await;
        assert!(!matches!(&state, Some((state, _)) if state == "dead"), "its neighbour took it along");
        state.is_some_and(|(state, _)| state == "done")
    })
    .await;
}
