//! Workers that die, are overtaken, or can't do their work.

use std::time::Duration;

use relay::consumer::Ended;

use crate::{
    postman::Manner,
    receiver::{QUIET, Reply},
    rig::{MAIL, Rig, WEBHOOK},
    support::wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_overtaken_changes_nothing() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.receiver.script([Reply::AtGate(410)]);
    let worker = rig.start();
    rig.relay().await;
    rig.receiver.wait_calls(1).await;
    rig.wait_entry(id, MAIL, "succeeded").await;
    let sql = "update relay.inbox set claim_token = gen_random_uuid(), due_at = now() + interval '1 hour'
               where state = 'claimed'";
    assert_eq!(rig.base.client.execute(sql, &[]).await.unwrap(), 1);
    rig.receiver.open_gate();
    wait::until("it hears that it was overtaken", wait::LONG, async || worker.count("stale") == 1).await;
    assert_eq!(rig.entry(id, WEBHOOK).await.0, "running");
    assert_eq!(rig.delivery(id).await, ("pending".to_owned(), 1, None));
    assert_eq!(rig.disabled().await, None);
    // The other one dies, too. Then it is done again, under the same id.
    rig.sql("update relay.inbox set due_at = now() where state = 'claimed'").await;
    rig.wait_entry(id, WEBHOOK, "succeeded").await;
    let calls = rig.receiver.calls();
    assert_eq!((calls.len(), calls[0].id()), (2, calls[1].id()));
    rig.end(worker).await;
}

/// A worker dies after the mail and the webhook have gone and before it could write that down.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_death_a_webhook_is_sent_again_and_a_mail_waits_for_a_person() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.receiver.script([Reply::AtGate(204)]);
    rig.postman.script([Manner::SilentAfterMail]);
    let worker = rig.start_with(rig.settings(), |consumer| consumer.grace = Duration::ZERO);
    rig.relay().await;
    rig.receiver.wait_calls(1).await;
    rig.postman.wait_mails(1).await;
    assert_eq!(worker.drain().await, Ended::GraceOver);
    rig.receiver.open_gate();
    rig.sql("update relay.inbox set due_at = now() where state = 'claimed'").await;

    let worker = rig.start();
    rig.wait_stalled(id, MAIL).await;
    rig.wait_entry(id, WEBHOOK, "succeeded").await;
    rig.wait_idle().await;
    assert_eq!((rig.receiver.calls().len(), rig.postman.connections()), (2, 1));
    assert_eq!(rig.entry(id, MAIL).await, ("unknown".to_owned(), true));
    let said = rig.notification(id, 1, "shipped").await;
    assert!(said.as_deref().is_some_and(|said| said.starts_with("unknown: the worker")), "{said:?}");
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_work_order_dies_and_harms_nobody() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    let worker = rig.start();
    let nobody = uuid::Uuid::new_v4();
    for payload in [
        "{}".to_owned(),
        format!(r#"{{"shipment_id":"{id}","step":"notify","subject":"case/1","task":1}}"#),
        format!(r#"{{"shipment_id":"{id}","step":"buy_label","subject":"mail/1","task":1}}"#),
        format!(r#"{{"shipment_id":"{nobody}","step":"notify","subject":"mail/1","task":1}}"#),
    ] {
        rig.publish(uuid::Uuid::new_v4().to_string(), 1, id.to_string(), payload.as_bytes()).await;
    }
    wait::until("they are dead", wait::LONG, async || {
        rig.base.one::<i64>("select count(*) from relay.inbox where state = 'dead'").await == 4
    })
    .await;
    let reasons: String =
        rig.base.one("select string_agg(distinct reason, ' ' order by reason) from relay.inbox").await;
    assert_eq!(reasons, "invalid_work_order unknown_shipment");
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "succeeded").await;
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_order_that_dies_leaves_its_entry_failed_with_the_reason() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.sql(&format!("revoke select on shipping.cases from {0}; grant select (shipment_id, case_no, tracking_rank, tracking_status) on shipping.cases to {0}", rig.role)).await;
    let worker = rig.start_with(rig.settings(), |consumer| consumer.retry.max_attempts = 2);
    rig.relay().await;
    rig.wait_entry(id, MAIL, "failed").await;
    rig.wait_entry(id, WEBHOOK, "failed").await;
    let error: String = rig.base.one("select last_error from shipping.steps where subject = 'mail/1'").await;
    assert_eq!(error, "the work order died (exhausted); relay's dead letters have it");
    assert_eq!((rig.receiver.calls().len(), rig.postman.connections()), (0, 0));
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_is_gone_is_nobody_to_tell() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.sql("delete from shipping.parties where party_no = 2").await;
    let mut settings = rig.settings();
    settings.mail = None;
    let worker = rig.start_with(settings, |_| {});
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "failed").await;
    rig.wait_entry(id, MAIL, "failed").await;
    let errors: String = rig
        .base
        .one("select string_agg(last_error, '; ' order by subject) from shipping.steps where step = 'notify'")
        .await;
    assert_eq!(errors, "no mail server is configured; the order has no such party any more");
    wait::throughout("nobody is told", QUIET, async || rig.receiver.calls().is_empty()).await;
    rig.end(worker).await;
}
