//! Answers gone wrong, on the wire.

use std::{convert::Infallible, io, time::Duration};

use futures_util::{Stream, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Response, StatusCode,
    body::{Bytes, Frame},
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER},
};

use super::{
    api::{Reply, error},
    script::{Answer, Rule},
};

/// A body, right or wrong.
pub(super) type Body = BoxBody<Bytes, io::Error>;

/// How long a connection whose answer is lost stays open.
const LOST: Duration = Duration::from_secs(600);

/// Makes a connection end with a reset instead of a farewell.
#[derive(Debug)]
pub(super) struct Resetter(socket2::Socket);

impl Resetter {
    /// For the connection of this socket; keep it until the connection is dropped.
    pub(super) fn new(socket: socket2::Socket) -> Self {
        Self(socket)
    }

    fn reset(&self) -> io::Error {
        // What is unsent is thrown away, and the other side gets a reset. If this fails, it gets a farewell.
        let _ = self.0.set_linger(Some(Duration::ZERO));
        io::Error::other("the script says so")
    }
}

/// An answer as it should be.
pub(super) fn right(reply: &Reply) -> Response<Body> {
    respond(reply.status, reply.body.to_string().into_bytes())
}

fn respond(status: u16, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).map_err(never).boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response
}

fn never(error: Infallible) -> io::Error {
    match error {}
}

/// The answer that a rule asks for instead of the right one.
///
/// # Errors
/// To drop the connection.
pub(super) async fn spoil(
    rule: &Rule,
    reply: &Reply,
    resetter: std::sync::Arc<Resetter>,
) -> Result<Response<Body>, io::Error> {
    let whole = reply.body.to_string().into_bytes();
    let header = |name, value: &'static str| {
        let mut response = right(reply);
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    };
    let mut response = match rule.answer {
        Answer::Right => right(reply),
        Answer::Lost => {
            tokio::time::sleep(LOST).await;
            return Err(io::Error::other("the script says so"));
        }
        Answer::Reset => return Err(resetter.reset()),
        Answer::ResetMidway => {
            let half = Bytes::copy_from_slice(&whole[..whole.len() / 2]);
            let body = stream::unfold(Some(half), move |half| {
                let resetter = resetter.clone();
                async move {
                    if let Some(half) = half {
                        return Some((Ok(Frame::data(half)), None));
                    }
                    // So that the half is out before what is unsent is thrown away.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Some((Err(resetter.reset()), None))
                }
            });
            streamed(reply.status, body, Some(whole.len()))
        }
        Answer::Slow => {
            let length = whole.len();
            let body = stream::unfold(whole.into_iter(), |mut rest| async move {
                let byte = rest.next()?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok(Frame::data(Bytes::copy_from_slice(&[byte]))), rest))
            });
            streamed(reply.status, body, Some(length))
        }
        Answer::Endless => {
            let chunk = Bytes::from(vec![b' '; 64 * 1024]);
            let body = stream::repeat_with(move || Ok(Frame::data(chunk.clone())));
            streamed(reply.status, body, None)
        }
        Answer::BadJson => respond(reply.status, whole[..whole.len() / 2].to_vec()),
        Answer::ErrorJson => {
            right(&Reply { status: 200, ..error(200, "INTERNAL_SERVER_ERROR", "Something went wrong.") })
        }
        Answer::Encoded => header(CONTENT_ENCODING, "gzip"),
        Answer::Short => {
            let length = whole.len() + 100;
            let body = stream::once(async move { Ok(Frame::data(Bytes::from(whole))) });
            streamed(reply.status, body, Some(length))
        }
        Answer::Redirect => {
            let mut response = header(LOCATION, "/elsewhere");
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            response
        }
        Answer::Status => {
            right(&error(rule.status.unwrap_or(500), "SIMULATED", "This is what the script asks for."))
        }
    };
    if let Some(wait) = rule.retry_after.as_deref().and_then(|wait| HeaderValue::from_str(wait).ok()) {
        response.headers_mut().insert(RETRY_AFTER, wait);
    }
    Ok(response)
}

fn streamed(
    status: u16,
    body: impl Stream<Item = Result<Frame<Bytes>, io::Error>> + Send + Sync + 'static,
    length: Option<usize>,
) -> Response<Body> {
    let mut response = respond(status, vec![]);
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = BodyExt::boxed(StreamBody::new(body));
    response
}
