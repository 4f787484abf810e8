//! Workers that die at every boundary of every step. One label a case, whatever happens; and the tables agree.

use crate::{rig::Rig, support::wait};

/// Ships a shipment of two cases with a worker that dies at this place, and another one after it. `cancelled`: once it is
/// shipped it is cancelled, and the worker dies over that.
async fn survives(place: &str, cancelled: bool) {
    let rig = Rig::new().await;
    let id = rig.shipment(2).await;
    if cancelled {
        let mut worker = rig.worker().ready().await;
        rig.wait_state(id, "shipped").await;
        rig.wait_quiet().await;
        worker.drain().await;
        rig.cancel(id).await;
    }
    let mut dying = rig.worker().env("SHIPMENTS_FAILPOINT", place).start().await;
    let status = dying.wait_exit(wait::LONG).await;
    assert!(!status.success(), "{place}: nothing died there");
    let _heir = rig.worker().ready().await;
    rig.wait_state(id, if cancelled { "cancelled" } else { "shipped" }).await;
    rig.check().await;
    assert_eq!(rig.sold().await, 2, "{place}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_over_an_address_leaves_it_to_another() {
    for place in [
        "validate_address.do.prepared",
        "validate_address.do.before",
        "validate_address.do.after",
        "validate_address.finish",
    ] {
        survives(place, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_before_it_buys_buys_nothing() {
    for place in ["buy_label.do.prepared", "buy_label.do.before", "buy_label.created", "buy_label.buy"] {
        survives(place, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_after_it_bought_is_followed_by_one_that_looks_it_up() {
    for place in ["buy_label.do.after", "buy_label.finish"] {
        survives(place, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_over_the_books_leaves_them_as_they_were() {
    for place in [
        "record_tracking.do.before",
        "record_tracking.do.after",
        "create_invoice.do.before",
        "create_invoice.do.after",
        "fulfil_order.do.before",
        "fulfil_order.do.after",
    ] {
        survives(place, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_while_a_shipment_is_undone_is_followed_by_one_that_undoes_it_once() {
    for place in [
        "fulfil_order.compensate.after",
        "create_invoice.compensate.before",
        "create_invoice.compensate.after",
        "buy_label.compensate.prepared",
        "buy_label.refund",
        "buy_label.compensate.after",
    ] {
        survives(place, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_killed_again_and_again_buy_each_label_once() {
    let rig = Rig::new().await;
    rig.sim.rule(r#"{"route": "buy", "answer": "right", "delay_ms": 30}"#).await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(rig.shipment(2).await);
    }
    let command = rig.worker();
    for round in 1..=4_u64 {
        let mut worker = command.start().await;
        // In the midst of it: another label is sold.
        wait::until("the carrier sells", wait::LONG, async || rig.sold().await >= 2 * round).await;
        worker.kill9();
    }
    let _last = command.ready().await;
    for id in ids {
        rig.wait_state(id, "shipped").await;
    }
    rig.check().await;
    assert_eq!(rig.sold().await, 12);
}
