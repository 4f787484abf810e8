//! Webhook endpoints: each its caller's own, with a secret that is told once.

use serde_json::{Value, json};

use crate::{
    client::Answer,
    rig::{Api, DESK, Rig},
};

async fn register(api: &Api, url: &str) -> Answer {
    api.post("/webhook-endpoints", &json!({ "url": url })).await
}

#[tokio::test]
async fn a_secret_is_told_once_and_replaced_on_request() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let answer = register(&api, "https://hooks.example/x").await;
    let registered = answer.json();
    assert_eq!(answer.status, 201);
    let at = answer.header("location").unwrap();
    assert!(registered["secret"].as_str().unwrap().starts_with("whsec_"));
    let shown = api.get(at).await.json();
    assert_eq!((&shown["url"], &shown["secret"]), (&json!("https://hooks.example/x"), &Value::Null));
    assert_eq!(api.get("/webhook-endpoints").await.json()["webhook_endpoints"], json!([shown]));

    let rotated = api.post(&format!("{at}/rotate-secret"), &json!({})).await.json();
    assert_ne!(rotated["secret"], registered["secret"]);
    assert_eq!(api.get(at).await.json()["previous_secret_until"], rotated["previous_secret_until"]);
    let kept = "select 'whsec_' || encode(secret, 'base64'), 'whsec_' || encode(previous_secret, 'base64')
                from shipping.webhook_endpoints where previous_until > now() + interval '23 hours'";
    let row = &rig.db.query(kept, &[]).await[0];
    assert_eq!(
        (&rotated["secret"], &registered["secret"]),
        (&json!(row.get::<_, &str>(0)), &json!(row.get::<_, &str>(1)))
    );
}

#[tokio::test]
async fn nobody_else_sees_an_endpoint_or_takes_it_away() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let at = register(&api, "https://hooks.example/x").await.header("location").unwrap().to_owned();
    let desk = [("authorization", DESK)];
    for (method, path) in
        [("GET", at.clone()), ("DELETE", at.clone()), ("POST", format!("{at}/rotate-secret"))]
    {
        api.ask(method, &path, &desk, b"").await.is_problem(404, "not-found");
    }
    assert_eq!(api.ask("GET", "/webhook-endpoints", &desk, b"").await.json()["webhook_endpoints"], json!([]));
    for _ in 0..2 {
        assert_eq!(api.ask("DELETE", &at, &[], b"").await.status, 204, "twice is once");
    }
    api.get(&at).await.is_problem(404, "not-found");
    assert_eq!(api.get("/webhook-endpoints").await.json()["webhook_endpoints"], json!([]));
    api.post(&format!("{at}/rotate-secret"), &json!({})).await.is_problem(404, "not-found");
}

#[tokio::test]
async fn its_owner_sees_why_an_endpoint_is_out_of_use() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let at = register(&api, "https://hooks.example/x").await.header("location").unwrap().to_owned();
    let sql =
        "update shipping.webhook_endpoints set disabled_at = now(), disabled_reason = 'it answered 410'";
    rig.db.execute(sql, &[]).await;
    assert_eq!(api.get(&at).await.json()["disabled_reason"], "it answered 410");
    assert_eq!(
        api.get("/webhook-endpoints").await.json()["webhook_endpoints"][0]["disabled_reason"],
        "it answered 410"
    );
}

#[tokio::test]
async fn webhooks_go_by_https_and_for_development_to_loopback() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    for wrong in ["http://127.0.0.1/", "ftp://x", "https://a:b@c/", "x", "", "https://x/#y"] {
        let answer = register(&api, wrong).await;
        answer.is_problem(422, "invalid-body");
        assert_eq!(answer.json()["errors"][0]["pointer"], "/url");
    }
    drop(api);
    let rig = rig.env("SHIPMENTS_API_LOOPBACK_ENDPOINTS", "true");
    let api = rig.ready().await;
    assert_eq!(register(&api, "http://127.0.0.1:9/").await.status, 201);
    register(&api, "http://hooks.example/").await.is_problem(422, "invalid-body");
}

#[tokio::test]
async fn a_caller_has_so_many_endpoints_and_no_more() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    for number in 0..50 {
        assert_eq!(register(&api, &format!("https://hooks.example/{number}")).await.status, 201);
    }
    register(&api, "https://hooks.example/50").await.is_problem(409, "too-many-endpoints");
}
