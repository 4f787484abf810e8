//! The carrier's webhooks, going out: signed in both versions, repeated a few times, then given up, as the real ones
//! are. What was not sent when the process ends is lost: receivers poll as well.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::api::{News, written};
use crate::{
    config::Secret,
    http::client::{HttpClient, Method, Request, header},
};

/// Where they go.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// The URL.
    pub url: String,
    /// What they are signed with.
    pub secret: Secret,
}

/// So many wait to be sent; more are dropped, with a warning.
pub const QUEUE: usize = 10_000;
/// How often each is tried.
const ATTEMPTS: u32 = 7;

/// Sends what comes, in order, until nobody can send any more.
pub async fn deliver(receiver: Receiver, http: HttpClient, mut news: mpsc::Receiver<News>) {
    while let Some(News { description, result }) = news.recv().await {
        let now = u64::try_from(
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis(),
        )
        .unwrap_or(u64::MAX);
        let body = json!({
            "id": format!("evt_{}", Uuid::new_v4().simple()), "object": "Event", "mode": "test",
            "description": description, "previous_attributes": {}, "result": result, "status": "pending",
            "pending_urls": [receiver.url], "completed_urls": [],
            "created_at": written(now), "updated_at": written(now),
        })
        .to_string();
        for attempt in 0..ATTEMPTS {
            match http.send(signed(&receiver, body.clone())).await {
                Ok(response) if (200..300).contains(&response.status) => break,
                Ok(response) => tracing::info!(attempt, "a webhook got status {}", response.status),
                Err(error) => tracing::info!(attempt, "a webhook failed: {}", crate::cause::chain(&error)),
            }
            tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
        }
    }
}

/// A request with both signatures, made now: a repeated one is as fresh as the first.
fn signed(receiver: &Receiver, body: String) -> Request {
    let date = httpdate::fmt_http_date(SystemTime::now()).replace("GMT", "-0000");
    let path = path(&receiver.url);
    let sign = |parts: &[&str]| {
        let mut hex = "hmac-sha256-hex=".to_owned();
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(receiver.secret.expose().as_bytes()) {
            parts.iter().for_each(|part| mac.update(part.as_bytes()));
            mac.finalize().into_bytes().iter().for_each(|byte| hex.push_str(&format!("{byte:02x}")));
        }
        hex
    };
    let named = |name: &'static str, value: &str| {
        let value = header::HeaderValue::from_str(value).ok()?;
        Some((header::HeaderName::from_static(name), value))
    };
    let headers = [
        named("content-type", "application/json"),
        named("x-hmac-signature", &sign(&[&body])),
        named("x-hmac-signature-v2", &sign(&[&date, "POST", path, &body])),
        named("x-timestamp", &date),
        named("x-path", path),
    ];
    let headers = headers.into_iter().flatten().collect();
    Request { method: Method::POST, url: receiver.url.clone(), headers, body: body.into() }
}

/// The path of a URL, with its query.
fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..])
}
