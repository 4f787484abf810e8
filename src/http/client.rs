//! One request, one connection, one answer or an error that says whether the request may have had its effect.
//!
//! A connection is used once. A kept one may have been closed by the other side at any moment, and then nobody can say
//! whether a request written to it was read; with a new one, everything up to the handshake's end is certainly not
//! sent. The price is a handshake for each call, which is small beside what a third party takes to answer.
//!
//! No redirects, cookies, proxies or decompression: a request goes where it was told to, or nowhere.

use std::{path::PathBuf, time::Duration, time::SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::{
    client::conn::http1,
    header::{
        ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
    },
};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout, timeout_at};

pub use hyper::{
    Method,
    body::Bytes,
    header::{self, HeaderName},
};

use super::{
    error::{Cause, HttpError},
    retry_after::retry_after,
    transport::{AddressCheck, Connection, Target, TlsError, Transport},
};

/// Bounds of every request.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// For resolving, connecting and TLS together.
    pub connect_timeout: Duration,
    /// The longest silence: before the answer begins, and within it.
    pub read_timeout: Duration,
    /// For everything from the first look at the name to the last byte of the answer.
    pub deadline: Duration,
    /// The longest body of an answer, in bytes.
    pub body_cap: usize,
    /// The longest head of an answer, in bytes; at least 8,192.
    pub head_cap: usize,
    /// The longest wait that a server may ask for.
    pub retry_after_cap: Duration,
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// Certificates to trust beside the system's, as PEM.
    pub ca_file: Option<PathBuf>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(15),
            deadline: Duration::from_secs(30),
            body_cap: 1024 * 1024,
            head_cap: 16 * 1024,
            retry_after_cap: Duration::from_secs(10 * 60),
            user_agent: concat!("shipments/", env!("CARGO_PKG_VERSION")).to_owned(),
            ca_file: None,
        }
    }
}

/// The least that hyper takes for a head.
const LEAST_HEAD: usize = 8 * 1024;
/// The most header lines of an answer.
const HEADERS: usize = 100;

/// What to send.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET, POST and so on.
    pub method: Method,
    /// Where, with scheme and host.
    pub url: String,
    /// Beside `Host`, `User-Agent`, `Accept-Encoding` and `Connection`, which are set.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body; empty is none.
    pub body: Bytes,
}

/// A whole answer, of whatever status.
#[derive(Debug, Clone)]
pub struct Response {
    /// 200 and so on.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The wait it asks for, if it does, clamped to the cap.
    pub retry_after: Option<Duration>,
    /// Its body, within the cap.
    pub body: Bytes,
}

/// Sends requests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient {
    settings: HttpSettings,
    transport: Transport,
}

impl HttpClient {
    /// A client within these bounds; `check` looks at each address before it is connected to.
    ///
    /// # Errors
    /// When the certificates can't be read.
    pub fn new(settings: HttpSettings, check: Option<AddressCheck>) -> Result<Self, TlsError> {
        let transport = Transport::new(settings.ca_file.clone(), check)?;
        Ok(Self { settings, transport })
    }

    /// Connects as a request to this URL would, and sends nothing.
    ///
    /// # Errors
    /// Why a request would not be sent.
    pub async fn reach(&self, url: &str) -> Result<(), Cause> {
        let target = Target::of(url)?;
        let limit = self.settings.connect_timeout.min(self.settings.deadline);
        let connecting = timeout(limit, self.transport.connect(&target)).await;
        connecting.map_err(|_| Cause::ConnectTimeout(limit))?.map(drop)
    }

    /// Sends a request once and reads the whole answer. Dropping the future closes the connection; the request may
    /// have had its effect then.
    ///
    /// # Errors
    /// When there is no whole answer; the error says whether the request may have had its effect.
    pub async fn send(&self, request: Request) -> Result<Response, HttpError> {
        let settings = &self.settings;
        let deadline = Instant::now() + settings.deadline;
        let target = Target::of(&request.url).map_err(HttpError::NotSent)?;
        let request = prepare(request, &target, &settings.user_agent).map_err(HttpError::NotSent)?;
        let limit = settings.connect_timeout.min(settings.deadline);
        let connection = timeout(limit, self.transport.connect(&target))
            .await
            .map_err(|_| HttpError::NotSent(Cause::ConnectTimeout(limit)))?
            .map_err(HttpError::NotSent)?;
        timeout_at(deadline, self.exchange(connection, request))
            .await
            .map_err(|_| Cause::Deadline(settings.deadline))
            .and_then(|result| result)
            .map_err(HttpError::MaybeDone)
    }

    async fn exchange(
        &self,
        connection: Box<dyn Connection>,
        request: hyper::Request<Full<Bytes>>,
    ) -> Result<Response, Cause> {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(self.settings.head_cap.max(LEAST_HEAD))
            .max_headers(HEADERS)
            .handshake(TokioIo::new(connection))
            .await
            .map_err(Cause::Broken)?;
        let exchange = async {
            let response = self.patiently(sender.send_request(request)).await?;
            self.read(response).await
        };
        // The connection moves the bytes; it lives no longer than this future.
        let mut exchange = Box::pin(exchange);
        tokio::select! {
            biased;
            result = &mut exchange => result,
            // What broke it, if anything did, is also what the exchange fails with.
            _ = connection => exchange.await,
        }
    }

    async fn read(&self, response: hyper::Response<hyper::body::Incoming>) -> Result<Response, Cause> {
        let (head, mut incoming) = response.into_parts();
        let encoding = head.headers.get(CONTENT_ENCODING);
        if let Some(encoding) =
            encoding.filter(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            let named = String::from_utf8_lossy(encoding.as_bytes()).chars().take(40).collect();
            return Err(Cause::Encoded(named));
        }
        let mut body = Vec::new();
        while let Some(frame) = self.patiently_next(&mut incoming).await? {
            if let Ok(data) = frame.into_data() {
                if body.len() + data.len() > self.settings.body_cap {
                    return Err(Cause::TooLong(self.settings.body_cap));
                }
                body.extend_from_slice(&data);
            }
        }
        let wait = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after =
            wait.and_then(|wait| retry_after(wait, SystemTime::now(), self.settings.retry_after_cap));
        Ok(Response { status: head.status.as_u16(), headers: head.headers, retry_after, body: body.into() })
    }

    async fn patiently<T>(&self, work: impl Future<Output = hyper::Result<T>>) -> Result<T, Cause> {
        let limit = self.settings.read_timeout;
        timeout(limit, work).await.map_err(|_| Cause::ReadTimeout(limit))?.map_err(Cause::Broken)
    }

    async fn patiently_next(
        &self,
        incoming: &mut hyper::body::Incoming,
    ) -> Result<Option<hyper::body::Frame<Bytes>>, Cause> {
        self.patiently(async { incoming.frame().await.transpose() }).await
    }
}

fn prepare(request: Request, target: &Target, agent: &str) -> Result<hyper::Request<Full<Bytes>>, Cause> {
    let unusable = |what: &str| Cause::Unusable(format!("{what} has characters that no header may have"));
    let mut headers = HeaderMap::new();
    headers.insert(HOST, target.authority.parse().map_err(|_| unusable("the host"))?);
    headers.insert(USER_AGENT, agent.parse().map_err(|_| unusable("the user agent"))?);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.extend(request.headers);
    let mut prepared = hyper::Request::new(Full::new(request.body));
    *prepared.method_mut() = request.method;
    *prepared.uri_mut() = target.path.clone();
    *prepared.headers_mut() = headers;
    Ok(prepared)
}
