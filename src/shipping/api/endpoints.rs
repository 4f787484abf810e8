//! `/webhook-endpoints`: where the caller's webhooks go.

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{
    answer::{json_type, value},
    body::{self, Name},
    problem::{Code, FieldError, Problem},
    state::{Api, Call},
};

/// Endpoints of a caller.
const MOST: i64 = 50;

/// `POST /webhook-endpoints`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointInput {
    /// Where to.
    url: String,
}

/// `POST /webhook-endpoints`. The secret is told here and never again.
pub(super) async fn register(
    State(api): State<Api>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let limits = api.settings.limits;
    let input: EndpointInput = body::read_json(&headers, body, limits.body, limits.arrival).await?;
    check(&input.url, api.settings.loopback_endpoints)
        .map_err(|wrong| Problem::invalid(vec![FieldError::new("/url", wrong)]))?;
    let (id, secret) = (Uuid::now_v7(), new_secret());
    let lent = api.pool.lend_soon().await?;
    let client = &lent.seat.connection.client;
    let added = api.store.register_endpoint(client, id, &call.caller.name, (&input.url, &secret), MOST).await;
    if !lent.settle(added.map_err(Problem::from))? {
        let detail = format!("you have {MOST}, as many as you may: delete one first");
        return Err(Problem::new(Code::TooManyEndpoints, detail));
    }
    let body = json!({ "endpoint_id": id, "url": input.url, "secret": shown(&secret) }).to_string();
    let location = (header::LOCATION, value(&format!("/webhook-endpoints/{id}")));
    Ok((StatusCode::CREATED, [location, json_type()], body).into_response())
}

/// `GET /webhook-endpoints`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(call): Extension<Call>,
) -> Result<Response, Problem> {
    let lent = api.pool.lend_soon().await?;
    let found = api.store.endpoints(&lent.seat.connection.client, &call.caller.name, None).await;
    let found = lent.settle(found.map_err(Problem::from))?;
    Ok(([json_type()], format!(r#"{{"webhook_endpoints":[{}]}}"#, found.join(","))).into_response())
}

/// `GET /webhook-endpoints/{id}`.
pub(super) async fn show(
    State(api): State<Api>,
    Extension(call): Extension<Call>,
    Name(id): Name,
) -> Result<Response, Problem> {
    let id = body::id(&id, "webhook endpoint")?;
    let lent = api.pool.lend_soon().await?;
    let found = api.store.endpoints(&lent.seat.connection.client, &call.caller.name, Some(id)).await;
    let found = lent.settle(found.map_err(Problem::from))?.pop().ok_or_else(|| none(id))?;
    Ok(([json_type()], found).into_response())
}

/// `DELETE /webhook-endpoints/{id}`.
pub(super) async fn withdraw(
    State(api): State<Api>,
    Extension(call): Extension<Call>,
    Name(id): Name,
) -> Result<StatusCode, Problem> {
    let id = body::id(&id, "webhook endpoint")?;
    let lent = api.pool.lend_soon().await?;
    let withdrawn = api.store.withdraw_endpoint(&lent.seat.connection.client, &call.caller.name, id).await;
    if lent.settle(withdrawn.map_err(Problem::from))? { Ok(StatusCode::NO_CONTENT) } else { Err(none(id)) }
}

/// `POST /webhook-endpoints/{id}/rotate-secret`. The secret is told here and never again.
pub(super) async fn rotate(
    State(api): State<Api>,
    Extension(call): Extension<Call>,
    Name(id): Name,
) -> Result<Response, Problem> {
    let id = body::id(&id, "webhook endpoint")?;
    let secret = new_secret();
    let lent = api.pool.lend_soon().await?;
    let (client, overlap) = (&lent.seat.connection.client, api.settings.secret_overlap);
    let until = api.store.rotate_secret(client, &call.caller.name, id, &secret, overlap).await;
    let until = lent.settle(until.map_err(Problem::from))?.ok_or_else(|| none(id))?;
    let body =
        format!(r#"{{"endpoint_id":"{id}","secret":"{}","previous_secret_until":{until}}}"#, shown(&secret));
    Ok(([json_type()], body).into_response())
}

fn none(id: Uuid) -> Problem {
    Problem::new(Code::NotFound, format!("you have no webhook endpoint {id} in use"))
}

/// From the system's generator of random numbers, by way of the thread's, which is a cryptographic one.
fn new_secret() -> [u8; 32] {
    rand::random()
}

/// As Standard Webhooks writes them.
fn shown(secret: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

/// Whether webhooks may go there. Whether its address is a public one is checked when it is connected to: names change.
fn check(url: &str, loopback: bool) -> Result<(), &'static str> {
    if url.len() > 2000 {
        return Err("it is longer than 2000 bytes");
    }
    if url.contains('#') {
        return Err("it must have no fragment");
    }
    let parsed: Uri = url.parse().map_err(|_| "it is not a URL")?;
    let authority = parsed.authority().ok_or("it is not a whole URL: begin with https://")?;
    if authority.as_str().contains('@') {
        return Err("it must have no user or password: webhooks are signed instead");
    }
    let host = authority.host();
    if host.is_empty() {
        return Err("it has no host");
    }
    match parsed.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if loopback && is_loopback(host) => Ok(()),
        Some("http") if loopback => Err("it must be https; http is for loopback only"),
        _ => Err("it must be https"),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_go_by_https_and_for_development_to_loopback() {
        assert_eq!(check("https://hooks.example:8443/x?y=1", false), Ok(()));
        for wrong in [
            "http://hooks.example/x",
            "ftp://hooks.example",
            "hooks.example",
            "/x",
            "https://a:b@c/",
            "https://",
            "",
            "https://a/#b",
        ] {
            assert!(check(wrong, false).is_err(), "{wrong}");
        }
        for right in ["http://127.0.0.1:8080/", "http://localhost/", "http://[::1]:80/x"] {
            assert_eq!((check(right, true), check(right, false).is_err()), (Ok(()), true), "{right}");
        }
        assert!(check("http://127.0.0.1.example/", true).is_err());
    }

    #[test]
    fn secrets_are_written_as_receivers_expect_them() {
        assert!(shown(&[0; 32]).starts_with("whsec_AAAA"));
        assert_ne!(new_secret(), new_secret());
    }
}
