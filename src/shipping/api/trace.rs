//! What a request is known by: in the log, in its answer, and in the events that follow from it. Pure.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::trace_context::{TraceContext, is_request_id, is_tracestate};

/// A request's marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    /// The caller's `X-Request-Id`, or one of ours.
    pub(super) request_id: String,
    /// `traceparent` (W3C Trace Context), if it is one.
    pub(super) traceparent: Option<String>,
    /// `tracestate` beside it.
    pub(super) tracestate: Option<String>,
}

impl Trace {
    /// Takes over what is usable. What is not is left out, as the standard has it.
    #[must_use]
    pub(super) fn read(id: Option<&str>, parent: Option<&str>, state: Option<&str>, fresh: Uuid) -> Self {
        let traceparent = parent.map(str::trim).filter(|parent| TraceContext::parse(parent).is_some());
        let tracestate = state.filter(|state| traceparent.is_some() && is_tracestate(state));
        Self {
            request_id: id.filter(|id| is_request_id(id)).map_or_else(|| fresh.to_string(), str::to_owned),
            traceparent: traceparent.map(str::to_owned),
            tracestate: tracestate.map(str::to_owned),
        }
    }

    /// Its place in a trace, if it has one.
    #[must_use]
    pub(super) fn context(&self) -> Option<TraceContext> {
        TraceContext::parse(self.traceparent.as_deref()?)
    }

    /// What follows belongs to a span of ours rather than to the caller's.
    pub(super) fn goes_on_in(&mut self, context: TraceContext) {
        self.traceparent = Some(context.to_string());
    }

    /// Headers of the events that follow: a JSON object.
    #[must_use]
    pub(super) fn headers(&self) -> String {
        let mut headers = Map::new();
        let mut add = |name: &str, value: Option<&String>| {
            if let Some(value) = value {
                headers.insert(name.to_owned(), Value::from(value.as_str()));
            }
        };
        add("x-request-id", Some(&self.request_id));
        add("traceparent", self.traceparent.as_ref());
        add("tracestate", self.tracestate.as_ref());
        Value::Object(headers).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn usable_marks_are_passed_on() {
        let trace = Trace::read(Some("order-17"), Some(PARENT), Some("a=b"), Uuid::nil());
        assert_eq!(
            trace.headers(),
            format!(r#"{{"traceparent":"{PARENT}","tracestate":"a=b","x-request-id":"order-17"}}"#)
        );
    }

    #[test]
    fn others_are_left_out() {
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for parent in ["", "x", zeros, &PARENT.to_uppercase(), &PARENT.replace("00-0a", "ff-0a")] {
            let trace = Trace::read(Some("a b"), Some(parent), Some("a=b"), Uuid::nil());
            assert_eq!(trace.headers(), format!(r#"{{"x-request-id":"{}"}}"#, Uuid::nil()), "{parent}");
        }
    }
}
