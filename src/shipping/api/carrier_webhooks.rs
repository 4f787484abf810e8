//! `POST /webhooks/carrier`: what the carrier tells. Checked, stored once, answered; a worker applies it.

use std::time::SystemTime;

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;

use super::{
    body,
    problem::{Code, FieldError, Problem},
    state::{Api, Call, CarrierWebhooks},
};
use crate::shipping::carrier::signature::{SignedRequest, verify};

/// All that has to be known of an event to keep it. Whoever applies it reads the rest.
#[derive(Deserialize)]
struct Event {
    id: String,
}

/// Takes a webhook. Nothing of it is parsed before its signature is known to be the carrier's.
pub(super) async fn receive(
    State(api): State<Api>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let count = |result: &str| api.metrics.carrier_events.with_label_values(&[result]).inc();
    let carrier = api.settings.carrier.as_ref();
    let carrier =
        carrier.ok_or_else(|| Problem::new(Code::NotFound, "no webhooks of a carrier are taken here"))?;
    let limits = api.settings.limits;
    let bytes = body::read(&headers, body, limits.body.min(262_144), limits.arrival).await?;
    check(carrier, &headers, &bytes).inspect_err(|_| count("refused"))?;
    let id = body::parse::<Event>(&bytes)?.id;
    if !(1..=200).contains(&id.len()) || id.chars().any(char::is_control) {
        let wrong = "it must have 1 to 200 bytes and no control characters";
        return Err(Problem::invalid(vec![FieldError::new("/id", wrong)]));
    }
    let lent = api.pool.lend_soon().await?;
    let client = &lent.seat.connection.client;
    let stored = api.store.receive_carrier_event(client, &id, &bytes, &call.trace.headers()).await;
    let is_new = lent.settle(stored.map_err(Problem::from))?;
    count(if is_new { "stored" } else { "duplicate" });
    Ok(StatusCode::OK)
}

/// Whether the carrier signed it. What exactly is wrong is for the log, not for whoever guesses.
fn check(carrier: &CarrierWebhooks, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let request = SignedRequest {
        method: "POST",
        path: &carrier.path,
        signature: text("x-hmac-signature"),
        signature_v2: text("x-hmac-signature-v2"),
        timestamp: text("x-timestamp"),
        signed_path: text("x-path"),
        body,
    };
    verify(&carrier.policy, &request, SystemTime::now()).map_err(|error| {
        tracing::warn!("a webhook to the carrier's path is refused: {error}");
        Problem::new(Code::BadSignature, "its signature is missing, wrong or out of date")
    })
}
