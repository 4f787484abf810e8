//! Calling a webhook once.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use super::{
    attempt::Attempt,
    rows::Endpoint,
    signing::signatures,
    ssrf::{self, Network},
};
use crate::{
    breaker,
    cause::chain,
    http::{
        client::{Bytes, HttpClient, HttpSettings, Method, Request, Response, header},
        error::HttpError,
        gate::health,
        transport::TlsError,
    },
    shipping::saga::Outcome,
};

/// How webhooks are called.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Networks that may be called although they are not public: in development and in tests.
    pub allow: Vec<Network>,
    /// Whether http is allowed beside https.
    pub allow_http: bool,
    /// For resolving, connecting and TLS together.
    pub connect_timeout: Duration,
    /// For everything, from the first look at the name to the end of the answer.
    pub deadline: Duration,
    /// Certificates to trust beside the system's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Calls of one endpoint at a time.
    pub each: usize,
    /// An endpoint that nothing reached for so long is disabled.
    pub give_up_after: Duration,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            allow: vec![],
            allow_http: false,
            connect_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(20),
            ca_file: None,
            each: 2,
            give_up_after: Duration::from_secs(3 * 24 * 60 * 60),
        }
    }
}

/// The longest answer that is read: nothing in it matters.
const ANSWER_BYTES: usize = 64 * 1024;

/// Calls webhooks. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    http: HttpClient,
    allow_http: bool,
}

impl Caller {
    pub(super) fn new(settings: &WebhookSettings) -> Result<Self, TlsError> {
        let allow = settings.allow.clone();
        let http = HttpSettings {
            connect_timeout: settings.connect_timeout,
            read_timeout: settings.deadline,
            deadline: settings.deadline,
            body_cap: ANSWER_BYTES,
            retry_after_cap: crate::consumer::LONGEST_WAIT,
            ca_file: settings.ca_file.clone(),
            ..HttpSettings::default()
        };
        let check = Arc::new(move |address| ssrf::check(address, &allow));
        Ok(Self { http: HttpClient::new(http, Some(check))?, allow_http: settings.allow_http })
    }

    /// Calls the endpoint, once; what it says about the endpoint's health comes beside what it means.
    pub(super) async fn call(
        &self,
        endpoint: &Endpoint,
        id: Uuid,
        body: &[u8],
        now: SystemTime,
    ) -> (Attempt, breaker::Outcome) {
        if let Err(problem) = check_scheme(&endpoint.url, self.allow_http) {
            return (Attempt::failed(Outcome::Later, problem), breaker::Outcome::Neutral);
        }
        let request = match request(endpoint, id, body, now) {
            Ok(request) => request,
            Err(error) => {
                let problem = format!("the webhook can't be written: {error}");
                return (Attempt::failed(Outcome::Later, problem), breaker::Outcome::Neutral);
            }
        };
        let result = self.http.send(request).await;
        let health = health(&result);
        (judge(result, endpoint), health)
    }
}

impl Caller {
    /// Connects as a webhook to this URL would, and sends nothing.
    pub(super) async fn reach(&self, url: &str) -> Result<(), String> {
        check_scheme(url, self.allow_http)?;
        self.http.reach(url).await.map_err(|cause| chain(&cause))
    }
}

/// Whether a URL may be an endpoint's, as far as its scheme goes.
///
/// # Errors
/// What is wrong, for its owner.
pub fn check_scheme(url: &str, allow_http: bool) -> Result<(), &'static str> {
    if url.starts_with("https://") || (allow_http && url.starts_with("http://")) {
        return Ok(());
    }
    Err("the endpoint's URL has to begin with https://")
}

fn request(
    endpoint: &Endpoint,
    id: Uuid,
    body: &[u8],
    now: SystemTime,
) -> Result<Request, header::InvalidHeaderValue> {
    let id = id.to_string();
    let timestamp = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let secrets: Vec<_> = std::iter::once(&endpoint.secret).chain(&endpoint.previous).collect();
    let value = |text: &str| header::HeaderValue::from_str(text);
    let name = header::HeaderName::from_static;
    let headers = vec![
        (header::CONTENT_TYPE, header::HeaderValue::from_static("application/json")),
        (name("webhook-id"), value(&id)?),
        (name("webhook-timestamp"), value(&timestamp.to_string())?),
        (name("webhook-signature"), value(&signatures(&id, timestamp, body, &secrets))?),
    ];
    let body = Bytes::copy_from_slice(body);
    Ok(Request { method: Method::POST, url: endpoint.url.clone(), headers, body })
}

/// What an answer means. A receiver dedupes by the webhook's id, so whatever is not an acceptance is tried again; only
/// one that says it is gone is believed at once.
fn judge(result: Result<Response, HttpError>, endpoint: &Endpoint) -> Attempt {
    let response = match result {
        Ok(response) => response,
        Err(error @ HttpError::NotSent(_)) => return Attempt::failed(Outcome::Later, chain(&error)),
        Err(error @ HttpError::MaybeDone(_)) => return Attempt::failed(Outcome::Lost, chain(&error)),
    };
    let status = response.status;
    let failed = |outcome, problem: String| Attempt {
        status: Some(status),
        after: response.retry_after,
        ..Attempt::failed(outcome, problem)
    };
    match status {
        200..300 => Attempt::done(status),
        410 => Attempt {
            gone: Some((endpoint.id, endpoint.version)),
            ..failed(Outcome::Refused, "the endpoint answered 410: it is gone".to_owned())
        },
        300..400 => failed(
            Outcome::Later,
            format!("the endpoint answered {status}: redirects are not followed; change its URL"),
        ),
        _ => failed(Outcome::Later, format!("the endpoint answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{http::error::Cause, shipping::notify::signing::SigningSecret};

    fn endpoint() -> Endpoint {
        Endpoint {
            id: Uuid::nil(),
            version: 3,
            url: "https://hooks.example.com/x".to_owned(),
            secret: SigningSecret::from_bytes([1; 32]).unwrap(),
            previous: None,
        }
    }

    fn answered(status: u16) -> Attempt {
        let after = Some(Duration::from_secs(7));
        let response =
            Response { status, headers: header::HeaderMap::new(), retry_after: after, body: Bytes::new() };
        judge(Ok(response), &endpoint())
    }

    #[test]
    fn every_status_is_judged_and_only_2xx_is_a_delivery() {
        for status in 100..600 {
            let attempt = answered(status);
            let expected = match status {
                200..=299 => Outcome::Done,
                410 => Outcome::Refused,
                _ => Outcome::Later,
            };
            assert_eq!((attempt.outcome, attempt.status), (expected, Some(status)));
            assert_eq!(attempt.gone, (status == 410).then_some((Uuid::nil(), 3)), "{status}");
            assert_eq!(attempt.after.is_some(), expected != Outcome::Done, "{status}");
        }
    }

    #[test]
    fn what_was_not_sent_and_what_was_lost_are_told_apart() {
        let timeout = || Cause::ReadTimeout(Duration::from_secs(1));
        assert_eq!(judge(Err(HttpError::NotSent(timeout())), &endpoint()).outcome, Outcome::Later);
        assert_eq!(judge(Err(HttpError::MaybeDone(timeout())), &endpoint()).outcome, Outcome::Lost);
    }

    #[test]
    fn http_is_for_where_it_is_allowed() {
        assert!(check_scheme("https://x/", false).is_ok());
        assert!(check_scheme("http://x/", false).is_err());
        assert!(check_scheme("http://x/", true).is_ok());
        assert!(check_scheme("ftp://x/", true).is_err());
    }
}
