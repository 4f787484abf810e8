//! What every request passes: whether it may, how many are at work, how long it takes; and the headers of every answer.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    Page, Shared,
    access::{May, Refusal, Sent},
    problem::Problem,
};

/// How long a look may take. A statement may take less: see [`super::outbox`].
const LOOK: Duration = Duration::from_secs(12);
/// How long an act may take: many rows are dealt with in many statements.
const ACT: Duration = Duration::from_secs(60);
/// How often tokens that nobody knows are said to come.
const SAY: Duration = Duration::from_secs(60);

/// What is asked without a token: whether there is need of one.
const SESSION: &str = "/api/session";
const API: &str = "/api/";

/// Headers of every answer. Nothing is loaded but what is served here, nothing runs that is written into the page, and nobody
/// frames it.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Whose request it is.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    /// What they may do.
    pub(super) may: May,
    /// Who they are, for the audit, if they do something.
    pub(super) actor: String,
}

/// Tokens that nobody knows, to be said now and then and not each time: guessing must not fill the log.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<(Option<Instant>, u64)>);

impl Refusals {
    /// Counts one; returns how many there were since it was last said, if it is to be said now.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, count) = &mut *state;
        *count += 1;
        if said.is_some_and(|said| now.saturating_duration_since(said) < SAY) {
            return None;
        }
        *said = Some(now);
        Some(std::mem::take(count))
    }
}

/// Lets a request through, or says why not.
pub(super) async fn gate(State(page): State<Page>, mut request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with(API);
    let mut response = match page.0.admit(request.method(), request.uri().path(), request.headers()) {
        Err(refusal) => {
            page.0.tell(refusal);
            Problem::from(refusal).into_response()
        }
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            page.0.work(request, next).await
        }
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_api {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// The only value of a header, if it is text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let only = values.next().filter(|_| values.next().is_none());
    only.and_then(|value| value.to_str().ok())
}

impl Shared {
    fn admit(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<Visitor, Refusal> {
        let host = text(headers, "host");
        self.access.serves(host)?;
        let nobody = Visitor { may: May::Nothing, actor: String::new() };
        if !path.starts_with(API) {
            return Ok(nobody);
        }
        let authorization = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let may = self.access.may(authorization)?;
        if path == SESSION {
            return Ok(Visitor { may, ..nobody });
        }
        if [Method::GET, Method::HEAD].contains(method) {
            self.access.look(may)?;
            return Ok(Visitor { may, ..nobody });
        }
        let sent = Sent {
            host,
            origin: text(headers, "origin"),
            fetch_site: text(headers, "sec-fetch-site"),
            content_type: text(headers, "content-type"),
            actor: text(headers, "x-relay-actor"),
        };
        Ok(Visitor { may, actor: self.access.act(may, sent)? })
    }

    fn tell(&self, refusal: Refusal) {
        if refusal == Refusal::UnknownToken
            && let Some(count) = self.refusals.count(Instant::now())
        {
            tracing::warn!(
                count,
                "the operators' page refused {count} requests with tokens that are not its own"
            );
        }
    }

    /// The handler, in a place of its own and within its time.
    async fn work(&self, request: Request, next: Next) -> Response {
        let Ok(_place) = self.places.try_acquire() else {
            return Problem::busy(format!("{} requests are being worked at already", super::REQUESTS))
                .into_response();
        };
        let (time, cure) = match *request.method() {
            Method::POST => (ACT, "whether it was done is not known: look at it again"),
            _ => (LOOK, "try again, or use the command line"),
        };
        tokio::time::timeout(time, next.run(request)).await.unwrap_or_else(|_| {
            Problem::slow(format!("it took longer than {time:?}")).cure(cure).into_response()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_nobody_knows_are_said_once_a_minute_with_their_number() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.count(start), Some(1));
        for second in 0..60 {
            assert_eq!(refusals.count(start + Duration::from_secs(second)), None, "{second}");
        }
        assert_eq!(refusals.count(start + SAY), Some(61));
    }
}
