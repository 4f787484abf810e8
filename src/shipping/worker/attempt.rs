//! One attempt at a step that calls somebody: what came of it, for the saga and for the inbox.
//!
//! The saga counts attempts and decides when they are enough, so to the inbox nothing of this is charged: its own budget is
//! for workers that die and for handlers that fail.

use std::{fmt, time::Duration};

use crate::{
    consumer::Failure,
    shipping::{
        carrier::verdict::{Verdict, Why},
        saga::{Act, Outcome},
    },
};

/// Where somebody has to see to our account first, nobody needs to ask every second.
const ACCOUNT: Duration = Duration::from_secs(60);

/// What came of it. As an error it says that the work order is to come again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attempt<G> {
    pub(super) act: Act,
    pub(super) outcome: Outcome,
    /// What is to be kept together with the outcome.
    pub(super) gain: Option<G>,
    /// For people: why it is no success.
    pub(super) reason: String,
    /// Not before so long; none: by the retry policy.
    pub(super) after: Option<Duration>,
}

impl<G> Attempt<G> {
    pub(super) fn done(act: Act, gain: Option<G>) -> Self {
        Self { act, outcome: Outcome::Done, gain, reason: String::new(), after: None }
    }

    pub(super) fn not(act: Act, outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { act, outcome, gain: None, reason: reason.into(), after: None }
    }

    pub(super) fn after(self, after: Duration) -> Self {
        Self { after: Some(after), ..self }
    }

    /// What succeeded; or the attempt that ends with it. `doubt` is the outcome where nobody knows.
    pub(super) fn of<T>(act: Act, verdict: Verdict<T>, doubt: Outcome) -> Result<T, Self> {
        match verdict {
            Verdict::Succeeded(value) => Ok(value),
            // A lookup that is refused says nothing of what was looked up.
            Verdict::Refused(error) if act == Act::LookUp => {
                let reason = format!("cannot look it up: {}: {}", error.code, error.message);
                Err(Self::not(act, Outcome::Later, reason))
            }
            Verdict::Refused(error) => {
                Err(Self::not(act, Outcome::Refused, format!("{}: {}", error.code, error.message)))
            }
            Verdict::TryLater(delay) => {
                // Certainly not done, for a reason that is nobody's here: an outage costs no attempts.
                let outcome = match delay.why {
                    Why::Held | Why::Unreachable | Why::Throttled | Why::Account => Outcome::Held,
                    Why::Failing => Outcome::Later,
                };
                let after = delay.after.or((delay.why == Why::Account).then_some(ACCOUNT));
                Err(Self { after, ..Self::not(act, outcome, delay.detail) })
            }
            Verdict::Unknown(why) => Err(Self::not(act, doubt, why)),
        }
    }

    /// For the inbox: whether the message is through, or comes again after `own` or what was asked for.
    pub(super) fn ended(self, own: Duration) -> Result<Self, Failure>
    where
        G: fmt::Debug + Send + Sync + 'static,
    {
        match self.outcome {
            Outcome::Done | Outcome::Refused => Ok(self),
            _ => {
                let after = self.after.unwrap_or(own);
                Err(Failure::held(self, after))
            }
        }
    }

    /// The attempt behind a result; none where the library ended it: its deadline passed, or it panicked.
    pub(super) fn behind<'a>(result: Result<&'a Self, &'a Failure>) -> Option<&'a Self>
    where
        G: fmt::Debug + Send + Sync + 'static,
    {
        match result {
            Ok(attempt) => Some(attempt),
            Err(
                Failure::Held { error, .. } | Failure::Retry { error, .. } | Failure::Final { error, .. },
            ) => error.downcast_ref(),
        }
    }
}

impl<G> fmt::Display for Attempt<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.outcome)
    }
}

impl<G: fmt::Debug> std::error::Error for Attempt<G> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipping::carrier::{error_codes::CarrierError, verdict::Delay};

    fn outcome(act: Act, verdict: Verdict<()>) -> Option<Outcome> {
        Attempt::<()>::of(act, verdict, Outcome::Lost).err().map(|attempt| attempt.outcome)
    }

    fn later(why: Why) -> Verdict<()> {
        Verdict::TryLater(Delay { why, after: None, detail: String::new() })
    }

    #[test]
    fn an_outage_costs_no_attempt_and_doubt_is_looked_up() {
        for why in [Why::Held, Why::Unreachable, Why::Throttled, Why::Account] {
            assert_eq!(outcome(Act::Do, later(why)), Some(Outcome::Held), "{why:?}");
        }
        assert_eq!(outcome(Act::Do, later(Why::Failing)), Some(Outcome::Later));
        assert_eq!(outcome(Act::Do, Verdict::Unknown(String::new())), Some(Outcome::Lost));
        assert_eq!(outcome(Act::Do, Verdict::Succeeded(())), None);
    }

    #[test]
    fn a_refused_lookup_refuses_nothing_that_may_have_been_bought() {
        let refused = || Verdict::Refused(CarrierError { code: "NOT_FOUND".into(), message: String::new() });
        assert_eq!(outcome(Act::Do, refused()), Some(Outcome::Refused));
        assert_eq!(outcome(Act::LookUp, refused()), Some(Outcome::Later));
    }

    #[test]
    fn only_what_is_final_ends_a_message_and_the_rest_carries_itself_on() {
        let own = Duration::from_secs(7);
        for outcome in Outcome::ALL {
            let attempt = Attempt::<u8>::not(Act::Do, *outcome, "why");
            match attempt.clone().ended(own) {
                Ok(ended) => assert!(matches!(ended.outcome, Outcome::Done | Outcome::Refused)),
                Err(failure) => {
                    assert!(matches!(&failure, Failure::Held { after, .. } if *after == own), "{outcome}");
                    assert_eq!(Attempt::behind(Err(&failure)), Some(&attempt));
                }
            }
        }
        assert_eq!(Attempt::<u8>::behind(Err(&Failure::retry("a deadline", None))), None);
    }
}
