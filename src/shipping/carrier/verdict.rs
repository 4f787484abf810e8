//! What the end of a call means for whoever wanted something done. Pure.
//!
//! The one question: may it have been done? If it certainly was not, it may be tried again. If it may have been, it is
//! looked up, never tried again blindly. Only the carrier itself can refuse: a 404 of some proxy is no answer.

use std::time::Duration;

use super::error_codes::CarrierError;
use crate::{
    cause::chain,
    http::{client::Response, error::HttpError},
};

/// Whether it matters if a call is made twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Looking something up, or checking an address: may be repeated at will.
    Harmless,
    /// Leaves something behind.
    Lasting,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<T> {
    /// Done, with what came back.
    Succeeded(T),
    /// The carrier refuses, for good; nothing was done.
    Refused(CarrierError),
    /// Not done; worth another try.
    TryLater(Delay),
    /// It may have been done: look it up. Why that is not known.
    Unknown(String),
}

/// A call to be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    /// Why.
    pub why: Why,
    /// The wait that was asked for, within bounds.
    pub after: Option<Duration>,
    /// In words.
    pub detail: String,
}

/// Why a call is to be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The breaker is open: it was not even tried, and no attempt should be charged.
    Held,
    /// The carrier could not be reached.
    Unreachable,
    /// The carrier asks to slow down.
    Throttled,
    /// The carrier does not take our key, or our money: somebody has to see to that.
    Account,
    /// The carrier failed, or answered what nobody understands; the call is harmless.
    Failing,
}

impl<T> Verdict<T> {
    /// The same verdict over something else.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Verdict<U> {
        self.and_then(|value| Verdict::Succeeded(convert(value)))
    }

    /// Judges again what succeeded.
    pub fn and_then<U>(self, judge: impl FnOnce(T) -> Verdict<U>) -> Verdict<U> {
        match self {
            Self::Succeeded(value) => judge(value),
            Self::Refused(error) => Verdict::Refused(error),
            Self::TryLater(delay) => Verdict::TryLater(delay),
            Self::Unknown(doubt) => Verdict::Unknown(doubt),
        }
    }

    /// A call that the breaker holds back for so long.
    #[must_use]
    pub fn held(after: Duration) -> Self {
        let detail = "the carrier's breaker is open".to_owned();
        Self::TryLater(Delay { why: Why::Held, after: Some(after), detail })
    }
}

/// An answer that lacks what it must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not understood: {0}")]
pub struct NotUnderstood(pub String);

/// Judges the end of a call; `parse` reads the body of a success.
pub fn judge<T>(
    effect: Effect,
    result: Result<Response, HttpError>,
    parse: impl FnOnce(&[u8]) -> Result<T, NotUnderstood>,
) -> Verdict<T> {
    let response = match result {
        Ok(response) => response,
        Err(error @ HttpError::NotSent(_)) => return later(Why::Unreachable, None, chain(&error)),
        Err(error @ HttpError::MaybeDone(_)) => return doubt(effect, None, chain(&error)),
    };
    let Response { status, retry_after, body, .. } = response;
    let error = CarrierError::parse(&body);
    let detail = match &error {
        Some(CarrierError { code, message }) => format!("status {status}, {code}: {message}"),
        None => format!("status {status}"),
    };
    match (status, error) {
        (200..=299, _) => match parse(&body) {
            Ok(value) => Verdict::Succeeded(value),
            Err(error) => doubt(effect, retry_after, format!("{detail}, {error}")),
        },
        (_, Some(error)) if error.is_doubtful() => doubt(effect, retry_after, detail),
        // Turned away at the door.
        (425 | 429, _) => later(Why::Throttled, retry_after, detail),
        (401..=403, _) => later(Why::Account, retry_after, detail),
        // 408 may come from somebody who waited for the carrier, 409 from another call with the same aim.
        (408 | 409, _) => doubt(effect, retry_after, detail),
        (400..=499, Some(error)) => Verdict::Refused(error),
        // Failures, redirects, and refusals that are not the carrier's.
        _ => doubt(effect, retry_after, detail),
    }
}

fn later<T>(why: Why, after: Option<Duration>, detail: String) -> Verdict<T> {
    Verdict::TryLater(Delay { why, after, detail })
}

