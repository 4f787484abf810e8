//! A receiver of webhooks, on HTTP.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use tokio::{net::TcpSocket, sync::Semaphore, task::JoinHandle};

use crate::support::wait;

/// What it does with a call.
#[derive(Debug, Clone)]
pub enum Reply {
    Status(u16),
    With(u16, &'static str, String),
    /// Takes the call and answers when the test opens the gate.
    AtGate(u16),
    /// Takes the call and never answers.
    Silence,
}

/// A call as it came.
#[derive(Debug, Clone)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub at: SystemTime,
}

#[derive(Debug)]
struct Inner {
    calls: Mutex<Vec<Call>>,
    replies: Mutex<VecDeque<Reply>>,
    gate: Semaphore,
}

pub struct Receiver {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(
    State(inner): State<Arc<Inner>>,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call = Call { path: uri.path().to_owned(), headers, body: body.to_vec(), at: SystemTime::now() };
    inner.calls.lock().unwrap().push(call);
    let reply = inner.replies.lock().unwrap().pop_front().unwrap_or(Reply::Status(204));
    let status = |status| StatusCode::from_u16(status).unwrap();
    match reply {
        Reply::Status(code) => status(code).into_response(),
        Reply::With(code, name, value) => (status(code), [(name, value)]).into_response(),
        Reply::AtGate(code) => {
            inner.gate.acquire().await.unwrap().forget();
            status(code).into_response()
        }
        Reply::Silence => std::future::pending().await,
    }
}

/// An address that nobody listens at, and that nobody else gets: a receiver that is down.
pub fn closed() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

impl Receiver {
    pub fn new() -> Self {
        Self::at(closed())
    }

    /// Listens from now on.
    pub fn at(socket: TcpSocket) -> Self {
        let inner =
            Arc::new(Inner { calls: Mutex::default(), replies: Mutex::default(), gate: Semaphore::new(0) });
        let listener = socket.listen(128).unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(receive).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, inner, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What it does with the next calls; then it answers 204.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.inner.replies.lock().unwrap().extend(replies);
    }

    pub fn open_gate(&self) {
        self.inner.gate.add_permits(1);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.inner.calls.lock().unwrap().clone()
    }

    pub async fn wait_calls(&self, count: usize) -> Vec<Call> {
        wait::until(&format!("{count} calls of the webhook"), wait::LONG, async || {
            self.calls().len() >= count
        })
        .await;
        self.calls()
    }
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// How many of its signatures each of these secrets made; a receiver accepts with one.
    pub fn signed_by(&self, secret: &[u8]) -> bool {
        let timestamp: u64 = self.header("webhook-timestamp").parse().unwrap();
        let now = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(timestamp) <= 300, "its time is {timestamp}, and it is {now}");
        let signed =
            [self.id().as_bytes(), b".", timestamp.to_string().as_bytes(), b".", &self.body].concat();
        let expected = format!("v1,{}", STANDARD.encode(hmac(secret, &signed)));
        self.header("webhook-signature").split(' ').any(|signature| signature == expected)
    }
}

/// HMAC-SHA256 as RFC 2104 writes it down, made of the hash alone.
pub fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::digest([&pad(0x36), message].concat());
    Sha256::digest([&pad(0x5c), &inner[..]].concat()).to_vec()
}

/// Long enough that nothing more comes.
pub const QUIET: Duration = Duration::from_millis(400);
