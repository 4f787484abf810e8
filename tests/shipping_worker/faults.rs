//! The carrier misbehaves.

use std::time::Duration;

use relay::shipping::step::Step;

use crate::{
    rig::{BAD, Rig},
    support::wait,
};

/// One shipment of two cases, while the carrier misbehaves so; it must be shipped with two labels all the same.
async fn ships_in_spite_of(rule: &str) -> Rig {
    let rig = Rig::new().await;
    let _worker = rig.worker().ready().await;
    rig.sim.rule(rule).await;
    let id = rig.shipment(2).await;
    rig.wait_state(id, "shipped").await;
    rig.check().await;
    assert_eq!(rig.sold().await, 2, "{rule}");
    rig
}

async fn entered_unknown(rig: &Rig) -> i64 {
    // Nothing but a look-up is counted as a check before anything is undone.
    rig.database.number("select coalesce(sum(checks), 0) from shipping.steps where step = 'buy_label'").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_whose_answer_is_lost_is_looked_up() {
    let rig = ships_in_spite_of(r#"{"route": "buy", "answer": "lost", "times": 1}"#).await;
    assert!(entered_unknown(&rig).await > 0, "nothing was looked up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_was_done_and_answered_with_500_is_looked_up() {
    let rig = ships_in_spite_of(r#"{"route": "buy", "answer": "status", "status": 500, "times": 2}"#).await;
    assert!(entered_unknown(&rig).await > 0, "nothing was looked up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_was_not_done_and_answered_with_500_is_made_once_the_carrier_has_settled() {
    let rule = r#"{"route": "buy", "work": false, "answer": "status", "status": 500, "times": 2}"#;
    let rig = ships_in_spite_of(rule).await;
    assert!(entered_unknown(&rig).await > 0, "nothing was looked up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_whose_answer_is_lost_is_found_by_our_reference() {
    let rig = ships_in_spite_of(r#"{"route": "create", "answer": "lost", "times": 2}"#).await;
    let created = rig.sim.ledger().await["counts"]["created"].as_u64();
    assert_eq!(created, Some(2), "what was created is used");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_reset_or_garbled_are_no_answers() {
    for answer in ["reset", "reset_midway", "bad_json", "error_json", "short"] {
        ships_in_spite_of(&format!(r#"{{"route": "buy", "answer": "{answer}", "times": 1}}"#)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_that_asks_for_time_gets_it_and_nobody_is_charged() {
    let rule = r#"{"route": "buy", "work": false, "answer": "status", "status": 429, "retry_after": "1", "times": 2}"#;
    let rig = ships_in_spite_of(rule).await;
    let sql = "select max(attempts) from shipping.steps where step = 'buy_label'";
    let most: i32 = rig.database.query(sql, &[]).await[0].get(0);
    assert_eq!((most, entered_unknown(&rig).await), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_carrier_is_down_work_is_held_and_nothing_is_charged() {
    let mut rig = Rig::new().await;
    let worker = rig.worker().ready().await;
    rig.sim.kill();
    let ids = [rig.shipment(1).await, rig.shipment(2).await, rig.shipment(1).await];
    let open = |state: f64| state > 0.0;
    worker.wait_metric("relay_breaker_state", &["target=\"carrier\""], wait::LONG, open).await;
    let held = &["consumer=\"shipping.address\"", "result=\"held_back\""];
    worker.wait_metric("relay_consumer_processed_total", held, wait::LONG, |count| count >= 8.0).await;
    for id in ids {
        assert_eq!(rig.state(id).await, "accepted");
        wait::until("nothing is charged", wait::LONG, async || {
            rig.entry(id, Step::ValidateAddress, "shipment", "attempts").await == "0"
        })
        .await;
    }
    rig.sim.restart();
    for id in ids {
        rig.wait_state(id, "shipped").await;
    }
    worker
        .wait_metric("relay_breaker_state", &["target=\"carrier\""], wait::LONG, |state| state == 0.0)
        .await;
    rig.check().await;
    assert_eq!(rig.sold().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_refused_fails_the_shipment_and_gives_back_what_it_reserved() {
    let rig = Rig::new().await;
    let _worker = rig.worker().ready().await;
    rig.order("17").await;
    let id = rig.accept("17", 2, BAD).await;
    rig.wait_state(id, "failed").await;
    rig.check().await;
    assert_eq!(rig.sold().await, 0);
    assert_eq!(rig.database.number("select reserved::bigint from shipping.order_lines").await, 0);
    let error = rig.entry(id, Step::ValidateAddress, "shipment", "last_error").await;
    assert!(error.contains("ADDRESS.VERIFY.FAILURE"), "{error}");
    // An address that makes no sense is not even sent.
    let id = rig.accept("17", 1, "{}").await;
    rig.wait_state(id, "failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_is_refused_undoes_the_one_that_was_bought() {
    let rig = Rig::new().await;
    let _worker = rig.worker().ready().await;
    let refuse =
        r#"{"route": "buy", "work": false, "answer": "status", "status": 422, "skip": 1, "times": 1}"#;
    rig.sim.rule(refuse).await;
    let id = rig.shipment(2).await;
    rig.wait_state(id, "failed").await;
    rig.check().await;
    assert_eq!(rig.sim.ledger().await["counts"]["refund_refunded"], 1);
    assert_eq!(rig.database.number("select reserved::bigint from shipping.order_lines").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_that_never_answers_a_look_up_leaves_a_shipment_that_says_so() {
    let rig = Rig::new().await;
    let _worker = rig.worker().env("SHIPMENTS_CHECKS", "2").ready().await;
    let rules = r#"{"rules": [{"route": "buy", "answer": "reset", "times": 1},
                              {"route": "retrieve", "work": false, "answer": "status", "status": 500}]}"#;
    rig.sim.script(rules).await;
    let id = rig.shipment(1).await;
    rig.wait_state(id, "needs_attention").await;
    rig.sim.behave().await;
    assert_eq!(rig.sold().await, 1);
    let retry = ["retry", &id.to_string(), "buy_label", "case/1", "--reason", "it is back", "--yes"];
    let retried = rig.shipments(&retry);
    assert_eq!(retried.code, Some(0), "{}", retried.stderr);
    rig.wait_state(id, "shipped").await;
    rig.check().await;
    assert_eq!(rig.sold().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_that_flaps_sells_each_label_once() {
    let rig = Rig::new().await;
    let _worker = rig.worker().ready().await;
    let rules = r#"{"rules": [{"route": "buy", "answer": "reset", "probability": 0.4, "times": 12},
                              {"route": "create", "answer": "lost", "probability": 0.3, "times": 6},
                              {"route": "any", "work": false, "answer": "status", "status": 503, "probability": 0.2, "times": 20}]}"#;
    rig.sim.script(rules).await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(rig.shipment(2).await);
    }
    for id in ids {
        wait::until("it is at rest", 3 * wait::LONG, async || {
            matches!(rig.state(id).await.as_str(), "shipped" | "failed" | "needs_attention")
        })
        .await;
    }
    // Whatever became of each, the account is right.
    wait::throughout("the account", Duration::from_millis(100), async || true).await;
    rig.check().await;
}
