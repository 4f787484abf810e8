//! The database away, frozen or without its tables: told as such, and over when it is over.

use serde_json::json;

use crate::{
    rig::{Rig, apples, authority},
    support::{proxy::Proxy, wait},
};

#[tokio::test]
async fn while_the_database_is_away_requests_are_told_so_and_afterwards_served() {
    let rig = Rig::new().await;
    let proxy = Proxy::start(authority(&rig.db.url).0).await.unwrap();
    let rig = rig.through(proxy.address());
    let api = rig.ready().await;
    api.accepted("before").await;
    proxy.refuse();
    proxy.cut();
    wait::until("it says that it is not ready", wait::LONG, async || api.admin("/readyz").await.0 == 503)
        .await;
    let answer = api.keyed("/shipments", "k", &apples(1)).await;
    answer.is_problem(503, "database-unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
    api.get("/orders/17").await.is_problem(503, "database-unavailable");
    assert_eq!(api.get("/openapi.json").await.status, 200);
    assert_eq!(api.admin("/livez").await.0, 200);
    proxy.thaw();
    api.wait_ready().await;
    api.accepted("k").await;
    assert_eq!(rig.count("shipments").await, 2);
    let complaints = api.lines().into_iter().filter(|line| line["level"] == "WARN").count();
    assert!(complaints <= 2, "a change is logged, not each look");
}

#[tokio::test]
async fn an_answer_that_the_database_swallowed_is_found_by_the_next_try() {
    let rig =
        Rig::new().await.env("SHIPMENTS_API_WORK_TIMEOUT", "1s").env("SHIPMENTS_API_ARRIVAL_TIMEOUT", "1s");
    let proxy = Proxy::start(authority(&rig.db.url).0).await.unwrap();
    let rig = rig.through(proxy.address());
    let api = rig.ready().await;
    // Everything reaches the server, nothing comes back: each statement that was sent is done.
    proxy.freeze_upstream_to_client();
    let answer = api.keyed("/shipments", "k", &apples(1)).await;
    answer.is_problem(503, "timed-out");
    proxy.cut();
    proxy.thaw();
    api.wait_ready().await;
    wait::until("it is accepted", wait::LONG, async || {
        api.keyed("/shipments", "k", &apples(1)).await.status == 202
    })
    .await;
    assert_eq!(rig.count("shipments").await, 1);
}

#[tokio::test]
async fn without_its_tables_it_waits_and_says_what_is_missing() {
    let rig = Rig::new().await;
    rig.db.execute("alter table shipping.idempotency_keys rename to elsewhere", &[]).await;
    let api = rig.start().await;
    wait::until("it says what is missing", wait::LONG, async || {
        let (status, body) = api.admin("/readyz").await;
        status == 503 && body.contains("idempotency_keys")
    })
    .await;
    api.keyed("/shipments", "k", &apples(1)).await.is_problem(503, "database-unavailable");
    rig.db.execute("alter table shipping.elsewhere rename to idempotency_keys", &[]).await;
    api.wait_ready().await;
    assert_eq!(api.put("/orders/17", &crate::rig::order()).await.status, 201);
}

#[tokio::test]
async fn a_drain_answers_what_is_being_worked_at_and_takes_no_more() {
    let rig = Rig::new().await;
    let mut api = rig.ready().await;
    let at = api.accepted("k").await;
    // Somebody else holds the shipment for a while.
    let mut other = rig.db.session().await;
    let tx = other.transaction().await.unwrap();
    tx.execute("select from shipping.shipments for update", &[]).await.unwrap();
    let address = api.address();
    let body = json!({"reason": "no"}).to_string();
    let headers =
        [("authorization", crate::rig::SHOP), ("content-type", "application/json"), ("idempotency-key", "c")];
    let bytes = crate::client::request("POST", &format!("{at}/cancel"), &headers, body.as_bytes());
    let cancel = tokio::spawn(async move { crate::client::exchange(address, &bytes).await });
    wait::until("it is being worked at", wait::LONG, async || {
        api.metric("shipments_api_in_flight_requests").await == 1.0
    })
    .await;
    api.signal("TERM");
    wait::until("nobody is taken any more", wait::LONG, async || {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    tx.rollback().await.unwrap();
    assert_eq!(cancel.await.unwrap().unwrap().status, 202);
    assert_eq!(api.wait_exit(wait::LONG).await.code(), Some(0));
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setting in ["SHIPMENTS_API_LISTEN", "SHIPMENTS_API_ADMIN_LISTEN"] {
        let (code, said) = Rig::new().await.env(setting, &address).ends();
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(&format!("{setting}: cannot listen on {address}: ")), "{said}");
    }
}
