//! Reading, listing, waiting, batches and cancelling.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    rig::{DESK, Rig, apples},
    support::wait,
};

#[tokio::test]
async fn a_shipment_is_shown_with_its_ledger_and_its_tag() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let at = api.accepted("k").await;
    let shown = api.get(&at).await;
    let body = shown.json();
    assert_eq!(
        (shown.status, &body["state"], &body["requested_by"]),
        (200, &json!("accepted"), &json!("shop"))
    );
    let steps: Vec<String> = body["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| format!("{} {} {}", step["step"], step["subject"], step["state"]).replace('"', ""))
        .collect();
    assert_eq!(
        steps,
        [
            "validate_address shipment pending",
            "buy_label case/1 pending",
            "record_tracking shipment pending",
            "create_invoice shipment pending",
            "fulfil_order shipment pending",
            "notify mail/1 pending"
        ]
    );
    assert_eq!(body["cases"][0]["lines"], json!([{"line": 1, "quantity": 1}]));
    assert_eq!((&body["ship_to"]["city"], &body["invoice"]), (&json!("Springfield"), &Value::Null));

    let tag = shown.header("etag").unwrap();
    let same = api.ask("GET", &at, &[("if-none-match", &format!("\"x\", W/{tag}"))], b"").await;
    assert_eq!((same.status, same.header("etag"), same.body.len()), (304, Some(tag), 0));
    // A parcel moves on without a new version of the shipment.
    rig.db.execute("update shipping.cases set tracking_status = 'in_transit'", &[]).await;
    assert_eq!(api.ask("GET", &at, &[("if-none-match", tag)], b"").await.status, 200);
    for nobody in ["00000000-0000-0000-0000-000000000000", "x", "%00", "%ff"] {
        api.get(&format!("/shipments/{nobody}")).await.is_problem(404, "not-found");
    }
    api.get(&format!("{at}?wait=31")).await.is_problem(400, "invalid-parameter");
    api.get(&format!("{at}?wiat=3")).await.is_problem(400, "invalid-parameter");
    api.ask("GET", &at, &[("if-none-match", "17")], b"").await.is_problem(400, "invalid-header");
}

#[tokio::test]
async fn whoever_waits_hears_of_a_change_and_of_a_drain_at_once() {
    let rig = Rig::new().await;
    let api = Arc::new(rig.ready().await);
    let at = api.accepted("k").await;
    let tag = api.get(&at).await.header("etag").unwrap().to_owned();
    let waiter = |path: String, tag: Option<String>| {
        let api = Arc::clone(&api);
        tokio::spawn(async move {
            let headers: Vec<(&str, &str)> = tag.iter().map(|tag| ("if-none-match", tag.as_str())).collect();
            api.ask("GET", &path, &headers, b"").await
        })
    };
    let waiting = async |count: f64| {
        let line = "shipments_api_in_flight_requests";
        wait::until("all wait", wait::LONG, async || api.metric(line).await == count).await;
    };
    let other = waiter(format!("{at}?wait=30"), Some(tag.clone()));
    let rest = waiter(format!("{at}?wait=30"), None);
    waiting(2.0).await;
    let change = "update shipping.shipments set version = version + 1, state = 'shipping'";
    rig.db.execute(change, &[]).await;
    let other = other.await.unwrap();
    assert_eq!((other.status, &other.json()["state"]), (200, &json!("shipping")));
    // The other one waits for a state to rest in.
    assert!(!rest.is_finished());
    let change = "update shipping.shipments set version = version + 1, state = 'needs_attention'";
    rig.db.execute(change, &[]).await;
    assert_eq!(rest.await.unwrap().json()["state"], "needs_attention");

    let tag = api.get(&at).await.header("etag").unwrap().to_owned();
    let timed = api.ask("GET", &format!("{at}?wait=1"), &[("if-none-match", &tag)], b"").await;
    assert_eq!(timed.status, 304, "nothing changed");
    let last = waiter(format!("{at}?wait=30"), Some(tag));
    waiting(1.0).await;
    api.signal("TERM");
    assert_eq!(last.await.unwrap().status, 304);
    let mut api = Arc::into_inner(api).unwrap();
    assert_eq!(api.wait_exit(wait::LONG).await.code(), Some(0));
}

#[tokio::test]
async fn the_shipments_of_an_order_come_page_by_page() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    for number in 0..101 {
        api.accepted(&format!("k{number}")).await;
    }
    let first = api.get("/shipments?order=17").await.json();
    assert_eq!(first["shipments"].as_array().unwrap().len(), 100);
    let after = first["after"].as_str().unwrap();
    let second = api.get(&format!("/shipments?order=17&after={after}")).await.json();
    assert_eq!((second["shipments"].as_array().unwrap().len(), &second["after"]), (1, &Value::Null));
    assert_eq!(api.get("/shipments?order=none").await.json()["shipments"], json!([]));
    for wrong in ["", "?order=", "?order=17&after=x", "?order=17&order=18", "?odrer=17", "?order=%00"] {
        api.get(&format!("/shipments{wrong}")).await.is_problem(400, "invalid-parameter");
    }
}

