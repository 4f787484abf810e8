use std::time::Duration;

use crate::{
    rig::{Kind, Rig, post},
    support::wait,
};

const KINDS: [Kind; 2] = [Kind::Inside, Kind::Outside];

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_tried_again_from_the_inbox_and_its_neighbours_do_not_notice() {
    for kind in KINDS {
        let rig = Rig::new().await;
        rig.trouble("b", "before:fail", 3).await;
        rig.publish_all(&[post("a"), post("b"), post("c")]).await;
        // In a batch the first try is not counted: it is rolled back, and each message is done again alone.
        let consumer = rig.start_with(kind, |settings| settings.retry.max_attempts = 5);
        for id in ["a", "b", "c"] {
            rig.wait_done(id).await;
            assert_eq!(rig.effects(id).await, 1, "effects of {id}");
        }
        assert!(consumer.count("retried") >= 2, "{kind:?}");
        assert_eq!(rig.queue_depth().await, 0, "a retry waits in the inbox, not in the queue");
        consumer.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failure_and_so_is_a_handler_that_never_ends() {
    for kind in KINDS {
        let rig = Rig::new().await;
        rig.trouble("p", "before:panic", 1).await;
        rig.trouble("h", "before:hang", 1).await;
        let consumer = rig.start_with(kind, |settings| settings.deadline = Duration::from_millis(300));
        rig.publish_all(&[post("p"), post("h")]).await;
        rig.wait_done("p").await;
        rig.wait_done("h").await;
        assert_eq!((rig.effects("p").await, rig.effects("h").await), (1, 1), "{kind:?}");
        consumer.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_the_handler_swallowed_is_not_taken_for_success() {
    let rig = Rig::new().await;
    rig.trouble("s", "after:swallow", 1).await;
    rig.trouble("o", "after:orphan", 1).await;
    let consumer = rig.start(Kind::Inside);
    for id in ["s", "o"] {
        // Alone, so that it is a batch of one whose transaction is aborted, or whose commit would fail.
        rig.publish(&post(id)).await;
        rig.wait_done(id).await;
        assert_eq!(rig.effects(id).await, 1, "effects of {id}");
    }
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_back_is_not_charged() {
    for kind in KINDS {
        let rig = Rig::new().await;
        // More often than there are attempts.
        rig.trouble("a", "before:held", 7).await;
        let consumer = rig.start(kind);
        rig.publish(&post("a")).await;
        rig.wait_done("a").await;
        assert_eq!(rig.state("a").await, Some(("done".to_owned(), 1)), "{kind:?}");
        assert!(consumer.count("held_back") >= 6);
        consumer.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_waits_until_it_is_due_over_a_restart_of_the_consumer() {
    for kind in KINDS {
        let rig = Rig::new().await;
        // Asked for by the third party, and longer than the policy's.
        rig.trouble("a", "before:later", 2).await;
        let consumer = rig.start(kind);
        rig.publish(&post("a")).await;
        rig.wait_state("a", "retrying").await;
        consumer.drain().await;
        assert_eq!(rig.queue_depth().await, 0);
        let due =
            "select (extract(epoch from due_at) * 1000000)::bigint from relay.inbox where message_id = 'a'";
        let first_due = rig.database.number(due).await;
        rig.database.execute("delete from app.troubles", &[]).await;
        let consumer = rig.start(kind);
        rig.wait_done("a").await;
        let at = "select (extract(epoch from at) * 1000000)::bigint from app.effects where message_id = 'a'";
        assert!(rig.database.number(at).await >= first_due, "it was tried before it was due");
        assert_eq!(rig.effects("a").await, 1);
        consumer.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_inbox_of_retries_is_worked_off() {
    let rig = Rig::new().await;
    let ids: Vec<String> = (0..100).map(|n| format!("m{n}")).collect();
    for id in &ids {
        rig.trouble(id, "before:fail", 1).await;
    }
    let posts: Vec<_> = ids.iter().map(|id| post(id)).collect();
    rig.publish_all(&posts).await;
    let consumer = rig.start(Kind::Outside);
    let done = "select count(*) from relay.inbox where state = 'done'";
    wait::until("all are done", wait::LONG, async || rig.database.number(done).await == 100).await;
    assert_eq!(rig.database.number("select count(*) from app.effects").await, 100);
    consumer.drain().await;
}
