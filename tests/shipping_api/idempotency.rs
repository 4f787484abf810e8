//! A key stands for one request: whatever happens between, it is done once and answered the same.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

use crate::{
    client::{Answer, request},
    rig::{DESK, Rig, SHOP, apples},
    support::{database::connect, wait},
};

/// What must not differ between the answers to the tries of one request.
fn essence(answer: &Answer) -> (u16, Option<String>, Option<String>, Vec<u8>) {
    let header = |name| answer.header(name).map(str::to_owned);
    (answer.status, header("location"), header("retry-after"), answer.body.clone())
}

#[tokio::test]
async fn fifty_tries_at_once_make_one_shipment_and_are_answered_byte_for_byte_the_same() {
    let rig = Rig::new().await;
    let api = Arc::new(rig.ready().await);
    let mut tries = JoinSet::new();
    for _ in 0..50 {
        let api = Arc::clone(&api);
        tries.spawn(async move { api.keyed("/shipments", "\"k-1\"", &apples(2)).await });
    }
    let answers = tries.join_all().await;
    let first = essence(&answers[0]);
    assert_eq!(first.0, 202, "{:?}", answers[0]);
    assert!(answers.iter().all(|answer| essence(answer) == first), "{answers:#?}");
    let new = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count();
    assert_eq!(new, 1, "all others say that they are replays");
    assert_eq!(rig.count("shipments").await, 1);
    assert_eq!(rig.db.number("select reserved::bigint from shipping.order_lines where line_no = 1").await, 2);
    // Its order's event, its own, and the first work order.
    assert_eq!(rig.db.number("select count(*) from relay.outbox where aggregate_type = 'shipment'").await, 2);
    assert_eq!(api.metric("shipments_api_replays_total").await, 49.0);
}

#[tokio::test]
async fn the_answer_stays_whatever_happens_since_also_to_the_process() {
    let rig = Rig::new().await;
    let mut api = rig.ready().await;
    let first = api.keyed("/shipments", "k", &apples(1)).await;
    api.keyed(&format!("{}/cancel", first.header("location").unwrap()), "c", &json!({"reason": "no"})).await;
    api.kill9();
    let api = rig.ready().await;
    let again = api.keyed("/shipments", "k", &apples(1)).await;
    assert_eq!(essence(&again), essence(&first));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(rig.count("shipments").await, 1);
}

#[tokio::test]
async fn the_order_of_fields_and_spaces_do_not_make_another_request_but_values_do() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let first = api.keyed("/shipments", "k", &apples(1)).await;
    let mut same = apples(1);
    same["ship_to"] = Value::Null;
    let text = serde_json::to_string_pretty(&same).unwrap();
    let again = api.ask("POST", "/shipments", &[("idempotency-key", "\"k\"")], text.as_bytes()).await;
    assert_eq!(essence(&again), essence(&first));
    api.keyed("/shipments", "k", &apples(2)).await.is_problem(422, "idempotency-key-reused");
    // Nor is it a key of another operation.
    let cancel = format!("{}/cancel", first.header("location").unwrap());
    api.keyed(&cancel, "k", &json!({"reason": "no"})).await.is_problem(422, "idempotency-key-reused");
    assert_eq!(rig.count("shipments").await, 1);
}

#[tokio::test]
async fn keys_of_two_callers_are_two_keys() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let body = apples(1).to_string();
    for caller in [SHOP, DESK] {
        let headers = [("authorization", caller), ("idempotency-key", "k")];
        let answer = api.ask("POST", "/shipments", &headers, body.as_bytes()).await;
        assert_eq!((answer.status, answer.header("idempotency-replayed")), (202, None));
    }
    assert_eq!(rig.count("shipments").await, 2);
}

#[tokio::test]
async fn without_a_key_or_with_none_that_is_one_nothing_is_done() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    api.post("/shipments", &apples(1)).await.is_problem(400, "idempotency-key-missing");
    let long = "k".repeat(256);
    for wrong in ["", "\"\"", "\"", "\"k", "a b", "\"a\", \"b\"", &long, "k\u{e9}y"] {
        api.keyed("/shipments", wrong, &apples(1)).await.is_problem(400, "idempotency-key-malformed");
    }
    let two = [("idempotency-key", "a"), ("idempotency-key", "b")];
    let answer = api.ask("POST", "/shipments", &two, apples(1).to_string().as_bytes()).await;
    answer.is_problem(400, "idempotency-key-malformed");
    assert_eq!((rig.count("shipments").await, rig.count("idempotency_keys").await), (0, 0));
}

#[tokio::test]
async fn what_was_refused_does_not_use_the_key_up() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let mut wrong = apples(1);
    wrong["cases"] = json!([]);
    api.keyed("/shipments", "k", &wrong).await.is_problem(422, "invalid-body");
    api.keyed("/shipments", "k", &apples(1_000_000 - 1)).await;
    let mut pears = apples(5);
    pears["cases"][0]["lines"][0]["line"] = json!(2);
    api.keyed("/shipments", "p", &pears).await.is_problem(409, "not-enough-left");
    pears["order_id"] = json!("none");
    api.keyed("/shipments", "p", &pears).await.is_problem(409, "no-such-order");
    pears["order_id"] = json!("17");
    pears["cases"][0]["lines"][0]["quantity"] = json!(4);
    assert_eq!(api.keyed("/shipments", "p", &pears).await.status, 202);
    assert_eq!(rig.count("shipments").await, 2);
}

