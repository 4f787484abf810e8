//! A span, made when what it tells of has ended. Pure.

use std::borrow::Cow;

use crate::trace_context::{Begun, TraceContext};

/// What a span is to the one it talks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Server,
    Client,
    Consumer,
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(Cow<'static, str>),
    Int(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// A span that is to be exported.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) begun: Begun,
    pub(super) state: Option<String>,
    /// When it ended, nanoseconds since the Unix epoch.
    pub(super) ended: u64,
    /// What made the message that it is about.
    pub(super) link: Option<TraceContext>,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// Of a closed set: how it failed.
    pub(super) error: Option<Cow<'static, str>>,
}

impl Span {
    pub(super) fn new(name: String, kind: Kind, begun: Begun, ended: u64) -> Self {
        // A clock that was set back must not make it end before it began.
        let ended = ended.max(begun.since);
        let attributes = Vec::with_capacity(14);
        Self { name, kind, begun, state: None, ended, link: None, attributes, error: None }
    }

    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((name, value.into()));
    }

    pub(super) fn set_some(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }
}