#[tokio::test]
async fn each_item_of_a_batch_is_accepted_or_refused_by_itself() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let earlier = api.keyed("/shipments", "a", &apples(1)).await;
    let item = |key: &str, shipment: Value| json!({"idempotency_key": key, "shipment": shipment});
    let mut none = apples(1);
    none["order_id"] = json!("none");
    let mut wrong = apples(1);
    wrong["cases"][0]["weight_grams"] = json!(0);
    let batch = json!({"shipments": [
        item("a", apples(1)), item("b", apples(2)), item("b", apples(2)), item("b", apples(3)),
        item("c", none), item("d", wrong), item("", apples(1)),
    ]});
    let answer = api.post("/shipments/batch", &batch).await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let entries = answer.json();
    let told: Vec<(i64, bool, &str)> = entries["shipments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let code = entry["body"]["code"].as_str().unwrap_or_default();
            (entry["status"].as_i64().unwrap(), entry["replayed"].as_bool().unwrap(), code)
        })
        .collect();
    // Two items of one key, side by side: which of them is the first is not said.
    let replays = told[1..3].iter().filter(|(_, replayed, _)| *replayed).count();
    assert_eq!((told[0], replays, told[1].0, told[2].0), ((202, true, ""), 1, 202, 202));
    assert_eq!(
        told[3..],
        [
            (422, false, "idempotency-key-reused"),
            (409, false, "no-such-order"),
            (422, false, "invalid-body"),
            (400, false, "idempotency-key-malformed")
        ]
    );
    assert_eq!(entries["shipments"][0]["body"], earlier.json());
    assert_eq!(rig.count("shipments").await, 2);
    // The same key outside of a batch is the same key.
    assert_eq!(api.keyed("/shipments", "b", &apples(2)).await.header("idempotency-replayed"), Some("true"));
    api.post("/shipments/batch", &json!({"shipments": []})).await.is_problem(422, "invalid-body");
}

#[tokio::test]
async fn a_cancellation_is_done_and_recorded_once() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let at = api.accepted("k").await;
    let cancel = format!("{at}/cancel");
    let why = json!({"reason": "the customer changed her mind"});
    api.post(&cancel, &why).await.is_problem(400, "idempotency-key-missing");
    api.keyed(&cancel, "c", &json!({"reason": " "})).await.is_problem(422, "invalid-body");
    let first = api.keyed(&cancel, "c", &why).await;
    assert_eq!((first.status, first.header("location")), (202, Some(at.as_str())));
    let again = api.keyed(&cancel, "c", &why).await;
    assert_eq!((again.body == first.body, again.header("idempotency-replayed")), (true, Some("true")));
    let body = api.get(&at).await.json();
    assert_eq!(body["state"], "cancelled", "nothing was bought: {body}");
    assert_eq!(body["reason"], "cancelled by shop: the customer changed her mind");
    api.keyed(&cancel, "d", &why).await.is_problem(409, "not-cancellable");
    let acts = rig.db.query("select actor, action, reason from shipping.acts", &[]).await;
    assert_eq!(acts.len(), 1);
    assert_eq!((acts[0].get::<_, &str>(0), acts[0].get::<_, &str>(1)), ("shop", "cancel"));
    assert_eq!(rig.db.number("select reserved::bigint from shipping.order_lines where line_no = 1").await, 0);
    let nobody = "/shipments/00000000-0000-0000-0000-000000000000/cancel";
    api.keyed(nobody, "e", &why).await.is_problem(404, "not-found");
}

#[tokio::test]
async fn a_request_is_known_by_its_marks_in_the_log_the_answer_and_the_events() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers =
        [("x-request-id", "r-1"), ("traceparent", parent), ("idempotency-key", "k"), ("authorization", DESK)];
    let answer = api.ask("POST", "/shipments", &headers, apples(1).to_string().as_bytes()).await;
    assert_eq!(answer.header("x-request-id"), Some("r-1"));
    let sql = "select count(*) from relay.outbox where aggregate_type = 'shipment'
               and headers->>'x-request-id' = 'r-1' and headers->>'traceparent' like '00-0af7%'";
    assert_eq!(rig.db.number(sql).await, 2);
    let line = wait::found("the line in the log", wait::LONG, async || {
        api.lines().into_iter().find(|line| line["request_id"] == "r-1")
    })
    .await;
    assert_eq!(
        (&line["caller"], &line["status"], &line["message"]),
        (&json!("desk"), &json!(202), &json!("POST /shipments"))
    );
    let answer = api.ask("GET", "/shipments?order=17", &[("x-request-id", "a b")], b"").await;
    assert_ne!(answer.header("x-request-id"), Some("a b"));
}
