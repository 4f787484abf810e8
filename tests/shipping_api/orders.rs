//! Orders: added once, changed by whoever has seen the latest version, within what shipments leave of them.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    client::Answer,
    rig::{Api, Rig, apples, order},
};

async fn put(api: &Api, headers: &[(&str, &str)], body: &Value) -> Answer {
    api.ask("PUT", "/orders/17", headers, body.to_string().as_bytes()).await
}

#[tokio::test]
async fn an_order_is_added_once_and_a_repeated_request_finds_that_it_was() {
    let rig = Rig::new().await;
    let api = rig.start().await;
    api.wait_ready().await;
    let first = put(&api, &[("if-none-match", "*")], &order()).await;
    assert_eq!(
        (first.status, first.header("etag"), first.header("location")),
        (201, Some("\"1\""), Some("/orders/17"))
    );
    assert_eq!(put(&api, &[], &order()).await.status, 200);
    put(&api, &[("if-none-match", "*")], &order()).await.is_problem(412, "precondition-failed");
    let mut other = order();
    other["lines"][0]["ordered"] = json!(5);
    put(&api, &[], &other).await.is_problem(428, "precondition-required");
    assert_eq!(rig.db.number("select version from shipping.orders").await, 1);
    assert_eq!(rig.db.number("select count(*) from relay.outbox").await, 1, "placed");
    let missing =
        api.ask("PUT", "/orders/18", &[("if-match", "\"1\"")], order().to_string().as_bytes()).await;
    missing.is_problem(412, "precondition-failed");
}

#[tokio::test]
async fn of_changes_to_one_version_one_is_done() {
    let rig = Rig::new().await;
    let api = Arc::new(rig.ready().await);
    let mut changes = JoinSet::new();
    for number in 1..=10 {
        let api = Arc::clone(&api);
        let mut body = order();
        body["lines"][1]["ordered"] = json!(100 + number);
        changes.spawn(async move { put(&api, &[("if-match", "\"1\"")], &body).await.status });
    }
    let mut told = changes.join_all().await;
    told.sort_unstable();
    assert_eq!(told, [[200].as_slice(), &[412; 9]].concat());
    assert_eq!(rig.db.number("select version from shipping.orders").await, 2);
    let changed = "select count(*) from relay.outbox where event_type = 'changed'";
    assert_eq!(rig.db.number(changed).await, 1);
}

#[tokio::test]
async fn what_shipments_have_taken_on_stays_ordered() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    api.keyed("/shipments", "k", &apples(7)).await;
    let places = |answer: &Answer| -> Vec<String> {
        let body = answer.json();
        let errors = body["errors"].as_array().unwrap();
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    };
    let mut wanted = order();
    wanted["lines"][0] = json!({"sku": "plum", "ordered": 6, "unit_price_minor": 1});
    wanted["currency"] = json!("USD");
    wanted["parties"] = json!([]);
    let answer = put(&api, &[("if-match", "\"1\"")], &wanted).await;
    answer.is_problem(409, "order-conflict");
    assert_eq!(
        places(&answer),
        ["/currency", "/lines/0/ordered", "/lines/0/sku", "/lines/0/unit_price_minor", "/parties"]
    );
    let mut wanted = order();
    wanted["lines"][0]["ordered"] = json!(7);
    wanted["lines"][1] = json!({"sku": "plum", "ordered": 9, "unit_price_minor": 1});
    wanted["parties"] = json!([{"role": "customer", "mail": "ada@example.org"}, {"role": "other", "mail": "bob@example.org"}]);
    wanted["lines"].as_array_mut().unwrap().push(json!({"sku": "fig", "ordered": 1, "unit_price_minor": 3}));
    let answer = put(&api, &[("if-match", "\"1\"")], &wanted).await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"2\"")), "{answer:?}");
    assert_eq!(
        put(&api, &[("if-match", "\"2\"")], &wanted).await.header("etag"),
        Some("\"2\""),
        "it is so already"
    );
    api.keyed("/shipments", "l", &apples(1)).await.is_problem(409, "not-enough-left");
    // A ledger from before knows the customer by her number; she is told at her new address.
    let told: String =
        rig.db.query("select mail from shipping.parties where party_no = 1", &[]).await[0].get(0);
    assert_eq!(told, "ada@example.org");
}

#[tokio::test]
async fn an_order_is_shown_as_its_events_told_it_and_as_it_is_where_they_did_not() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let shown = api.get("/orders/17").await;
    assert_eq!((shown.header("etag"), &shown.json()["lines"][1]["ordered"]), (Some("\"1\""), &json!(4)));
    // As the consumer of the orders' events does.
    let take_in = "insert into shipping.order_views (order_id, version, body, updated_at)
                   select 'X', 1, payload, '2026-01-01T00:00:00Z' from relay.outbox where event_type = 'placed'"
        .replace("'X'", "'17'");
    rig.db.execute(&take_in, &[]).await;
    let mut wanted = order();
    wanted["lines"][1]["ordered"] = json!(5);
    assert_eq!(put(&api, &[("if-match", "\"1\"")], &wanted).await.status, 200);
    let lagging = api.get("/orders/17").await;
    assert_eq!((lagging.header("etag"), &lagging.json()["lines"][1]["ordered"]), (Some("\"1\""), &json!(4)));
    assert!(lagging.json()["as_of"].as_str().unwrap().starts_with("2026-01-01"));
    let fresh = api.get("/orders/17?min_version=2").await;
    assert_eq!((fresh.header("etag"), &fresh.json()["lines"][1]["ordered"]), (Some("\"2\""), &json!(5)));
    let keys = |answer: &Answer| answer.json().as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&lagging), keys(&fresh), "both have one shape");
    assert_eq!(api.ask("GET", "/orders/17", &[("if-none-match", "\"1\"")], b"").await.status, 304);
    api.get("/orders/18").await.is_problem(404, "not-found");
    api.get("/orders/17?min_version=x").await.is_problem(400, "invalid-parameter");
}

#[tokio::test]
async fn an_order_names_only_webhook_endpoints_of_its_callers() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let endpoint = api.post("/webhook-endpoints", &json!({"url": "https://hooks.example/x"})).await.json();
    let mut wanted = order();
    let party = json!({"role": "other", "endpoint_id": endpoint["endpoint_id"]});
    wanted["parties"].as_array_mut().unwrap().push(party);
    let desk = [("if-match", "\"1\""), ("authorization", crate::rig::DESK)];
    let answer = put(&api, &desk, &wanted).await;
    answer.is_problem(422, "invalid-body");
    assert_eq!(answer.json()["errors"][0]["pointer"], "/parties/1/endpoint_id");
    assert_eq!(put(&api, &[("if-match", "\"1\"")], &wanted).await.status, 200);
    // What the order names already, others may leave as it is.
    wanted["lines"][1]["ordered"] = json!(9);
    let desk = [("if-match", "\"2\""), ("authorization", crate::rig::DESK)];
    assert_eq!(put(&api, &desk, &wanted).await.status, 200);
}
