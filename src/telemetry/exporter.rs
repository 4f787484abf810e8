//! The task that exports spans. Whatever the collector does, it costs those who make spans nothing: what finds no room is
//! dropped and counted. A collector that is away is tried again, ever more rarely, and said once a minute.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{encode, environment::TelemetrySettings, queue::Queue, span::Span};
use crate::{
    cause::chain,
    drain::signalled,
    http::{
        client::{Bytes, HttpClient, HttpSettings, Method, Request, header},
        error::{Cause, HttpError},
        transport::TlsError,
    },
    reconnect::Reconnect,
    storm::Lasting,
};

/// The longest answer of a collector.
const ANSWER: usize = 64 * 1024;

/// Exports to one collector.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: Arc<Queue>,
    http: HttpClient,
    request: Request,
    resource: Vec<(String, String)>,
    delay: Duration,
    trouble: Lasting,
}

/// Why spans were not exported.
enum Failure {
    /// They may be, another time, not before so long if the collector said so.
    Later(String, Option<Duration>),
    /// Not these.
    Never(String),
}

/// Settings that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The certificates can't be read.
    #[error("OTEL_EXPORTER_OTLP_CERTIFICATE")]
    Tls(#[from] TlsError),
    /// A header has characters that no header may have.
    #[error("OTEL_EXPORTER_OTLP_HEADERS: a name or a value has characters that no header may have")]
    Header,
}

impl Exporter {
    pub(super) fn new(settings: TelemetrySettings, queue: Arc<Queue>) -> Result<Self, TelemetryError> {
        let bounds = HttpSettings {
            connect_timeout: settings.timeout,
            read_timeout: settings.timeout,
            deadline: settings.timeout,
            body_cap: ANSWER,
            user_agent: concat!("relay/", env!("CARGO_PKG_VERSION")).to_owned(),
            ca_file: settings.ca_file,
            ..HttpSettings::default()
        };
        let protobuf = header::HeaderValue::from_static("application/x-protobuf");
        let mut headers = vec![(header::CONTENT_TYPE, protobuf)];
        for (name, value) in settings.headers {
            let name = name.parse().map_err(|_| TelemetryError::Header)?;
            let mut value: header::HeaderValue = value.parse().map_err(|_| TelemetryError::Header)?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        let request = Request { method: Method::POST, url: settings.endpoint, headers, body: Bytes::new() };
        Ok(Self {
            queue,
            http: HttpClient::new(bounds, None)?,
            request,
            resource: settings.resource,
            delay: settings.delay,
            trouble: Lasting::default(),
        })
    }

    /// Exports until `stop` says 1, and then once more whatever is left.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<u8>) {
        while *stop.borrow() == 0 {
            tokio::select! {
                () = self.queue.filled.notified() => {}
                () = tokio::time::sleep(self.delay) => {}
                () = signalled(&mut stop, 1) => break,
            }
            loop {
                self.export(&mut stop).await;
                if *stop.borrow() > 0 || !self.queue.is_filled() {
                    break;
                }
            }
        }
        loop {
            let spans = self.queue.take();
            if spans.is_empty() {
                return;
            }
            if let Err(Failure::Later(why, _) | Failure::Never(why)) =
                self.send(self.body(&spans), spans.len()).await
            {
                self.queue.metrics.dropped(spans.len());
                let lost = spans.len() + self.queue.abandon();
                tracing::warn!("{lost} spans are lost with the end of this process: {why}");
                return;
            }
        }
    }

    /// Exports what waits, up to a request's worth, for as long as it takes; or until `stop` says 1.
    async fn export(&mut self, stop: &mut watch::Receiver<u8>) {
        let spans = self.queue.take();
        if spans.is_empty() {
            return;
        }
        let (body, count) = (self.body(&spans), spans.len());
        let mut reconnect = Reconnect::default();
        loop {
            let (why, asked) = match self.send(body.clone(), count).await {
                Ok(()) => {
                    if let Some(lasted) = self.trouble.over(Instant::now()) {
                        tracing::info!(seconds = lasted.as_secs(), "spans are exported again");
                    }
                    return;
                }
                Err(Failure::Never(why)) => {
                    self.queue.metrics.refused(count);
                    return self.complain(&why);
                }
                Err(Failure::Later(why, asked)) => (why, asked),
            };
            self.complain(&why);
            let wait = reconnect.failed().max(asked.unwrap_or_default());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = signalled(stop, 1) => return self.queue.metrics.dropped(count),
            }
        }
    }

    fn complain(&mut self, why: &str) {
        if let Some(lasting) = self.trouble.shows(Instant::now()) {
            tracing::warn!(seconds = lasting.as_secs(), "spans are not exported: {why}");
        }
    }

    fn body(&self, spans: &[Span]) -> Bytes {
        encode::request(&self.resource, spans).into()
    }

    async fn send(&self, body: Bytes, spans: usize) -> Result<(), Failure> {
        match self.http.send(Request { body, ..self.request.clone() }).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                self.queue.metrics.exported(spans);
                Ok(())
            }
            // Those that OTLP says are worth another try.
            Ok(answer) if matches!(answer.status, 429 | 502 | 503 | 504) => {
                let why = format!("the collector answers {}", answer.status);
                Err(Failure::Later(why, answer.retry_after))
            }
            Ok(answer) => Err(Failure::Never(format!("the collector answers {}", answer.status))),
            Err(error @ HttpError::MaybeDone(Cause::TooLong(_) | Cause::Encoded(_))) => {
                Err(Failure::Never(chain(&error)))
            }
            Err(error) => Err(Failure::Later(chain(&error), None)),
        }
    }
}
