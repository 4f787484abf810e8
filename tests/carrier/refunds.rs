//! Refunds take their time, and news come by webhook, signed.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use relay::{
    config::Secret,
    shipping::carrier::{
        event::{self, CarrierEvent, EventKind},
        shipment::RefundStatus,
        signature::{SignaturePolicy, SignedRequest, verify},
        tracking::TrackingStatus,
    },
};

use crate::{
    sim::{SECRET, Sim, created, succeeded, word},
    wait,
};

#[derive(Clone, Default)]
struct Receiver {
    events: Arc<Mutex<Vec<CarrierEvent>>>,
    refused: Arc<Mutex<u32>>,
}

/// Takes webhooks as the API will: signature first, on the bytes; the first two are turned away, and come again.
async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let request = SignedRequest {
        method: "POST",
        path: "/webhooks/carrier",
        signature: header("x-hmac-signature"),
        signature_v2: header("x-hmac-signature-v2"),
        timestamp: header("x-timestamp"),
        signed_path: header("x-path"),
        body: &body,
    };
    let tolerance = Duration::from_secs(60);
    let mut policy = SignaturePolicy::new(vec![Secret::new(SECRET)], tolerance, true).expect("a good secret");
    verify(&policy, &request, SystemTime::now()).expect("it is signed");
    let old = SignedRequest { signature_v2: None, ..request };
    policy.require_v2 = false;
    verify(&policy, &old, SystemTime::now()).expect("in both ways");
    let mut refused = receiver.refused.lock().expect("nobody panicked");
    if *refused < 2 {
        *refused += 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    receiver.events.lock().expect("nobody panicked").push(event::parse(&body).expect("it is understood"));
    StatusCode::OK
}

async fn receiver() -> (Receiver, String) {
    let receiver = Receiver::default();
    let router = Router::new().route("/webhooks/carrier", post(receive)).with_state(receiver.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/webhooks/carrier", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (receiver, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_is_submitted_then_decided_and_told_by_a_signed_webhook() {
    let (receiver, url) = receiver().await;
    let sim = Sim::start(&["--webhook-url", &url, "--webhook-secret", SECRET]);
    let carrier = sim.carrier();
    let (shipment, rate) = created(&carrier, "refund").await;
    assert_eq!(word(&carrier.refund(&shipment.id).await), "refused", "there is no label yet");
    let label = succeeded(carrier.buy(&shipment.id, &rate).await);
    sim.track(&shipment.id, "in_transit").await;

    // The answer to the request is lost; a lookup tells.
    sim.script(
        r#"{"rules": [{"route": "refund", "answer": "reset", "times": 1}], "refunds": {"after_ms": 300}}"#,
    )
    .await;
    assert_eq!(word(&carrier.refund(&shipment.id).await), "unknown");
    let status = async || succeeded(carrier.retrieve(&shipment.id).await).refund.expect("it was asked for");
    wait::until("the money is back", wait::LONG, async || status().await == RefundStatus::Refunded).await;
    assert_eq!(
        succeeded(carrier.refund(&shipment.id).await),
        RefundStatus::Refunded,
        "asked twice, paid once"
    );
    assert_eq!(sim.ledger().await["references"]["refund"]["refunded"], 1);

    let told = |wanted: &dyn Fn(&EventKind) -> bool| {
        receiver.events.lock().expect("nobody panicked").iter().any(|event| wanted(&event.kind))
    };
    wait::until("the webhooks are in", wait::LONG, async || {
        told(&|kind| {
            matches!(kind, EventKind::Refund(refund) if refund.status == RefundStatus::Refunded
            && refund.shipment_id == shipment.id)
        }) && told(&|kind| {
            matches!(kind, EventKind::Tracking(update) if update.status == TrackingStatus::InTransit
                && update.tracking_code == label.tracking_code)
        })
    })
    .await;
    let tracker = label.tracker_id.expect("it has a tracker");
    assert_eq!(succeeded(carrier.tracking(&tracker).await), TrackingStatus::InTransit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_may_be_refused_or_not_apply() {
    let sim = Sim::start(&[]);
    let carrier = sim.carrier();
    for (outcome, first, last) in [
        ("rejected", RefundStatus::Submitted, RefundStatus::Rejected),
        ("not_applicable", RefundStatus::NotApplicable, RefundStatus::NotApplicable),
    ] {
        let (shipment, rate) = created(&carrier, outcome).await;
        succeeded(carrier.buy(&shipment.id, &rate).await);
        sim.script(&format!(r#"{{"refunds": {{"outcome": "{outcome}", "after_ms": 200}}}}"#)).await;
        assert_eq!(succeeded(carrier.refund(&shipment.id).await), first);
        wait::until("it is decided", wait::LONG, async || {
            succeeded(carrier.retrieve(&shipment.id).await).refund == Some(last.clone())
        })
        .await;
        // One that was rejected may be asked for again, and be granted.
        sim.script(r#"{"refunds": {"outcome": "refunded"}}"#).await;
        let again = succeeded(carrier.refund(&shipment.id).await);
        assert_eq!(again, if outcome == "rejected" { RefundStatus::Submitted } else { last });
    }
}
