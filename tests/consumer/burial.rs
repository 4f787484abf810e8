use crate::{
    rig::{Kind, Rig, post},
    support::wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn after_its_last_attempt_a_message_is_dead_lettered_with_its_story_and_then_dead() {
    for kind in [Kind::Inside, Kind::Outside] {
        let rig = Rig::new().await;
        rig.trouble("a", "before:fail", 99).await;
        let consumer = rig.start(kind);
        rig.publish(&post("a").of("17", 5).body("{\"total\": 99}")).await;
        rig.wait_state("a", "dead").await;
        assert_eq!(rig.state("a").await, Some(("dead".to_owned(), 3)));
        let letters = rig.broker.wait_dead_letters(1).await;
        let letter = &letters[0];
        assert_eq!((letter.id.as_str(), letter.body.as_slice()), ("a", &b"{\"total\": 99}"[..]));
        assert_eq!(letter.text("x-relay-consumer"), "shop");
        assert_eq!(letter.text("x-relay-reason"), "exhausted");
        assert_eq!(letter.int("x-relay-attempts"), 3);
        assert_eq!(letter.int("x-relay-seq"), 5);
        assert_eq!(letter.text("x-relay-aggregate-id"), "17");
        assert_eq!(letter.text("x-relay-original-exchange"), rig.broker.exchange);
        assert_eq!(letter.text("x-relay-original-routing-key"), "order.placed");
        assert!(letter.text("x-relay-error").contains("as the test wants it"));
        let reason: String =
            rig.database.query("select reason from app.buried where message_id = 'a'", &[]).await[0].get(0);
        assert_eq!(reason, "exhausted", "the hook ran once, in the transaction");
        consumer.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_failure_dies_at_once() {
    let rig = Rig::new().await;
    rig.trouble("a", "before:final", 9).await;
    let consumer = rig.start(Kind::Outside);
    rig.publish(&post("a")).await;
    rig.wait_state("a", "dead").await;
    assert_eq!(rig.state("a").await, Some(("dead".to_owned(), 1)));
    assert_eq!(rig.broker.wait_dead_letters(1).await[0].text("x-relay-reason"), "unwanted");
    let failures = "select count(*) from app.failures where message_id = 'a'";
    assert_eq!(rig.database.number(failures).await, 1, "finish was told of the failure");
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_dead_only_after_the_broker_has_confirmed_its_letter() {
    let rig = Rig::new().await;
    rig.broker.delete_queue(&rig.broker.dead_letter_queue).await;
    rig.trouble("a", "before:final", 1).await;
    let consumer = rig.start(Kind::Inside);
    rig.publish(&post("a")).await;
    let waiting = "select count(*) from relay.inbox where state = 'retrying' and reason = 'unwanted' and dead_at is null";
    wait::until("its burial is put off", wait::LONG, async || rig.database.number(waiting).await == 1).await;
    wait::until("somebody is told", wait::LONG, async || {
        consumer.health.troubles().iter().any(|trouble| trouble.contains("no queue takes letters"))
    })
    .await;
    rig.broker.declare_queue(&rig.broker.dead_letter_queue, &[]).await;
    rig.broker.bind(&rig.broker.dead_letter_queue, &rig.broker.dead_letter_exchange, "#").await;
    // Not to wait for the pause between two tries.
    rig.database.execute("update relay.inbox set due_at = now() where state = 'retrying'", &[]).await;
    rig.wait_state("a", "dead").await;
    assert_eq!(rig.broker.wait_dead_letters(1).await.len(), 1);
    assert_eq!(rig.effects("a").await, 0, "what is to be buried is not tried again");
    assert!(consumer.health.troubles().is_empty());
    consumer.drain().await;
}
