//! `relay dlq` and `relay replay-dlq` with `--consumer`; and a consumer with just its grants, behind a real relay.

use crate::{
    rig::{Kind, Rig, post},
    support::{
        relay::{Relay, finish},
        wait,
    },
};

pub fn relay(rig: &Rig, args: &[&str]) -> (Option<i32>, String, String) {
    let env = [
        ("DATABASE_URL", rig.database.url.as_str()),
        ("AMQP_URL", &rig.broker.url),
        ("RELAY_OUTBOX_EXCHANGE", &rig.broker.exchange),
        ("RELAY_DEAD_LETTER_EXCHANGE", &rig.broker.dead_letter_exchange),
        ("RELAY_DEAD_LETTER_QUEUE", &rig.broker.dead_letter_queue),
        ("USER", "tester"),
    ];
    let finished = finish(args, &env);
    (finished.code, finished.stdout, finished.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_message_is_listed_shown_and_replayed_once_and_its_letter_goes() {
    let rig = Rig::new().await;
    let id = "0190e7a8-0000-7000-8000-000000000001";
    rig.trouble(id, "before:fail", 3).await;
    let consumer = rig.start(Kind::Outside);
    rig.publish(&post(id).of("17", 4)).await;
    rig.wait_state(id, "dead").await;
    let (code, listed, _) = relay(&rig, &["dlq", "list", "--consumer", "shop", "-o", "json"]);
    assert_eq!(code, Some(0));
    assert!(listed.contains(id) && listed.contains("exhausted"), "{listed}");
    assert!(!relay(&rig, &["dlq", "list", "--consumer", "other", "-o", "json"]).1.contains(id));
    let (_, shown, _) = relay(&rig, &["dlq", "show", id, "--consumer", "shop", "--payload", "-o", "json"]);
    assert!(shown.contains("\"aggregate_id\": \"17\"") && shown.contains("\"body\": \"{}\""), "{shown}");
    // Nothing of relay's own died.
    let (_, _, said) = relay(&rig, &["replay-dlq", "--all", "--yes"]);
    assert_eq!(rig.state(id).await, Some(("dead".to_owned(), 3)), "{said}");

    rig.database.execute("update relay.inbox set received_at = now() - interval '40 days'", &[]).await;
    let replay = ["replay-dlq", "--consumer", "shop", "--consumer-reason", "exhausted", "--yes"];
    let (code, done, said) = relay(&rig, &replay);
    assert_eq!((code, done.trim()), (Some(0), "replayed 1 messages of shop"), "{said}");
    assert!(said.contains("older than the horizon"), "{said}");
    assert!(said.contains("removed 1 stale letters"), "{said}");
    rig.wait_done(id).await;
    assert_eq!((rig.effects(id).await, rig.outside(id).await), (1, 1));
    assert_eq!(relay(&rig, &replay).1.trim(), "replayed 0 messages of shop");
    let audit = "select count(*) from relay.audit where action = 'replay_inbox' and affected = 1
                 and filter->>'consumer' = 'shop'";
    assert_eq!(rig.database.number(audit).await, 1);
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_message_stays_dead_and_keeps_duplicates_out() {
    let rig = Rig::new().await;
    rig.trouble("a", "before:final", 1).await;
    let consumer = rig.start(Kind::Inside);
    rig.publish(&post("a")).await;
    rig.wait_state("a", "dead").await;
    let (code, done, said) = relay(&rig, &["dlq", "discard", "--consumer", "shop", "--all", "--yes"]);
    assert_eq!((code, done.trim()), (Some(0), "discarded 1 messages of shop"), "{said}");
    rig.publish(&post("a")).await;
    consumer.wait_count("duplicate", 1).await;
    assert_eq!(rig.effects("a").await, 0);
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_real_relay_a_consumer_does_all_of_its_work_with_just_its_grants() {
    let rig = Rig::new().await;
    let role = rig.database.url.rsplit('/').next().unwrap_or_default().split('?').next().unwrap_or_default();
    let role = format!("{role}_consume");
    let make = format!(
        "create role {role} login password 'relay'; grant usage on schema app to {role};
                        grant all on all tables in schema app to {role}"
    );
    rig.database.client().await.batch_execute(&make).await.expect("a role");
    let (code, _, said) = relay(&rig, &["migrate", "--grant-consume-to", &role, "--grant-enqueue-to", &role]);
    assert_eq!(code, Some(0), "{said}");
    let process =
        Relay::between(&rig.database, &rig.broker).env("RELAY_OUTBOX_DECLARE", "false").ready().await;
    let consumer = rig.start_with(Kind::Outside, |settings| {
        settings.database.config.user(&role).password("relay");
    });
    let seq = rig.database.insert("1", "placed").await;
    rig.database.wait_published(seq).await;
    let id = rig.database.event_id(seq).await;
    rig.wait_done(&id).await;
    let bad = rig.database.insert("2", "placed").await;
    let bad = rig.database.event_id(bad).await;
    rig.trouble(&bad, "before:final", 1).await;
    wait::until("the second is at rest", wait::LONG, async || {
        rig.state(&bad).await.is_some_and(|(state, _)| state == "dead" || state == "done")
    })
    .await;
    assert!(consumer.health.troubles().is_empty(), "{:?}", consumer.health.troubles());
    consumer.drain().await;
    drop(process);
    let client = rig.database.client().await;
    client.batch_execute(&format!("set role {role}")).await.expect("the role");
    for denied in [
        "update relay.inbox set message_id = 'x'",
        "update relay.inbox set resolved_at = now()",
        "delete from relay.outbox",
        "select payload from relay.outbox",
        "select from relay.audit",
    ] {
        let error = client.execute(denied, &[]).await.expect_err(denied);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{denied}");
    }
    client.batch_execute(&format!("reset role; drop owned by {role}; drop role {role}")).await.expect("gone");
}
