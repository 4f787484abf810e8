//! The API as its clients see it: they ask until there is an answer, always with the same key.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use relay::http::client::{
    Bytes, HeaderName, HttpClient, Method, Request, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};

use super::clients::Wanted;
use crate::{
    part::http,
    servers::{PATIENCE, Result, until},
};

pub(crate) struct Shop {
    http: HttpClient,
    url: String,
    requests: AtomicU64,
    hung_up: AtomicU64,
    unanswered: AtomicU64,
    replayed: AtomicU64,
    contradictions: Mutex<Vec<String>>,
}

/// What was asked for shipments, and how it went.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    /// By clients that did not wait for the answer.
    pub(crate) hung_up: u64,
    /// The API was killed, or could not tell.
    pub(crate) unanswered: u64,
    /// Answers that said so.
    pub(crate) replayed: u64,
    /// Answers to one key that were not the same.
    pub(crate) contradictions: Vec<String>,
}

/// Where webhooks go.
pub(crate) struct Endpoint {
    pub(crate) id: String,
    pub(crate) secret: String,
}

pub(crate) fn json() -> Vec<(HeaderName, HeaderValue)> {
    vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))]
}

pub(crate) fn address(zip: &str) -> Value {
    json!({"name": "Ada", "street1": "2 Second St", "city": "Springfield", "state": "OR", "zip": zip, "country": "US"})
}

impl Shop {
    pub(crate) fn new(url: &str) -> Result<Self> {
        Ok(Self {
            http: http()?,
            url: url.to_owned(),
            requests: AtomicU64::new(0),
            hung_up: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            replayed: AtomicU64::new(0),
            contradictions: Mutex::default(),
        })
    }

    pub(crate) fn tally(&self) -> Tally {
        let contradictions = self.contradictions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Tally {
            requests: self.requests.load(Relaxed),
            hung_up: self.hung_up.load(Relaxed),
            unanswered: self.unanswered.load(Relaxed),
            replayed: self.replayed.load(Relaxed),
            contradictions,
        }
    }

    /// Waits until a client is left without an answer once more.
    pub(crate) async fn unanswered_more(&self) -> Result<()> {
        let before = self.unanswered.load(Relaxed);
        until("a client is left without an answer", async || Ok(self.unanswered.load(Relaxed) > before)).await
    }

    fn request(&self, method: Method, path: &str, key: &str, body: Bytes) -> Result<Request> {
        let mut headers = json();
        headers.push((AUTHORIZATION, HeaderValue::from_static("Bearer secret")));
        if !key.is_empty() {
            headers.push((HeaderName::from_static("idempotency-key"), HeaderValue::from_str(key)?));
        }
        Ok(Request { method, url: format!("{}{path}", self.url), headers, body })
    }

    /// Asks until there is an answer. No answer and a busy server say nothing about whether it was done.
    async fn ask(&self, method: Method, path: &str, key: &str, body: Bytes) -> Result<Response> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.requests.fetch_add(u64::from(path == "/shipments"), Relaxed);
            match self.http.send(self.request(method.clone(), path, key, body.clone())?).await {
                Ok(response) if (200..300).contains(&response.status) => return Ok(response),
                // In progress, too many at a time, or no database just now.
                Ok(response) if response.retry_after.is_some() => {}
                Ok(response) => {
                    let answer = String::from_utf8_lossy(&response.body).into_owned();
                    return Err(format!("{method} {path}: {} {answer}", response.status).into());
                }
                Err(_) => {}
            }
            self.unanswered.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("{method} {path}: no answer within {PATIENCE:?}").into())
    }

    pub(crate) async fn register(&self, url: &str) -> Result<Endpoint> {
        let body = json!({ "url": url }).to_string();
        let answer = self.ask(Method::POST, "/webhook-endpoints", "", body.into()).await?;
        let answer: Value = serde_json::from_slice(&answer.body)?;
        let text = |name: &str| answer[name].as_str().map(str::to_owned).ok_or("no endpoint");
        Ok(Endpoint { id: text("endpoint_id")?, secret: text("secret")? })
    }

    /// Adds an order of many apples. Its customer is told by mail, somebody else by webhook.
    pub(crate) async fn put_order(&self, order: &str, endpoint: &str) -> Result<()> {
        let body = json!({
            "currency": "USD", "ship_to": address("97477"),
            "lines": [{"sku": "apple", "ordered": 1000, "unit_price_minor": 150}],
            "parties": [{"role": "customer", "mail": "ada@example.com"}, {"role": "other", "endpoint_id": endpoint}],
        });
        self.ask(Method::PUT, &format!("/orders/{order}"), "", body.to_string().into()).await?;
        Ok(())
    }

    /// Has a shipment accepted.
    pub(crate) async fn accept(&self, wanted: &mut Wanted) -> Result<()> {
        let answer = self.ask(Method::POST, "/shipments", &wanted.key, wanted.body.clone()).await?;
        self.replayed.fetch_add(u64::from(answer.headers.contains_key("idempotency-replayed")), Relaxed);
        let body: Value = serde_json::from_slice(&answer.body)?;
        wanted.id = body["shipment_id"].as_str().ok_or("no id of a shipment")?.to_owned();
        wanted.answer = answer.body;
        Ok(())
    }

    /// Asks again for what was accepted.
    pub(crate) async fn repeat(&self, wanted: &Wanted) -> Result<()> {
        let mut again = wanted.clone();
        self.accept(&mut again).await?;
        self.agree(wanted, &again);
        Ok(())
    }

    /// All answers to one key have to be the same, byte for byte.
    pub(crate) fn agree(&self, wanted: &Wanted, again: &Wanted) {
        if again.answer != wanted.answer {
            let what = format!("key {} was answered {} and {}", wanted.key, wanted.id, again.id);
            self.contradictions.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        }
    }

    /// Asks, and is gone after this time.
    pub(crate) async fn hang_up(&self, wanted: &Wanted, after: Duration) -> Result<()> {
        self.requests.fetch_add(1, Relaxed);
        let request = self.request(Method::POST, "/shipments", &wanted.key, wanted.body.clone())?;
        let gone = tokio::time::timeout(after, self.http.send(request)).await.is_err();
        self.hung_up.fetch_add(u64::from(gone), Relaxed);
        Ok(())
    }

    /// Cancels a shipment, twice.
    pub(crate) async fn cancel(&self, wanted: &Wanted) -> Result<()> {
        let path = format!("/shipments/{}/cancel", wanted.id);
        for _ in 0..2 {
            let body = json!({"reason": "the customer has changed their mind"}).to_string();
            self.ask(Method::POST, &path, &format!("cancel-{}", wanted.key), body.into()).await?;
        }
        Ok(())
    }
}
