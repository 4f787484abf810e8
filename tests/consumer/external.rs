use std::time::Duration;

use crate::{
    rig::{Kind, Rig, post},
    support::wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn while_the_effect_runs_the_message_is_acknowledged_and_no_transaction_is_open() {
    let rig = Rig::new().await;
    let consumer = rig.start(Kind::Outside);
    rig.publish(&post("a").body("{\"gate\": \"g\"}")).await;
    rig.wait_at_gate("g").await;
    assert_eq!(rig.state("a").await, Some(("claimed".to_owned(), 1)));
    let open = "select count(*) from pg_stat_activity where application_name like 'relay %'
                and datname = current_database() and state like 'idle in transaction%'";
    assert_eq!(rig.database.number(open).await, 0);
    // Deleting the queue would give an unacknowledged message nowhere to go; here there is none.
    rig.broker.delete_queue(&rig.queue()).await;
    rig.open_gate("g").await;
    rig.wait_done("a").await;
    assert_eq!(rig.effects("a").await, 1);
    rig.declare_queue().await;
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_claim_was_taken_over_writes_nothing() {
    let rig = Rig::new().await;
    let consumer = rig.start_with(Kind::Outside, |settings| settings.deadline = Duration::from_secs(20));
    rig.publish(&post("a").body("{\"gate\": \"g\"}")).await;
    rig.wait_at_gate("g").await;
    // Somebody else has it now, as after a claim that ran out.
    let taken = "update relay.inbox set claim_token = gen_random_uuid(), due_at = now() + interval '1 hour'";
    assert_eq!(rig.database.execute(taken, &[]).await, 1);
    rig.open_gate("g").await;
    consumer.wait_count("stale", 1).await;
    assert_eq!(rig.effects("a").await, 0, "the stale worker's result");
    assert_eq!(rig.state("a").await, Some(("claimed".to_owned(), 1)));
    // That one dies; its claim runs out.
    rig.database.execute("update relay.inbox set due_at = now()", &[]).await;
    rig.wait_done("a").await;
    assert_eq!(rig.effects("a").await, 1);
    assert_eq!(rig.state("a").await, Some(("done".to_owned(), 2)));
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_taken_over_only_after_it_has_run_out_and_then_it_is() {
    let rig = Rig::new().await;
    // Claimed by a worker that is gone, for a while yet.
    let insert =
        "insert into relay.inbox (consumer, message_id, state, attempts, due_at, claim_token, done_at,
                                           event_type, aggregate_type, aggregate_id, seq, properties, body)
                  values ('shop', 'a', 'claimed', 1, now() + interval '1 second', gen_random_uuid(), null,
                          'placed', 'order', '1', 1, '{}', '{}')
                  returning (extract(epoch from due_at) * 1000000)::bigint";
    let until: i64 = rig.database.query(insert, &[]).await[0].get(0);
    let consumer = rig.start(Kind::Inside);
    rig.wait_done("a").await;
    let at = "select (extract(epoch from at) * 1000000)::bigint from app.effects where message_id = 'a'";
    assert!(rig.database.number(at).await >= until);
    assert_eq!(rig.state("a").await, Some(("done".to_owned(), 2)));
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_to_do_it_is_done_without_the_effect() {
    let rig = Rig::new().await;
    let consumer = rig.start(Kind::Outside);
    rig.publish(&post("a").body("{\"nothing\": true}")).await;
    rig.wait_done("a").await;
    assert_eq!((rig.outside("a").await, rig.effects("a").await), (0, 0));
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_any_step_is_tried_again_and_finish_is_told_of_the_works_own() {
    for place in ["prepare:", "before:", "after:", "finish:"] {
        let rig = Rig::new().await;
        rig.trouble("a", &format!("{place}fail"), 1).await;
        let consumer = rig.start(Kind::Outside);
        rig.publish(&post("a")).await;
        rig.wait_done("a").await;
        assert_eq!(rig.effects("a").await, 1, "{place}");
        // The third party is called again where it was called before: the library can't know what became of it.
        let calls = if place == "after:" || place == "finish:" { 2 } else { 1 };
        assert_eq!(rig.outside("a").await, calls, "{place}");
        let told = if place == "before:" || place == "after:" { 1 } else { 0 };
        assert_eq!(rig.database.number("select count(*) from app.failures").await, told, "{place}");
        assert_eq!(rig.state("a").await, Some(("done".to_owned(), 2)), "{place}");
        consumer.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_effects_keep_others_waiting_no_longer_than_there_are_no_workers() {
    let rig = Rig::new().await;
    let consumer = rig.start_with(Kind::Outside, |settings| settings.workers = 2);
    rig.publish(&post("slow").body("{\"gate\": \"g\"}")).await;
    rig.wait_at_gate("g").await;
    let posts: Vec<_> = (0..20).map(|n| post(&format!("m{n}"))).collect();
    rig.publish_all(&posts).await;
    wait::until("the others are done", wait::LONG, async || consumer.count("done") == 20).await;
    rig.open_gate("g").await;
    consumer.drain().await;
}
