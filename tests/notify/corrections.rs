//! Telling those who were told that it was cancelled.

use relay::shipping::shipment::Standing;

use crate::{
    postman::Manner,
    receiver::Reply,
    rig::{MAIL, Rig, SECRET, WEBHOOK},
};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_told_is_told_of_the_cancellation_as_well() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    let worker = rig.start();
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "succeeded").await;
    rig.wait_entry(id, MAIL, "succeeded").await;
    rig.cancel(id).await;
    rig.receiver.script([Reply::Status(500)]);
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "compensated").await;
    rig.wait_entry(id, MAIL, "compensated").await;
    rig.relay_again().await;
    rig.wait_idle().await;

    let calls = rig.receiver.calls();
    let kinds: Vec<_> = calls.iter().map(|call| call.json()["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["shipment.shipped", "shipment.corrected", "shipment.corrected"]);
    assert_ne!(calls[0].id(), calls[1].id());
    assert_eq!((calls[1].id(), &calls[1].body), (calls[2].id(), &calls[2].body));
    assert!(calls.iter().all(|call| call.signed_by(&SECRET)));
    let mails = rig.postman.mails();
    let subjects: Vec<&str> = mails.iter().map(|mail| mail.header("Subject")).collect();
    assert_eq!(subjects, ["Order 17 is on its way", "Order 17: a shipment was cancelled"]);
    for party in [1, 2] {
        assert!(rig.notification(id, party, "corrected").await.is_some_and(|said| said.starts_with("sent")));
    }
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_not_told_is_not_told_of_the_cancellation_either() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.postman.script([Manner::Recipient("550 5.1.1 nobody")]);
    rig.receiver.script([Reply::Status(410)]);
    let worker = rig.start();
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "failed").await;
    rig.wait_entry(id, MAIL, "failed").await;
    rig.cancel(id).await;
    rig.relay().await;
    rig.wait_idle().await;
    assert_eq!((rig.receiver.calls().len(), rig.postman.connections()), (1, 1));
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_to_be_tried_again_when_it_was_cancelled_is_given_up_visibly() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.postman.script([Manner::Recipient("450 4.2.0 greylisted")]);
    rig.receiver.script([Reply::Status(500)]);
    let mut settings = rig.settings();
    settings.schedule = "1h".parse().unwrap();
    let worker = rig.start_with(settings, |_| {});
    rig.relay().await;
    rig.wait_notification(id, 1, "pending: ").await;
    rig.wait_notification(id, 2, "pending: ").await;
    rig.cancel(id).await;
    rig.sql("update relay.inbox set due_at = now() where state = 'retrying'").await;
    rig.wait_idle().await;
    for party in [1, 2] {
        let said = rig.notification(id, party, "shipped").await;
        assert_eq!(said.as_deref(), Some("failed: the shipment was undone before it was told"));
    }
    assert_eq!((rig.receiver.calls().len(), rig.postman.connections()), (1, 1));
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_that_fails_is_visible_and_holds_nothing_up() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    let worker = rig.start();
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "succeeded").await;
    rig.wait_entry(id, MAIL, "succeeded").await;
    rig.cancel(id).await;
    rig.postman.script([Manner::DropsAfterMail]);
    rig.receiver.script(vec![Reply::Status(500); 4]);
    rig.relay().await;
    rig.wait_stalled(id, WEBHOOK).await;
    rig.wait_stalled(id, MAIL).await;
    let said = [rig.notification(id, 1, "corrected").await, rig.notification(id, 2, "corrected").await];
    assert!(said[0].as_deref().is_some_and(|said| said.starts_with("unknown: ")), "{said:?}");
    assert_eq!(said[1].as_deref(), Some("failed: the endpoint answered 500"));
    assert_eq!(rig.base.shipment(id).await.standing, Standing::Cancelled);
    rig.end(worker).await;
}
