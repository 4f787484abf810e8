//! What is answered when something is wrong: `{"error": .., "cure": ..}`, with a status that fits.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::access::Refusal;
use crate::{
    postgres::connect::{DatabaseError, Trouble},
    shipping::store::StoreError,
};

/// Something is wrong.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    error: String,
    cure: Option<String>,
    /// What is known all the same.
    beside: Map<String, Value>,
}

impl Problem {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), cure: None, beside: Map::new() }
    }

    /// The request makes no sense.
    pub(super) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// There is no such thing.
    pub(super) fn missing(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// Things are not as they were when somebody looked.
    pub(super) fn conflict(error: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error)
    }

    /// More than is sent or taken here.
    pub(super) fn too_large(error: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    }

    /// Too many ask at once.
    pub(super) fn busy(error: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error).cure("try again in a moment")
    }

    /// It took too long.
    pub(super) fn slow(error: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, error)
    }

    /// What to do about it.
    pub(super) fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// Tells something else as well.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.beside.insert(name.to_owned(), value);
        self
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::NoToken | Refusal::UnknownToken => StatusCode::UNAUTHORIZED,
            Refusal::Closed
            | Refusal::ForeignName
            | Refusal::ReadOnly
            | Refusal::NotOperator
            | Refusal::OtherSite => StatusCode::FORBIDDEN,
            Refusal::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::Nobody => StatusCode::BAD_REQUEST,
        };
        Self::new(status, refusal.to_string()).cure(refusal.cure())
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        let status = match error.kind() {
            Trouble::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            _ if error.is_contention() => StatusCode::GATEWAY_TIMEOUT,
            _ if error.is_forbidden() => StatusCode::FORBIDDEN,
            Trouble::NeedsOperator | Trouble::Statement => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let problem = Self::new(status, error.to_string());
        if error.is_forbidden() {
            return problem.cure(
                "relay's own role may not: name a role that may in database.operator_url, given what it needs by \
                 `relay migrate --grant-operate-to ROLE`",
            );
        }
        if error.is_contention() {
            return problem.cure("try again; `relay doctor` names transactions that stay open");
        }
        match error.cure() {
            Some(cure) => problem.cure(cure),
            None => problem,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Statement(error) => match DatabaseError::from(error) {
                error if error.is_missing() => Self::missing("shipping's tables are not in this database"),
                error => error.into(),
            },
            StoreError::NoShipment(_) => Self::missing(error.to_string()),
            error => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = self.beside;
        body.insert("error".to_owned(), self.error.into());
        if let Some(cure) = self.cure {
            body.insert("cure".to_owned(), cure.into());
        }
        let mut response = (self.status, json!(body).to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// More than this is not answered: whoever asks for less gets it.
const LONGEST: usize = 8 << 20;

/// An answer.
pub(super) fn json_of(value: &Value) -> Response {
    let text = value.to_string();
    if text.len() > LONGEST {
        let error = format!("the answer has {} bytes, and no more than {LONGEST} are sent", text.len());
        return Problem::too_large(error).cure("ask for fewer rows, or use the command line").into_response();
    }
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
