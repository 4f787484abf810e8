//! The closed sets of reasons: they are metric labels, column values and message headers, so they never grow by data.

use crate::named::named;

named! {
    /// Why a row is dead (`dead_reason`, `x-relay-reason`, `relay_dead_lettered_total{reason}`).
    DeadReason, "reason for a death" {
        /// Returned by the broker on its last attempt: no queue is bound for it.
        Unroutable = "unroutable",
        /// The broker closed the channel because of it, alone, on its last attempt.
        Refused = "refused",
        /// The payload is larger than `limits.payload_bytes`.
        PayloadTooLarge = "payload_too_large",
        /// The headers are not an object of scalars, name something reserved, or are too large.
        InvalidHeaders = "invalid_headers",
        /// A name is empty or longer than AMQP's 255 bytes.
        InvalidName = "invalid_name",
        /// The row names an exchange that is not on the allow-list.
        ForbiddenExchange = "forbidden_exchange",
    }
}

/// `dead_reason` of a row that an operator skipped. No relay gives it, so it is no label of a metric; nor is there a letter.
pub const SKIPPED: &str = "skipped";

named! {
    /// Why a row is tried again (`relay_retries_total{reason}`).
    RetryReason, "reason to retry" {
        /// Returned by the broker: no queue was bound for it.
        Unroutable = "unroutable",
        /// The broker closed the channel because of it.
        Refused = "refused",
        /// A queue refused it (full, say) or failed: the destination's trouble, charged to nobody.
        Nacked = "nacked",
        /// Its dead letter could not be published, so it may not be marked dead.
        DeadLetterFailed = "dead_letter_failed",
        /// It would have died, but too many did in the last minute.
        FloodGuard = "flood_guard",
        /// It may be what closed a channel, and too many wait to be tried apart.
        Suspect = "suspect",
    }
}
