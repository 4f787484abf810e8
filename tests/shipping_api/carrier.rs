//! The carrier's webhooks: who signed them first, then once each.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::{
    client::Answer,
    rig::{Api, CARRIER_SECRET, Rig},
};

const PATH: &str = "/webhooks/carrier";

fn sign(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("hmac-sha256-hex={hex}")
}

/// A webhook that was signed at this time, in both versions.
async fn send(api: &Api, body: &[u8], secret: &str, at: SystemTime, path: &str) -> Answer {
    let date = httpdate::fmt_http_date(at).replace("GMT", "-0000");
    let first = sign(secret, &[body]);
    let second = sign(secret, &[date.as_bytes(), b"POST", path.as_bytes(), body]);
    let headers = [
        ("authorization", ""),
        ("x-hmac-signature", &*first),
        ("x-hmac-signature-v2", &*second),
        ("x-timestamp", &*date),
        ("x-path", path),
    ];
    api.ask("POST", PATH, &headers, body).await
}

fn event(id: &str) -> Vec<u8> {
    json!({"id": id, "description": "tracker.updated", "result": {"id": "trk_1"}}).to_string().into_bytes()
}

#[tokio::test]
async fn an_event_is_stored_as_it_was_signed_and_sent_on_once() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let now = SystemTime::now();
    for _ in 0..3 {
        assert_eq!(send(&api, &event("evt_1"), CARRIER_SECRET, now, PATH).await.status, 200);
    }
    assert_eq!(send(&api, &event("evt_2"), CARRIER_SECRET, now, PATH).await.status, 200);
    let body: Vec<u8> =
        rig.db.query("select body from shipping.carrier_events order by event_id", &[]).await[0].get(0);
    assert_eq!(body, event("evt_1"));
    let sent = "select string_agg(aggregate_id || ' ' || (payload->>'event_id'), ', ' order by seq) from relay.outbox
                where aggregate_type = 'carrier' and event_type = 'event_received'";
    let sent: String = rig.db.query(sent, &[]).await[0].get(0);
    assert_eq!(sent, "evt_1 evt_1, evt_2 evt_2");
    assert_eq!(api.metric("shipments_api_carrier_events_total{result=\"duplicate\"}").await, 2.0);
}

#[tokio::test]
async fn what_the_carrier_did_not_sign_just_now_for_this_path_is_refused_unread() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    for answer in [
        send(&api, &event("evt_1"), "another secret entirely", now, PATH).await,
        send(&api, &event("evt_1"), CARRIER_SECRET, now - hour, PATH).await,
        send(&api, &event("evt_1"), CARRIER_SECRET, now + hour, PATH).await,
        send(&api, &event("evt_1"), CARRIER_SECRET, now, "/webhooks/other").await,
        send(&api, b"\xff{", "another secret entirely", now, PATH).await,
        api.ask("POST", PATH, &[], &event("evt_1")).await,
        api.ask("POST", PATH, &[("x-hmac-signature", "hmac-sha256-hex=00")], &event("evt_1")).await,
    ] {
        answer.is_problem(401, "bad-signature");
    }
    assert_eq!(rig.count("carrier_events").await, 0);
    assert_eq!(api.metric("shipments_api_carrier_events_total{result=\"refused\"}").await, 7.0);
}

#[tokio::test]
async fn an_event_without_an_id_is_refused_however_well_it_is_signed() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let now = SystemTime::now();
    for body in ["{}", "[]", r#"{"id": ""}"#, r#"{"id": "a\u0000b"}"#, r#"{"id": 1}"#] {
        send(&api, body.as_bytes(), CARRIER_SECRET, now, PATH).await.is_problem(422, "invalid-body");
    }
    send(&api, b"nonsense", CARRIER_SECRET, now, PATH).await.is_problem(400, "malformed-body");
    assert_eq!(rig.count("carrier_events").await, 0);
}

#[tokio::test]
async fn without_a_secret_no_webhooks_are_taken() {
    let mut rig = Rig::new().await;
    rig.forget("SHIPMENTS_CARRIER_WEBHOOK_SECRET");
    let api = rig.ready().await;
    send(&api, &event("evt_1"), CARRIER_SECRET, SystemTime::now(), PATH).await.is_problem(404, "not-found");
}
