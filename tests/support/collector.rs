//! A collector of spans: OTLP over HTTP, read by OpenTelemetry's own generated types.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value},
    trace::v1::{self as otlp, span::SpanKind},
};
use prost::Message;
use tokio::task::JoinHandle;

use crate::support::wait;

/// What it does with a request.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    Status(u16),
    /// With `Retry-After: 1`.
    Later(u16),
    /// Takes it and never answers.
    Silence,
}

/// A span as it came.
#[derive(Debug, Clone)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub kind: SpanKind,
    pub trace: String,
    pub id: String,
    pub parent: String,
    /// Of links: trace and span.
    pub links: Vec<(String, String)>,
    pub attributes: BTreeMap<String, String>,
    pub failed: bool,
    pub times: (u64, u64),
}

impl Span {
    pub fn get(&self, attribute: &str) -> &str {
        self.attributes.get(attribute).map_or("", String::as_str)
    }
}

#[derive(Debug, Default)]
struct Inner {
    spans: Mutex<Vec<Span>>,
    replies: Mutex<VecDeque<Reply>>,
    headers: Mutex<Vec<HeaderMap>>,
    requests: AtomicUsize,
}

pub struct Collector {
    address: SocketAddr,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner::default());
        let app = Router::new().fallback(take).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, inner, task }
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it does with the next requests; then it takes all.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.inner.replies.lock().unwrap().extend(replies);
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.inner.requests.load(SeqCst)
    }

    pub fn headers(&self) -> Vec<HeaderMap> {
        self.inner.headers.lock().unwrap().clone()
    }

    /// What was taken.
    pub fn spans(&self) -> Vec<Span> {
        self.inner.spans.lock().unwrap().clone()
    }

    /// Waits until there are such spans as `enough` says.
    pub async fn wait_spans(&self, what: &str, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        wait::until(what, wait::LONG, async || enough(&self.spans())).await;
        self.spans()
    }
}

async fn take(State(inner): State<Arc<Inner>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    inner.requests.fetch_add(1, SeqCst);
    assert_eq!(uri.path(), "/v1/traces");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).expect("it is a request of OTLP");
    let reply = inner.replies.lock().unwrap().pop_front().unwrap_or(Reply::Status(200));
    let status = |status| StatusCode::from_u16(status).unwrap();
    match reply {
        Reply::Status(200) => {
            inner.headers.lock().unwrap().push(headers);
            inner.spans.lock().unwrap().extend(spans(request));
            StatusCode::OK.into_response()
        }
        Reply::Status(code) => status(code).into_response(),
        Reply::Later(code) => (status(code), [("retry-after", "1")]).into_response(),
        Reply::Silence => std::future::pending().await,
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = attributes(&of_resource.resource.expect("it says of whom").attributes);
        for span in of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
            spans.push(read(&resource["service.name"], span));
        }
    }
    spans
}

fn read(service: &str, span: otlp::Span) -> Span {
    assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
    Span {
        service: service.to_owned(),
        kind: span.kind(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        attributes: attributes(&span.attributes),
        failed: span.status.is_some_and(|status| status.code() == otlp::status::StatusCode::Error),
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
        name: span.name,
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{}: {other:?}", pair.key),
    };
    pairs.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
