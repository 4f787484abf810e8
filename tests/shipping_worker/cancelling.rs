//! Cancellations: everything is undone, in reverse.

use relay::shipping::step::Step;

use crate::{rig::Rig, support::wait};

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_shipment_is_refunded_credited_and_no_longer_fulfilled() {
    let rig = Rig::new().await;
    let worker = rig.worker().ready().await;
    let id = rig.shipment(2).await;
    rig.wait_state(id, "shipped").await;
    // It takes the carrier a while.
    rig.sim.script(r#"{"refunds": {"outcome": "refunded", "after_ms": 600}}"#).await;
    rig.cancel(id).await;
    wait::until("the refunds are submitted", wait::LONG, async || {
        rig.database.number("select count(*) from shipping.cases where refund = 'submitted'").await > 0
    })
    .await;
    assert_eq!(rig.state(id).await, "cancelling");
    rig.wait_state(id, "cancelled").await;
    rig.check().await;
    assert_eq!(rig.database.number("select count(*) from shipping.credit_notes").await, 1);
    let sql = "select count(*) from shipping.order_lines where shipped = 0 and reserved = 0";
    assert_eq!(rig.database.number(sql).await, 1);
    assert_eq!(rig.sim.ledger().await["counts"]["refund_refunded"], 2);
    let done = &["step=\"buy_label\"", "result=\"done\""];
    assert_eq!(worker.metric("relay_compensations_total", done), 2.0);
    assert_eq!(rig.entry(id, Step::BuyLabel, "case/1", "checks").await, "1", "waiting is charged to nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_whose_answer_is_lost_is_asked_about() {
    let rig = Rig::new().await;
    let _worker = rig.worker().ready().await;
    let id = rig.shipment(1).await;
    rig.wait_state(id, "shipped").await;
    rig.sim.rule(r#"{"route": "refund", "answer": "reset", "times": 1}"#).await;
    rig.cancel(id).await;
    rig.wait_state(id, "cancelled").await;
    rig.check().await;
    assert_eq!(rig.sim.ledger().await["refunds"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_that_overtakes_its_labels_voids_whatever_was_bought() {
    let rig = Rig::new().await;
    let _worker = rig.worker().ready().await;
    rig.sim.rule(r#"{"route": "buy", "answer": "right", "delay_ms": 500}"#).await;
    let id = rig.shipment(3).await;
    wait::until("a label is being bought", wait::LONG, async || {
        let sql = "select count(*) from shipping.steps where step = 'buy_label' and state = 'running'";
        rig.database.number(sql).await > 0
    })
    .await;
    rig.cancel(id).await;
    rig.wait_state(id, "cancelled").await;
    rig.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_is_rejected_waits_for_an_operator_who_says_what_happened() {
    let rig = Rig::new().await;
    let _worker = rig.worker().ready().await;
    let id = rig.shipment(1).await;
    rig.wait_state(id, "shipped").await;
    rig.sim.script(r#"{"refunds": {"outcome": "rejected"}}"#).await;
    rig.cancel(id).await;
    rig.wait_state(id, "needs_attention").await;
    let house = rig.worker().only("fulfilment").env("SHIPMENTS_SWEEP_AFTER", "1s").ready().await;
    house
        .wait_metric("relay_shipments_needing_attention", &[], wait::LONG, |shipments| shipments == 1.0)
        .await;
    drop(house);

    let listed = rig.shipments(&["list", "--state", "needs_attention"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    assert!(
        listed.stdout.contains(&id.to_string()) && listed.stdout.contains("buy_label case/1"),
        "{}",
        listed.stdout
    );
    let shown = rig.shipments(&["show", &id.to_string()]);
    assert!(shown.stdout.contains("rejected the refund"), "{}", shown.stdout);

    // Tried again, it is rejected again.
    let again = ["retry", &id.to_string(), "buy_label", "case/1", "--reason", "called them", "--yes"];
    assert_eq!(rig.shipments(&again).code, Some(0));
    wait::until("it was asked for twice", wait::LONG, async || {
        rig.entry(id, Step::BuyLabel, "case/1", "task").await == "3"
            && rig.entry(id, Step::BuyLabel, "case/1", "stalled").await == "true"
    })
    .await;

    let done =
        ["resolve", &id.to_string(), "buy_label", "case/1", "done", "--reason", "refunded by hand", "--yes"];
    let resolved = rig.shipments(&done);
    assert_eq!(resolved.code, Some(0), "{}", resolved.stderr);
    rig.wait_state(id, "cancelled").await;
    rig.wait_quiet().await;
    let sql = "select string_agg(action || ' ' || reason, ', ' order by act_id) from shipping.acts";
    let acts: String = rig.database.query(sql, &[]).await[0].get(0);
    assert_eq!(acts, "retry called them, resolve refunded by hand");
    // The carrier still has the money, and the account says so.
    let violations = rig.violations().await;
    assert!(
        violations.iter().all(|violation| violation.contains("its label was not refunded")),
        "{violations:?}"
    );
    assert_eq!(violations.len(), 1);
}
