//! What the API says about itself.

use axum::{http::header, response::IntoResponse};

use super::answer::json_type;

/// The OpenAPI document. A test holds it against the running server.
pub(super) const OPENAPI: &str = include_str!("openapi.json");
const PROBLEMS: &str = include_str!("../../../docs/problems.md");

/// `GET /openapi.json`.
pub(super) async fn openapi() -> impl IntoResponse {
    ([json_type()], OPENAPI)
}

/// `GET /problems`: what `type` of a problem leads to.
pub(super) async fn problems() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], PROBLEMS)
}
