//! What a receiver gets, and when.

use std::time::Duration;

use relay::shipping::{
    notify::{NotifySettings, schedule::Schedule, webhook::WebhookSettings},
    saga::Input,
    shipment::Standing,
};

use crate::{
    receiver::{QUIET, Reply},
    rig::{MAIL, Rig, SECRET, WEBHOOK},
    support::wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_party_is_told_once_however_often_the_order_comes() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    let worker = rig.start();
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "succeeded").await;
    rig.wait_entry(id, MAIL, "succeeded").await;
    rig.relay_again().await;
    rig.wait_idle().await;
    wait::until("the repetitions are dealt with", wait::LONG, async || {
        worker.count("duplicate") >= 2 && worker.count("done") >= 4
    })
    .await;

    let calls = rig.receiver.calls();
    assert_eq!((calls.len(), rig.postman.mails().len()), (1, 1));
    assert!(calls[0].signed_by(&SECRET));
    assert_eq!(calls[0].header("content-type"), "application/json");
    let stored: Vec<u8> = rig.base.one("select body from shipping.notifications where party_no = 2").await;
    assert_eq!(calls[0].body, stored);
    let known: String =
        rig.base.one("select notification_id::text from shipping.notifications where party_no = 2").await;
    assert_eq!(calls[0].id(), known);
    let told = calls[0].json();
    assert_eq!(told["type"], "shipment.shipped");
    assert_eq!(told["data"]["shipment_id"], id.to_string());
    assert_eq!(told["data"]["order_id"], "17");
    assert_eq!(told["data"]["cases"][0]["tracking_code"], format!("{id}1"));

    assert_eq!(rig.notification(id, 1, "shipped").await.as_deref(), Some("sent"));
    assert_eq!(rig.notification(id, 2, "shipped").await.as_deref(), Some("sent"));
    assert_eq!(rig.delivery(id).await, ("delivered".to_owned(), 1, Some(204)));
    // The trace of the order goes on in what was announced.
    let traced: i64 = rig
        .base
        .one("select count(*) from relay.outbox where event_type = 'notified' and headers ? 'traceparent'")
        .await;
    assert_eq!(traced, 2);
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_sends_the_same_bytes_under_the_same_id_with_a_signature_of_its_own() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.receiver.script([Reply::Status(500), Reply::Status(404), Reply::Status(503)]);
    let worker = rig.start();
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "succeeded").await;
    let calls = rig.receiver.calls();
    assert_eq!(calls.len(), 4);
    for call in &calls {
        assert_eq!((call.id(), &call.body), (calls[0].id(), &calls[0].body));
        assert!(call.signed_by(&SECRET));
    }
    assert_eq!(rig.delivery(id).await, ("delivered".to_owned(), 4, Some(204)));
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn during_a_rotation_both_secrets_sign_and_after_it_the_new_one_alone() {
    let mut rig = Rig::new().await;
    let (first, second) = (rig.shipped().await, rig.shipped().await);
    let rotate = "update shipping.webhook_endpoints set previous_secret = secret, version = version + 1,
                  secret = decode(repeat('cd', 24), 'hex'), previous_until = now() + interval '1 hour'";
    rig.sql(rotate).await;
    let worker = rig.start();
    rig.relay_of(first).await;
    rig.wait_entry(first, WEBHOOK, "succeeded").await;
    rig.sql("update shipping.webhook_endpoints set previous_until = now()").await;
    rig.relay_of(second).await;
    rig.wait_entry(second, WEBHOOK, "succeeded").await;
    let calls = rig.receiver.calls();
    let signed = |secret: &[u8]| [calls[0].signed_by(secret), calls[1].signed_by(secret)];
    assert_eq!(signed(&[0xcd; 24]), [true, true]);
    assert_eq!(signed(&SECRET), [true, false]);
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_for_time_is_given_it() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.receiver.script([Reply::With(429, "retry-after", "3600".to_owned())]);
    let worker = rig.start();
    rig.relay().await;
    rig.receiver.wait_calls(1).await;
    wait::until("the next attempt is in an hour", wait::LONG, async || {
        let sql = "select count(*) = 1 from shipping.deliveries where state = 'pending' and last_status = 429
                   and next_attempt_at between now() + interval '59 minutes' and now() + interval '60 minutes'";
        rig.base.one::<bool>(sql).await
    })
    .await;
    let due = "select count(*) from relay.inbox where state = 'retrying' and due_at > now() + interval '59 minutes'";
    assert_eq!(rig.base.one::<i64>(due).await, 1);
    assert_eq!(rig.entry(id, WEBHOOK).await.0, "pending");
    assert_eq!(worker.notify.troubled_endpoints(), 1, "and its others wait as well");
    wait::throughout("nothing more is sent", QUIET, async || rig.receiver.calls().len() == 1).await;
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    let elsewhere = format!("http://{}/elsewhere", rig.receiver.address);
    rig.receiver
        .script([Reply::With(302, "location", elsewhere.clone()), Reply::With(307, "location", elsewhere)]);
    let worker = rig.start();
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "succeeded").await;
    let paths: Vec<String> = rig.receiver.calls().into_iter().map(|call| call.path).collect();
    assert_eq!(paths, ["/hook", "/hook", "/hook"]);
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_too_slow_is_called_again_under_the_same_id() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.receiver.script([Reply::Silence]);
    let settings = rig.settings();
    let webhooks = WebhookSettings { deadline: Duration::from_millis(500), ..settings.webhooks.clone() };
    let worker = rig.start_with(NotifySettings { webhooks, ..settings }, |_| {});
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "succeeded").await;
    let calls = rig.receiver.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!((calls[0].id(), &calls[0].body), (calls[1].id(), &calls[1].body));
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_failed_often_enough_fails_alone_and_an_operator_may_have_it_sent_again() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.receiver.script([500, 500, 500, 500].map(Reply::Status));
    let worker = rig.start();
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "failed").await;
    rig.wait_entry(id, MAIL, "succeeded").await;
    assert_eq!(rig.base.shipment(id).await.standing, Standing::Shipped, "nothing is undone");
    assert_eq!(rig.delivery(id).await, ("failed".to_owned(), 4, Some(500)));
    let problem = "failed: the endpoint answered 500";
    assert_eq!(rig.notification(id, 2, "shipped").await.as_deref(), Some(problem));
    assert_eq!(rig.disabled().await, None, "it failed for a moment only");
    rig.wait_idle().await;

    rig.input(id, Input::Retry(WEBHOOK)).await;
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "succeeded").await;
    let calls = rig.receiver.calls();
    assert_eq!(calls.len(), 5);
    assert_eq!((calls[0].id(), &calls[0].body), (calls[4].id(), &calls[4].body));
    assert_eq!(rig.delivery(id).await, ("delivered".to_owned(), 5, Some(204)));
    assert!(rig.notification(id, 2, "shipped").await.is_some_and(|said| said.starts_with("sent")));
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_holds_webhooks_and_charges_nobody_and_other_parties_are_told() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.receiver.script(vec![Reply::Status(503); 5]);
    let schedule = Schedule::new(vec![Duration::from_millis(20); 9]).unwrap();
    let worker = rig.start_with(NotifySettings { schedule, ..rig.settings() }, |_| {});
    rig.relay().await;
    wait::until("the breaker is open", wait::LONG, async || worker.notify.troubled_endpoints() == 1).await;
    wait::until("the webhook is held", wait::LONG, async || worker.count("held_back") >= 1).await;
    let attempts = async || rig.base.shipment(id).await.entry(WEBHOOK).unwrap().attempts;
    assert_eq!((rig.receiver.calls().len(), attempts().await), (5, 5));
    rig.wait_entry(id, MAIL, "succeeded").await;
    // Its time is over, and the receiver is well again.
    rig.wait_entry(id, WEBHOOK, "succeeded").await;
    assert_eq!((rig.receiver.calls().len(), attempts().await), (6, 6));
    assert_eq!(worker.notify.troubled_endpoints(), 0);
    rig.end(worker).await;
}
