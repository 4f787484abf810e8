//! What answers have in common: their media type, and the tag of what they show.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

/// A header of an answer. Ours are ASCII; what could not be one is left out.
pub(super) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Says that the body is JSON.
pub(super) fn json_type() -> (HeaderName, HeaderValue) {
    (header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

/// Says which version it is; the tag without its quotation marks.
pub(super) fn etag(tag: &str) -> (HeaderName, HeaderValue) {
    (header::ETAG, value(&format!("\"{tag}\"")))
}

/// What there is, as JSON with its tag; to whoever has it already, the tag alone.
pub(super) fn tagged(tag: &str, is_known: bool, body: String) -> Response {
    if is_known {
        return (StatusCode::NOT_MODIFIED, [etag(tag)]).into_response();
    }
    ([etag(tag), json_type()], body).into_response()
}
