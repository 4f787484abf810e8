//! Errors as RFC 9457 has them. `docs/problems.md` has a section for each code; the API serves it.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident, $title:literal;)+) => {
        /// What kind of error it is. Codes are stable: clients decide by them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As it stands in `code`, and at the end of `type`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),+ }
            }

            /// The status code it comes with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),+ }
            }

            /// In a few words, always the same.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    MalformedBody = "malformed-body", BAD_REQUEST, "The body is not JSON";
    /// A parameter of the URL is not understood.
    InvalidParameter = "invalid-parameter", BAD_REQUEST, "A parameter is not understood";
    /// A header is not understood.
    InvalidHeader = "invalid-header", BAD_REQUEST, "A header is not understood";
    /// There is no Idempotency-Key.
    KeyMissing = "idempotency-key-missing", BAD_REQUEST, "There is no Idempotency-Key";
    /// The Idempotency-Key is not one.
    KeyMalformed = "idempotency-key-malformed", BAD_REQUEST, "The Idempotency-Key is malformed";
    /// No token, or one that is not known.
    Unauthorized = "unauthorized", UNAUTHORIZED, "The bearer token is missing or unknown";
    /// A webhook that the carrier did not sign.
    BadSignature = "bad-signature", UNAUTHORIZED, "The webhook is not signed as it must be";
    /// There is no such thing, or it is somebody else's.
    NotFound = "not-found", NOT_FOUND, "There is no such thing";
    /// It takes other methods.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "It does not take this method";
    /// The request did not arrive in time.
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    /// The first request with this key is still running.
    KeyInProgress = "idempotency-key-in-progress", CONFLICT, "A request with this key is still running";
    /// A shipment of an order that is not there.
    NoSuchOrder = "no-such-order", CONFLICT, "There is no such order";
    /// The order has not that much left.
    NotEnough = "not-enough-left", CONFLICT, "The order has not enough left";
    /// It is too late for a cancellation, or it was cancelled already.
    NotCancellable = "not-cancellable", CONFLICT, "The shipment can't be cancelled";
    /// A change would break a rule about orders.
    OrderConflict = "order-conflict", CONFLICT, "The order can't be changed so";
    /// The caller has as many endpoints as it may.
    TooManyEndpoints = "too-many-endpoints", CONFLICT, "There are too many webhook endpoints";
    /// It has changed since it was read.
    PreconditionFailed = "precondition-failed", PRECONDITION_FAILED, "It has changed meanwhile";
    /// The body is too long.
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body is not declared to be JSON.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body is not declared to be JSON";
    /// The body is JSON and breaks rules.
    InvalidBody = "invalid-body", UNPROCESSABLE_ENTITY, "The body is not valid";
    /// The Idempotency-Key was used for another request.
    KeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "The Idempotency-Key belongs to another request";
    /// A change of something that exists needs If-Match.
    PreconditionRequired = "precondition-required", PRECONDITION_REQUIRED, "A change needs If-Match";
    /// The caller asks too often.
    TooManyRequests = "too-many-requests", TOO_MANY_REQUESTS, "Too many requests";
    /// A defect.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something is wrong with the service";
    /// Too many requests of all callers at a time.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The service is busy";
    /// The database can't be reached.
    DatabaseUnavailable = "database-unavailable", SERVICE_UNAVAILABLE, "The database can't be reached";
    /// It did not finish in time, or somebody else held what it needs.
    TimedOut = "timed-out", SERVICE_UNAVAILABLE, "It took too long";
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FieldError {
    /// Where in the body: a JSON Pointer (RFC 6901).
    pub(super) pointer: String,
    /// What is wrong there, and what would be right.
    pub(super) detail: String,
}

impl FieldError {
    /// What is wrong, and where.
    #[must_use]
    pub(super) fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// An error for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// Its kind.
    pub(super) code: Code,
    /// What happened this time.
    pub(super) detail: String,
    /// Each thing that is wrong with the body.
    pub(super) errors: Vec<FieldError>,
    /// When to try again, in seconds.
    pub(super) retry_after: Option<u64>,
}

impl Problem {
    /// An error that has only to be told.
    #[must_use]
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        // What passes by itself is worth another try.
        let passes = code.status() == StatusCode::SERVICE_UNAVAILABLE || code == Code::KeyInProgress;
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after: passes.then_some(1) }
    }

    /// A body that breaks rules, with each of them.
    #[must_use]
    pub(super) fn invalid(errors: Vec<FieldError>) -> Self {
        Self::with(Code::InvalidBody, errors)
    }

    /// An error about fields of the body.
    #[must_use]
    pub(super) fn with(code: Code, errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.pointer, only.detail),
            several => format!("{} fields are wrong", several.len()),
        };
        Self { errors, ..Self::new(code, detail) }
    }

    /// As JSON.
    #[must_use]
    pub(super) fn to_value(&self) -> Value {
        let code = self.code;
        let mut value = json!({
            "type": format!("/problems#{}", code.as_str()),
            "title": code.title(),
            "status": code.status().as_u16(),
            "detail": self.detail,
            "code": code.as_str(),
        });
        if !self.errors.is_empty() {
            value["errors"] = json!(self.errors);
        }
        value
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/problem+json");
        let body = self.to_value().to_string();
        let mut response = (self.code.status(), [(header::CONTENT_TYPE, json)], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.code == Code::Unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Kept for the log and the metrics.
        response.extensions_mut().insert(self.code);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_section_of_its_own_in_the_documentation() {
        let page = include_str!("../../../docs/problems.md");
        for code in Code::ALL {
            let heading = format!("\n## {}\n", code.as_str());
            assert_eq!(page.matches(&heading).count(), 1, "docs/problems.md: {}", code.as_str());
        }
        assert_eq!(page.matches("\n## ").count(), Code::ALL.len(), "a section for a code that is gone");
    }

    #[test]
    fn a_problem_says_where_the_mistake_is() {
        let problem = Problem::invalid(vec![FieldError::new("/cases/0", "it is empty")]);
        assert_eq!(
            problem.to_value(),
            json!({"type": "/problems#invalid-body", "title": "The body is not valid", "status": 422,
                "detail": "/cases/0: it is empty", "code": "invalid-body",
                "errors": [{"pointer": "/cases/0", "detail": "it is empty"}]})
        );
    }
}