#[tokio::test]
async fn a_key_whose_first_request_is_still_running_is_in_progress() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    // Another process of the API, in the middle of its transaction.
    let mut other = connect(&rig.db.url).await.unwrap();
    let tx = other.transaction().await.unwrap();
    let sql = "insert into shipping.idempotency_keys (caller, key, fingerprint, status, body, expires_at)
               values ('shop', 'k', decode(repeat('00', 32), 'hex'), 202, '', now() + interval '1 day')";
    tx.execute(sql, &[]).await.unwrap();
    let answer = api.keyed("/shipments", "k", &apples(1)).await;
    answer.is_problem(409, "idempotency-key-in-progress");
    assert_eq!(answer.header("retry-after"), Some("1"));
    tx.rollback().await.unwrap();
    assert_eq!(api.keyed("/shipments", "k", &apples(1)).await.status, 202);
}

#[tokio::test]
async fn a_key_is_free_again_when_its_time_is_up() {
    let rig = Rig::new().await.env("SHIPMENTS_API_KEY_LIFETIME", "1h");
    let api = rig.ready().await;
    api.accepted("k").await;
    let kept = "select extract(epoch from expires_at - created_at)::bigint from shipping.idempotency_keys";
    assert_eq!(rig.db.number(kept).await, 3600);
    let sql = "update shipping.idempotency_keys set created_at = now() - interval '2 hours',
               expires_at = now() - interval '1 hour'";
    rig.db.execute(sql, &[]).await;
    let answer = api.keyed("/shipments", "k", &apples(2)).await;
    assert_eq!((answer.status, answer.header("idempotency-replayed")), (202, None));
    assert_eq!(rig.count("shipments").await, 2);
}

#[tokio::test]
async fn a_client_that_hangs_up_at_any_byte_finds_one_shipment_when_it_comes_again() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let body = apples(1).to_string();
    let headers = [("authorization", SHOP), ("content-type", "application/json"), ("idempotency-key", "k")];
    let bytes = request("POST", "/shipments", &headers, body.as_bytes());
    for sent in (0..=bytes.len()).step_by(97).chain([bytes.len(); 5]) {
        let mut stream = TcpStream::connect(api.address()).await.unwrap();
        stream.write_all(&bytes[..sent]).await.unwrap();
        // Gone with a reset, before anything is read.
        socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(stream);
    }
    let answer = api.keyed("/shipments", "k", &apples(1)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(essence(&api.keyed("/shipments", "k", &apples(1)).await), essence(&answer));
    wait::until("every connection is gone", wait::LONG, async || {
        api.metric("shipments_api_in_flight_requests").await == 0.0
    })
    .await;
    assert_eq!((rig.count("shipments").await, rig.count("idempotency_keys").await), (1, 1));
}

#[tokio::test]
async fn a_request_whose_client_is_gone_is_no_longer_at_work() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let headers = [("authorization", SHOP), ("content-type", "application/json"), ("idempotency-key", "k")];
    let bytes = request("POST", "/shipments", &headers, apples(1).to_string().as_bytes());
    let at_work = async || api.metric("shipments_api_in_flight_requests").await;
    let mut stream = TcpStream::connect(api.address()).await.unwrap();
    stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    wait::until("it waits for the last byte", wait::LONG, async || at_work().await == 1.0).await;
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
    wait::until("it is gone", wait::LONG, async || at_work().await == 0.0).await;
}

#[tokio::test]
async fn killed_in_the_middle_again_and_again_it_makes_one_shipment_a_key() {
    let rig = Rig::new().await;
    let mut api = rig.ready().await;
    let rounds = 6_u32;
    for round in 0..rounds {
        let bytes: Vec<Vec<u8>> = (0..8)
            .map(|key| {
                let key = format!("{round}-{key}");
                let headers = [
                    ("authorization", SHOP),
                    ("content-type", "application/json"),
                    ("idempotency-key", &key),
                ];
                request("POST", "/shipments", &headers, apples(1).to_string().as_bytes())
            })
            .collect();
        let mut streams = Vec::new();
        for bytes in &bytes {
            let mut stream = TcpStream::connect(api.address()).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            streams.push(stream);
        }
        // At another moment each time, from before the first statement to after the last commit.
        let done = i64::from(round) * 8;
        if round % 3 > 0 {
            let some = i64::from(round % 3);
            wait::until("some are stored", wait::LONG, async || rig.count("shipments").await >= done + some)
                .await;
        }
        api.kill9();
        drop(streams);
        api = rig.ready().await;
        for key in 0..8 {
            api.accepted(&format!("{round}-{key}")).await;
            api.accepted(&format!("{round}-{key}")).await;
        }
        assert_eq!(rig.count("shipments").await, done + 8);
    }
    let reserved = "select reserved::bigint from shipping.order_lines where line_no = 1";
    assert_eq!(rig.db.number(reserved).await, i64::from(rounds) * 8);
}
