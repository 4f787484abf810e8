//! What a consumer's log says of messages: by which ids each is found there, and no more lines than somebody reads.

use tracing::Span;

use super::delivery::Delivery;
use crate::{sparing::Sparing, storm::WINDOW};

/// What is said of messages, one line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Dead,
    Unburied,
    Stale,
    Garbage,
}

/// The lines of one consumer.
pub(super) type Lines = Sparing<Kind>;

/// Tells what was left out.
pub(super) fn left_out(consumer: &str) -> impl Fn(Kind, u64) {
    move |kind, more| {
        let what = match kind {
            Kind::Dead => "messages are dead",
            Kind::Unburied => "burials failed",
            Kind::Stale => "claims were taken over",
            Kind::Garbage => "dead letters were no messages",
        };
        tracing::warn!(consumer, more, "and {more} more {what}, in {WINDOW:?}");
    }
}

/// Every line that is logged in it is about this message, whoever logs it.
pub(super) fn about(consumer: &str, delivery: &Delivery) -> Span {
    // At this level no filter drops it, and with it the ids.
    tracing::error_span!(
        "message",
        consumer,
        message_id = delivery.message_id,
        request_id = delivery.request_id(),
        trace_id = delivery.trace_id(),
    )
}
