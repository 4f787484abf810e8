//! How workers stop.

use relay::shipping::step::Step;

use crate::{
    rig::Rig,
    support::{relay::RelayProcess, wait},
};

/// A worker in the midst of buying a label, which takes the carrier so long.
async fn buying(rig: &Rig, delay_ms: u32, grace: &str) -> (RelayProcess, uuid::Uuid) {
    rig.sim.rule(&format!(r#"{{"route": "buy", "answer": "right", "delay_ms": {delay_ms}}}"#)).await;
    let worker = rig.worker().env("SHIPMENTS_CARRIER_TIMEOUT", "20s").env("SHIPMENTS_DEADLINE", "25s");
    let worker = worker.env("SHIPMENTS_GRACE", grace).ready().await;
    let id = rig.shipment(1).await;
    rig.wait_entry(id, Step::BuyLabel, "case/1", "running").await;
    wait::until("it is created there", wait::LONG, async || rig.sim.ledger().await["counts"]["created"] == 1)
        .await;
    (worker, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_a_worker_finishes_what_it_has_begun() {
    let rig = Rig::new().await;
    let (mut worker, id) = buying(&rig, 1000, "20s").await;
    worker.drain().await;
    assert_eq!(rig.sold().await, 1);
    assert_eq!(rig.entry(id, Step::BuyLabel, "case/1", "state").await, "succeeded");
    assert_eq!(rig.entry(id, Step::BuyLabel, "case/1", "checks").await, "0", "nobody has to look it up");
    let _heir = rig.worker().ready().await;
    rig.wait_state(id, "shipped").await;
    rig.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_not_done_when_the_grace_is_over_says_so() {
    let rig = Rig::new().await;
    let (mut worker, _) = buying(&rig, 15_000, "500ms").await;
    worker.signal("TERM");
    assert_eq!(worker.wait_exit(wait::LONG).await.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn told_twice_a_worker_stops_at_once() {
    let rig = Rig::new().await;
    let (mut worker, _) = buying(&rig, 15_000, "60s").await;
    worker.signal("TERM");
    worker.wait_log("draining").await;
    assert!(worker.is_running());
    worker.signal("TERM");
    assert_eq!(worker.wait_exit(wait::LONG).await.code(), Some(1));
}
