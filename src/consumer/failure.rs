//! What a handler says when it could not do its work, and what becomes of the message. Pure.

use std::{error::Error as StdError, time::Duration};

use crate::{cause::chain, envelope::cut, letter::ERROR_BYTES, retry::RetryPolicy};

/// Any error of a handler's own.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The longest that anybody, be it a third party, may have a message wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Reason of a message that had all its attempts.
pub const EXHAUSTED: &str = "exhausted";

/// What is known of an attempt whose claim ran out. Like any that failed it is made again after a delay of its own: were
/// what was in work together tried together again, a message that kills its worker would take slow ones along each time.
pub(super) const RAN_OUT: &str = "the worker ended, or took longer than its claim, without a result";

/// Why a handler did not do its work.
///
/// `?` turns every error into a retry; the two other kinds are said in so many words. It is no error itself, so that
/// `?` may do that.
#[derive(Debug)]
pub enum Failure {
    /// It may work another time. Charged: after the last attempt the message dies.
    Retry {
        /// What went wrong, without the body.
        error: BoxError,
        /// Not before so long, as a third party asked for (`Retry-After`), or else by the retry policy. At most
        /// [`LONGEST_WAIT`], at least the policy's floor.
        after: Option<Duration>,
    },
    /// It was not even tried, since it could not work: an open circuit, a maintenance window. Not charged.
    Held {
        /// What it waits for.
        error: BoxError,
        /// Not before so long.
        after: Duration,
    },
    /// It can never work: the message dies at once.
    Final {
        /// One of a closed set of the handler's own: the reason of its dead letter.
        reason: &'static str,
        /// What is wrong, without the body.
        error: BoxError,
    },
}

impl Failure {
    /// A failure that no attempt will mend.
    pub fn finally(reason: &'static str, error: impl Into<BoxError>) -> Self {
        Self::Final { reason, error: error.into() }
    }

    /// A failure that may pass, not before so long if that is known.
    pub fn retry(error: impl Into<BoxError>, after: Option<Duration>) -> Self {
        Self::Retry { error: error.into(), after }
    }

    /// Nothing was tried; to be tried after so long, and nothing is charged.
    pub fn held(error: impl Into<BoxError>, after: Duration) -> Self {
        Self::Held { error: error.into(), after }
    }

    /// What went wrong with its causes, cut to what a column takes.
    #[must_use]
    pub fn text(&self) -> String {
        let (Self::Retry { error, .. } | Self::Held { error, .. } | Self::Final { error, .. }) = self;
        // The first line: what Postgres says in further ones quotes values of rows. A NUL is what its text can't hold.
        let mut text = chain(error.as_ref()).lines().next().unwrap_or_default().replace('\0', "\u{fffd}");
        cut(&mut text, ERROR_BYTES);
        text
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Retry { error: Box::new(error), after: None }
    }
}

/// What becomes of a message whose handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is tried again after a delay.
    Again {
        /// The delay, to be added to the database's clock.
        delay: Duration,
        /// Whether the attempt counts.
        charged: bool,
    },
    /// It dies.
    Bury {
        /// Why.
        reason: &'static str,
    },
}

/// Decides, given how many attempts there have been with this one and a random `unit` in `[0, 1)`.
pub(super) fn judge(failure: &Failure, attempts: u32, policy: &RetryPolicy, unit: f64) -> Verdict {
    match failure {
        Failure::Final { reason, .. } => Verdict::Bury { reason },
        Failure::Held { after, .. } => Verdict::Again {
            delay: (*after).clamp(policy.floor.min(LONGEST_WAIT), LONGEST_WAIT),
            charged: false,
        },
        Failure::Retry { .. } if attempts >= policy.max_attempts => Verdict::Bury { reason: EXHAUSTED },
        Failure::Retry { after, .. } => {
            let own = policy.delay(attempts, unit);
            // Asked for an hour, nobody is to come back after a second; asked for nothing, not at once.
            let delay = after.map_or(own, |asked| asked.max(own));
            Verdict::Again { delay: delay.min(LONGEST_WAIT), charged: true }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy { max_attempts: 3, floor: Duration::from_secs(1), cap: Duration::from_secs(60) }
    }

    #[test]
    fn only_a_retry_is_charged_and_only_the_last_one_kills() {
        let retry = Failure::retry("x", None);
        assert!(matches!(judge(&retry, 2, &policy(), 0.5), Verdict::Again { charged: true, .. }));
        assert_eq!(judge(&retry, 3, &policy(), 0.5), Verdict::Bury { reason: EXHAUSTED });
        let held = Failure::held("x", Duration::from_secs(5));
        let waits = Verdict::Again { delay: Duration::from_secs(5), charged: false };
        assert_eq!(judge(&held, 99, &policy(), 0.5), waits);
        assert_eq!(judge(&Failure::finally("no", "x"), 1, &policy(), 0.5), Verdict::Bury { reason: "no" });
    }

    #[test]
    fn every_error_is_a_retry_by_default_and_its_text_fits_a_column() {
        let failure: Failure = std::io::Error::other("a\0".repeat(9000)).into();
        assert!(matches!(failure, Failure::Retry { after: None, .. }));
        assert!(failure.text().len() <= ERROR_BYTES && !failure.text().contains('\0'));
    }

    proptest! {
        #[test]
        fn a_delay_is_at_least_the_floor_and_at_most_a_day(asked: Option<u32>, attempts in 0_u32..3, unit in 0.0..1.0_f64) {
            let after = asked.map(|asked| Duration::from_secs(asked.into()));
            let charged = judge(&Failure::retry("x", after), attempts, &policy(), unit);
            let held = judge(&Failure::held("x", after.unwrap_or_default()), attempts, &policy(), unit);
            for verdict in [charged, held] {
                let Verdict::Again { delay, .. } = verdict else { return Err(TestCaseError::fail("it died")) };
                prop_assert!(delay >= policy().floor && delay <= LONGEST_WAIT);
            }
        }
    }
}
