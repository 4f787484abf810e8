//! What every request passes: who it is from, how often they ask, how many are at work, how long it takes; and the line
//! in the log.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;
use uuid::Uuid;

use super::{
    answer::value,
    body::declared_length,
    callers::Caller,
    problem::{Code, Problem},
    routes::{CARRIER_WEBHOOKS, PUBLIC, SHIPMENT},
    state::{Api, Call},
    trace::Trace,
};
use crate::{
    metrics::ApiMetrics,
    telemetry::{Served, served, unix_nanos},
};

/// Lets a request through, and reports on it.
pub(super) async fn gate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let mut trace = trace(request.headers());
    let span = api.settings.tracer.begin(trace.context());
    if let Some(span) = span {
        trace.goes_on_in(span.context);
    }
    let trace_id = trace.context().map(|context| context.trace());
    let trace = Arc::new(trace);
    let path = span.map(|_| request.uri().path().to_owned()).unwrap_or_default();
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    let caller = api.admit(route, request.headers(), begun);
    let at_work = AtWork::begin(&api.metrics);
    let (name, mut response) = match caller {
        Err(problem) => ("-".to_owned(), problem.into_response()),
        Ok(caller) => {
            let name = caller.name.clone();
            request.extensions_mut().insert(Call { caller, trace: Arc::clone(&trace) });
            // Whatever is logged meanwhile is found by the same ids. At this level no filter drops it.
            let about = tracing::error_span!(
                "request",
                request_id = trace.request_id,
                trace_id = trace_id.as_deref()
            );
            (name, api.work(route, request, next).instrument(about).await)
        }
    };
    drop(at_work);
    let id = value(&trace.request_id);
    response.headers_mut().insert("x-request-id", id);
    response.headers_mut().insert(header::CACHE_CONTROL, value("no-store"));
    let (status, time) = (response.status(), begun.elapsed());
    // Of the methods, those that a route takes; a label must not be the caller's to choose.
    let known = known(method.as_str());
    let label = if status == StatusCode::METHOD_NOT_ALLOWED { OTHER } else { known.unwrap_or(OTHER) };
    api.metrics.requests.with_label_values(&[route, label, status.as_str()]).inc();
    api.metrics.seconds.with_label_values(&[route, label]).observe(time.as_secs_f64());
    let problem = response.extensions().get::<Code>().map(|code| code.as_str());
    if let Some(code) = problem {
        api.metrics.problems.with_label_values(&[code]).inc();
    }
    if let Some(span) = span.filter(|span| span.context.sampled) {
        let served = served(
            &Served {
                method: known,
                route: matched.as_ref().map(MatchedPath::as_str),
                path: &path,
                status: status.as_u16(),
                problem,
                request_id: &trace.request_id,
                state: trace.tracestate.as_deref(),
            },
            (span, unix_nanos()),
        );
        api.settings.tracer.record(vec![served]);
    }
    tracing::info!(
        request_id = trace.request_id,
        trace_id,
        caller = name,
        status = status.as_u16(),
        problem,
        micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
        "{method} {route}"
    );
    response
}

/// A request that is counted as being at work until this is dropped: a client that hangs up ends it at any await.
struct AtWork<'a>(&'a ApiMetrics);

impl<'a> AtWork<'a> {
    fn begin(metrics: &'a ApiMetrics) -> Self {
        metrics.in_flight.inc();
        Self(metrics)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// The label of every other method.
const OTHER: &str = "other";

fn known(method: &str) -> Option<&'static str> {
    ["GET", "HEAD", "POST", "PUT", "DELETE"].into_iter().find(|known| *known == method)
}

fn trace(headers: &HeaderMap) -> Trace {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Trace::read(text("x-request-id"), text("traceparent"), text("tracestate"), Uuid::new_v4())
}

impl super::state::Shared {
    /// Who asks, if they may.
    fn admit(&self, route: &str, headers: &HeaderMap, now: Instant) -> Result<Arc<Caller>, Problem> {
        let caller = if route == CARRIER_WEBHOOKS || PUBLIC.contains(&route) {
            Arc::clone(&self.carrier)
        } else {
            let authorization = headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
            self.settings.callers.identify(authorization).ok_or_else(|| {
                Problem::new(Code::Unauthorized, "send Authorization: Bearer with a token that is known here")
            })?
        };
        caller.admit(self.settings.limits.rate, now).map_err(|wait| {
            let seconds = wait.as_secs_f64().ceil().max(1.0);
            let mut problem = Problem::new(
                Code::TooManyRequests,
                format!("{} asks too often; wait {seconds} s", caller.name),
            );
            problem.retry_after = Some(Duration::from_secs_f64(seconds).as_secs());
            problem
        })?;
        Ok(caller)
    }

    /// The handler, in a place of its own and within its time.
    async fn work(&self, route: &str, request: Request, next: Next) -> Response {
        let limits = self.settings.limits;
        // Who waits for a change works at nothing, and has places of its own.
        let waits = route == SHIPMENT && request.uri().query().is_some_and(|query| query.contains("wait="));
        let place = if waits { None } else { Some(self.places.try_acquire()) };
        if matches!(place, Some(Err(_))) {
            let detail = format!("{} requests are being worked at already", limits.requests);
            return Problem::new(Code::Overloaded, detail).into_response();
        }
        let Ok(_room) = self.room.try_acquire_many(self.weight(request.headers())) else {
            return Problem::new(Code::Overloaded, "other requests have long bodies").into_response();
        };
        let time = limits.arrival + limits.work + if waits { limits.wait } else { Duration::ZERO };
        tokio::time::timeout(time, next.run(request)).await.unwrap_or_else(|_| {
            Problem::new(Code::TimedOut, "it is not known whether it was done; ask again with the same key")
                .into_response()
        })
    }

    /// What a request's body may take up, in KiB. One that does not say how long it is may be as long as any.
    fn weight(&self, headers: &HeaderMap) -> u32 {
        let longest = self.settings.limits.longest();
        let chunked = headers.contains_key(header::TRANSFER_ENCODING).then_some(longest);
        let declared = declared_length(headers).map(|length| usize::try_from(length).unwrap_or(longest));
        let bytes = declared.or(chunked).unwrap_or(0).min(longest);
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
    }
}
