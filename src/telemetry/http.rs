//! Spans of requests that were answered, after OpenTelemetry's conventions for HTTP. Pure.

use super::span::{Kind, Span};
use crate::{envelope::cut, trace_context::Begun};

/// The longest path that is told of, in bytes: whoever asks may send a longer one.
const PATH: usize = 1024;

/// A request and its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served<'a> {
    /// One of those that are known.
    pub(crate) method: Option<&'static str>,
    /// As it is routed, with names in place of ids; none if there is no such path.
    pub(crate) route: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    /// The code of the problem that it was answered with.
    pub(crate) problem: Option<&'static str>,
    pub(crate) request_id: &'a str,
    pub(crate) state: Option<&'a str>,
}

/// The span of a request.
pub(crate) fn served(request: &Served<'_>, (begun, ended): (Begun, u64)) -> Span {
    let mut name = request.method.unwrap_or("HTTP").to_owned();
    if let Some(route) = request.route {
        name.push(' ');
        name.push_str(route);
    }
    let mut span = Span::new(name, Kind::Server, begun, ended);
    span.state = request.state.map(str::to_owned);
    span.set("http.request.method", request.method.unwrap_or("_OTHER"));
    span.set_some("http.route", request.route.map(str::to_owned));
    let mut path = request.path.to_owned();
    cut(&mut path, PATH);
    span.set("url.path", path);
    span.set("url.scheme", "http");
    span.set("http.response.status_code", i64::from(request.status));
    span.set("relay.request_id", request.request_id.to_owned());
    if request.status >= 500 {
        span.error = Some(request.problem.map_or_else(|| request.status.to_string().into(), Into::into));
    }
    span
}
