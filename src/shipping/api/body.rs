//! Reading requests: bodies, bounded in bytes and time, and parameters.

use std::{error::Error as _, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequestParts, Path},
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use uuid::Uuid;

use super::{
    conditional::Tags,
    problem::{Code, FieldError, Problem},
};

/// The one variable part of a path, decoded.
#[derive(Debug)]
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) =
            found.map_err(|_| Problem::new(Code::NotFound, "the path is not UTF-8, so nothing is there"))?;
        Ok(Self(name))
    }
}

/// How long a body says it is; `None` if it does not say.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// The body, all of it.
///
/// # Errors
/// When it is too long, or does not arrive in time or at all.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    time: Duration,
) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::BodyTooLarge, format!("send {limit} bytes at most"));
    if declared_length(headers)
        .is_some_and(|length| usize::try_from(length).is_ok_and(|length| length > limit))
    {
        return Err(too_large());
    }
    match tokio::time::timeout(time, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if error.source().is_some_and(|source| source.is::<LengthLimitError>()) => {
            Err(too_large())
        }
        // Nobody reads this answer; it is for the log and the metrics.
        Ok(Err(error)) => Err(Problem::new(Code::MalformedBody, format!("it broke off: {error}"))),
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            format!("the body did not arrive within {} s", time.as_secs()),
        )),
    }
}

/// A JSON body.
///
/// # Errors
/// As [`read`], and when it is something else than what is asked for.
pub(super) async fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    time: Duration,
) -> Result<T, Problem> {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = declared.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(Code::UnsupportedMediaType, "send Content-Type: application/json"));
    }
    parse(&read(headers, body, limit, time).await?)
}

/// JSON of one shape. What is wrong is told with its place.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let inner = error.inner();
        if !inner.is_data() {
            return Problem::new(Code::MalformedBody, format!("it is not JSON: {inner}"));
        }
        Problem::invalid(vec![FieldError::new(pointer(error.path()), inner.to_string())])
    })?;
    deserializer
        .end()
        .map_err(|error| Problem::new(Code::MalformedBody, format!("it is not JSON: {error}")))?;
    Ok(value)
}

/// A path as JSON Pointer.
fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path.iter() {
        let name = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&name);
    }
    pointer
}

/// The only value of a header, as text.
///
/// # Errors
/// When there are several, or it is no text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let wrong = |what: &str| Problem::new(Code::InvalidHeader, format!("{name}: {what}"));
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(wrong("it is there more than once"));
    }
    value.to_str().map(Some).map_err(|_| wrong("it has characters beyond ASCII"))
}

/// `If-Match` or `If-None-Match`.
///
/// # Errors
/// When it is not a list of tags.
pub(super) fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let cure = "it must be * or a list of tags in quotation marks, as ETag has them";
    header(headers, name)?
        .map(|text| {
            Tags::read(text).ok_or_else(|| Problem::new(Code::InvalidHeader, format!("{name}: {cure}")))
        })
        .transpose()
}

/// The parameters of a query, each of these names at most once and no other.
///
/// # Errors
/// When there is another, or one twice.
pub(super) fn query<const N: usize>(
    query: Option<&str>,
    names: [&str; N],
) -> Result<[Option<String>; N], Problem> {
    let mut found = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let wrong = |what: &str| Problem::new(Code::InvalidParameter, format!("{name:?}: {what}"));
        let known = names.iter().position(|known| *known == name);
        let known =
            known.ok_or_else(|| wrong(&format!("it is not known here; known are: {}", names.join(", "))))?;
        if let Some(place) = found.get_mut(known)
            && place.replace(value.into_owned()).is_some()
        {
            return Err(wrong("it is there more than once"));
        }
    }
    Ok(found)
}

/// An id in a path or a query. What is none names nothing.
///
/// # Errors
/// When it is none.
pub(super) fn id(text: &str, what: &str) -> Result<Uuid, Problem> {
    // Of the ways to write one, the one that is given out.
    let hyphenated = Some(text).filter(|text| text.len() == 36).and_then(|text| Uuid::try_parse(text).ok());
    hyphenated.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no such {what}: it is no UUID")))
}

#[cfg(test)]
mod tests {
    use super::{super::shipment_input::BatchInput, *};

    fn wrong(text: &str) -> (Code, String) {
        let problem = parse::<BatchInput>(text.as_bytes()).expect_err("it is wrong");
        (problem.code, problem.errors.first().map(|error| error.pointer.clone()).unwrap_or_default())
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, code, pointer) in [
            ("", Code::MalformedBody, ""),
            ("{\"shipments\": []} x", Code::MalformedBody, ""),
            ("{\"shipments\": [", Code::MalformedBody, ""),
            ("[]", Code::InvalidBody, ""),
            ("{}", Code::InvalidBody, ""),
            ("{\"shipments\": [], \"more\": 1}", Code::InvalidBody, "/more"),
            ("{\"shipments\": [], \"shipments\": []}", Code::InvalidBody, ""),
            (
                "{\"shipments\": [{\"idempotency_key\": 1}]}",
                Code::InvalidBody,
                "/shipments/0/idempotency_key",
            ),
        ] {
            assert_eq!(wrong(text), (code, pointer.to_owned()), "{text}");
        }
        assert_eq!(wrong(&"[".repeat(100_000)).0, Code::InvalidBody);
    }

    #[test]
    fn parameters_that_are_not_known_or_there_twice_are_refused() {
        assert_eq!(query(Some("b=%20x"), ["a", "b"]), Ok([None, Some(" x".to_owned())]));
        assert!(query(Some("a=1&a=2"), ["a"]).is_err());
        assert!(query(Some("c=1"), ["a"]).is_err());
    }
}
