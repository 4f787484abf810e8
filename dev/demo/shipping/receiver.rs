//! A receiver of webhooks that keeps what it is told. Now and then it has taken one and says that it has not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::servers::Result;

/// Every so many calls, what it took is refused.
const REFUSED: usize = 15;

/// A call as it came.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// What receivers dedupe by.
    pub(crate) id: String,
    pub(crate) body: Bytes,
    /// Whether the signature is of its secret.
    pub(crate) signed: bool,
}

impl Call {
    /// The shipment, and what is said of it.
    pub(crate) fn what(&self) -> Option<(String, String)> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let kind = body["type"].as_str()?.strip_prefix("shipment.")?;
        Some((body["data"]["shipment_id"].as_str()?.to_owned(), kind.to_owned()))
    }
}

#[derive(Default)]
struct Inner {
    calls: Mutex<Vec<Call>>,
    secret: Mutex<Vec<u8>>,
}

pub(crate) struct Receiver {
    inner: Arc<Inner>,
    url: String,
}

impl Receiver {
    pub(crate) async fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/shipped", listener.local_addr()?);
        let inner = Arc::new(Inner::default());
        let app = Router::new().fallback(receive).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { inner, url })
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// What it will be signed with: `whsec_` and base64.
    pub(crate) fn expect(&self, secret: &str) -> Result<()> {
        let encoded = secret.strip_prefix("whsec_").ok_or("the secret does not begin with whsec_")?;
        *lock(&self.inner.secret) = STANDARD.decode(encoded)?;
        Ok(())
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        lock(&self.inner.calls).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn receive(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (id, at, signature) = (text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"));
    let signed =
        sign(&lock(&inner.secret), &format!("{id}.{at}."), &body).is_some_and(|sign| sign == signature);
    let mut calls = lock(&inner.calls);
    calls.push(Call { id, body, signed });
    match calls.len() % REFUSED {
        0 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::NO_CONTENT,
    }
}

/// As docs/webhooks.md describes it to receivers.
fn sign(secret: &[u8], head: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(head.as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}
