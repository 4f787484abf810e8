//! When an endpoint is not called any more.

use std::time::Duration;

use relay::shipping::{
    notify::{NotifySettings, schedule::Schedule},
    saga::Input,
    shipment::Standing,
};

use crate::{
    receiver::{QUIET, Reply},
    rig::{Rig, WEBHOOK},
    support::wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_disabled_and_not_called_again() {
    let mut rig = Rig::new().await;
    let (first, second) = (rig.shipped().await, rig.shipped().await);
    rig.receiver.script([Reply::AtGate(410)]);
    let worker = rig.start_with(rig.settings(), |consumer| consumer.workers = 1);
    rig.relay().await;
    rig.receiver.wait_calls(1).await;
    rig.receiver.open_gate();
    rig.wait_entry(first, WEBHOOK, "failed").await;
    rig.wait_entry(second, WEBHOOK, "failed").await;
    assert_eq!(rig.receiver.calls().len(), 1);
    assert_eq!(rig.disabled().await.as_deref(), Some("it answered 410"));
    assert_eq!(rig.delivery(first).await, ("failed".to_owned(), 1, Some(410)));
    let problem = "failed: the endpoint is disabled: it answered 410";
    assert_eq!(rig.notification(second, 2, "shipped").await.as_deref(), Some(problem));
    for id in [first, second] {
        assert_eq!(rig.base.shipment(id).await.standing, Standing::Shipped);
    }

    // Its owner enables it again, and an operator has the second one told.
    rig.sql("update shipping.webhook_endpoints set disabled_at = null, disabled_reason = null").await;
    rig.input(second, Input::Retry(WEBHOOK)).await;
    rig.relay().await;
    rig.wait_entry(second, WEBHOOK, "succeeded").await;
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_its_owner_changed_meanwhile_is_not_disabled() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.receiver.script([Reply::AtGate(410)]);
    let worker = rig.start();
    rig.relay().await;
    rig.receiver.wait_calls(1).await;
    rig.sql("update shipping.webhook_endpoints set url = url || '/new', version = version + 1").await;
    rig.receiver.open_gate();
    rig.wait_entry(id, WEBHOOK, "failed").await;
    assert_eq!(rig.disabled().await, None);
    rig.end(worker).await;
}

/// What nothing reached for days is disabled; a delivery in these days keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_failed_for_days_is_disabled_unless_something_reached_it() {
    for reached in [false, true] {
        let mut rig = Rig::new().await;
        let (early, late) = (rig.shipped().await, rig.shipped().await);
        let schedule = Schedule::new(vec![Duration::from_millis(10)]).unwrap();
        let worker = rig.start_with(NotifySettings { schedule, ..rig.settings() }, |consumer| {
            consumer.workers = 1;
        });
        rig.relay_of(early).await;
        rig.wait_entry(early, WEBHOOK, "succeeded").await;
        let finished = if reached { "1 hour" } else { "5 days" };
        rig.sql(&format!(
            "update shipping.deliveries set created_at = now() - interval '6 days', finished_at = now() - interval '{finished}'"
        ))
        .await;
        rig.receiver.script([Reply::AtGate(500), Reply::Status(500)]);
        rig.relay_of(late).await;
        rig.receiver.wait_calls(2).await;
        // As if this were the end of the schedule's three days.
        rig.sql(
            "update shipping.deliveries set created_at = now() - interval '4 days' where state = 'pending'",
        )
        .await;
        rig.receiver.open_gate();
        rig.wait_entry(late, WEBHOOK, "failed").await;
        let reason = rig.disabled().await;
        assert_eq!(reason.is_some(), !reached, "{reason:?}");
        if let Some(reason) = reason {
            assert_eq!(reason, "nothing has reached it for 3days; the last: the endpoint answered 500");
        }
        rig.end(worker).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_does_not_take_every_worker() {
    let mut rig = Rig::new().await;
    let slow = [rig.shipped().await, rig.shipped().await, rig.shipped().await];
    rig.receiver.script(vec![Reply::AtGate(204); 3]);
    let worker = rig.start_with(rig.settings(), |consumer| consumer.workers = 3);
    rig.relay().await;
    rig.receiver.wait_calls(2).await;
    // The mails of all three go through, by the one worker that is left.
    rig.postman.wait_mails(3).await;
    wait::throughout("the third call waits", QUIET, async || rig.receiver.calls().len() == 2).await;
    for _ in 0..3 {
        rig.receiver.open_gate();
    }
    for id in slow {
        rig.wait_entry(id, WEBHOOK, "succeeded").await;
    }
    rig.end(worker).await;
}