/// It may have been done, which matters or does not.
fn doubt<T>(effect: Effect, after: Option<Duration>, detail: String) -> Verdict<T> {
    match effect {
        Effect::Harmless => later(Why::Failing, after, detail),
        Effect::Lasting => Verdict::Unknown(detail),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::http::{client::header::HeaderMap, error::Cause};

    const WAIT: Duration = Duration::from_secs(7);
    const ERROR: &str = r#"{"error":{"code":"PARAMETER.REQUIRED","message":"no"}}"#;

    fn answer(status: u16, body: &str) -> Result<Response, HttpError> {
        let body = body.as_bytes().to_vec().into();
        Ok(Response { status, headers: HeaderMap::new(), retry_after: Some(WAIT), body })
    }

    fn parse(body: &[u8]) -> Result<(), NotUnderstood> {
        if body == b"good" { Ok(()) } else { Err(NotUnderstood("no id".to_owned())) }
    }

    /// The verdict in one word.
    fn word(effect: Effect, result: Result<Response, HttpError>) -> &'static str {
        match judge(effect, result, parse) {
            Verdict::Succeeded(()) => "succeeded",
            Verdict::Refused(_) => "refused",
            Verdict::Unknown(_) => "unknown",
            Verdict::TryLater(Delay { why, .. }) => match why {
                Why::Held => "held",
                Why::Unreachable => "unreachable",
                Why::Throttled => "throttled",
                Why::Account => "account",
                Why::Failing => "failing",
            },
        }
    }

    #[test]
    fn every_status_has_its_verdict() {
        for status in 100..=999 {
            let (lasting, harmless) = match status {
                200..=299 | 408 | 409 => ("unknown", "failing"),
                401..=403 => ("account", "account"),
                425 | 429 => ("throttled", "throttled"),
                400..=499 => ("refused", "refused"),
                _ => ("unknown", "failing"),
            };
            assert_eq!(
                word(Effect::Lasting, answer(status, ERROR)),
                lasting,
                "{status}, the carrier's error"
            );
            assert_eq!(
                word(Effect::Harmless, answer(status, ERROR)),
                harmless,
                "{status}, the carrier's error"
            );
            let (lasting, harmless) = match status {
                200..=299 => ("succeeded", "succeeded"),
                401..=403 => ("account", "account"),
                425 | 429 => ("throttled", "throttled"),
                _ => ("unknown", "failing"),
            };
            assert_eq!(word(Effect::Lasting, answer(status, "good")), lasting, "{status}, somebody's page");
            assert_eq!(word(Effect::Harmless, answer(status, "good")), harmless, "{status}, somebody's page");
        }
    }

    #[test]
    fn a_label_that_exists_or_may_still_come_is_looked_up_whatever_the_status() {
        for code in super::super::error_codes::DOUBTFUL {
            for status in [400, 402, 403, 409, 422, 429, 500, 503] {
                let body = format!(r#"{{"error":{{"code":"{code}","message":""}}}}"#);
                assert_eq!(word(Effect::Lasting, answer(status, &body)), "unknown", "{status} {code}");
            }
        }
    }

    #[test]
    fn what_was_not_sent_is_tried_again_and_what_was_sent_is_looked_up_if_it_matters() {
        let causes: [fn() -> Cause; 10] = [
            || Cause::Unusable(String::new()),
            || Cause::Resolve { host: String::new(), source: io::Error::other("no") },
            || Cause::Forbidden { address: [127, 0, 0, 1].into(), reason: "loopback" },
            || Cause::Connect(io::Error::other("refused")),
            || Cause::Tls(io::Error::other("expired")),
            || Cause::ConnectTimeout(WAIT),
            || Cause::ReadTimeout(WAIT),
            || Cause::Deadline(WAIT),
            || Cause::TooLong(1),
            || Cause::Encoded("gzip".to_owned()),
        ];
        for cause in causes {
            for effect in [Effect::Lasting, Effect::Harmless] {
                assert_eq!(word(effect, Err(HttpError::NotSent(cause()))), "unreachable", "{:?}", cause());
            }
            assert_eq!(word(Effect::Lasting, Err(HttpError::MaybeDone(cause()))), "unknown");
            assert_eq!(word(Effect::Harmless, Err(HttpError::MaybeDone(cause()))), "failing");
        }
    }

    #[test]
    fn the_wait_that_was_asked_for_is_passed_on() {
        match judge(Effect::Lasting, answer(429, ""), parse) {
            Verdict::TryLater(Delay { after, .. }) => assert_eq!(after, Some(WAIT)),
            other => panic!("{other:?}"),
        }
    }
}
