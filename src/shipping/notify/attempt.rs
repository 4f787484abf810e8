//! One attempt to tell somebody, and what is written down about it. Pure.

use std::{error::Error, fmt, time::Duration};

use uuid::Uuid;

use super::message::Kind;
use crate::{
    named::named,
    shipping::{
        decision::{Decision, Input, Outcome, Plan, Resolution},
        entry::{Entry, State},
        step::{Key, Recovery},
    },
};

/// What became of an attempt. It is an error of its own where another attempt is to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// As the saga is told.
    pub outcome: Outcome,
    /// The status of the answer to a webhook, or a mail server's reply code.
    pub status: Option<u16>,
    /// The wait that the receiver asked for; then the wait until the next attempt.
    pub after: Option<Duration>,
    /// The receiver wants no more: the endpoint, and the version of it that was called.
    pub gone: Option<(Uuid, i64)>,
    /// What went wrong, for people.
    pub problem: String,
}

impl Attempt {
    /// It was told.
    #[must_use]
    pub fn done(status: u16) -> Self {
        Self { status: Some(status), ..Self::failed(Outcome::Done, String::new()) }
    }

    /// It was not, or nobody knows.
    #[must_use]
    pub fn failed(outcome: Outcome, problem: impl Into<String>) -> Self {
        Self { outcome, status: None, after: None, gone: None, problem: problem.into() }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl Error for Attempt {}

named! {
    /// The state of a notification, for whoever asks. The ledger is what decides.
    Standing, "state of a notification" {
        /// It is being told, now or later.
        Pending = "pending",
        /// It was told.
        Sent = "sent",
        /// It was not, and won't be unless an operator says so.
        Failed = "failed",
        /// It may have been told, and nobody can be asked.
        Unknown = "unknown",
    }
}

/// The entry as it was before a plan changed it; `None` if the plan does not.
fn before(plan: &Plan, key: Key) -> Option<&Entry> {
    plan.decisions.iter().find_map(|decision| match decision {
        Decision::Move { from, .. } if from.key == key => Some(from),
        _ => None,
    })
}

/// What a notification has come to after `plan`, the saga's answer to `outcome`. `None` if it has not moved.
///
/// From the entry before the plan, not from the one after it: what follows from a success may be its undoing.
#[must_use]
pub fn reported(plan: &Plan, key: Key, outcome: Outcome) -> Option<(Kind, Standing)> {
    let kind = match before(plan, key)?.state {
        State::Compensating => Kind::Corrected,
        _ => Kind::Shipped,
    };
    let standing = match outcome {
        Outcome::Done => Standing::Sent,
        _ if plan.again.is_some() => Standing::Pending,
        Outcome::Lost if key.recovery() == Recovery::Person => Standing::Unknown,
        _ => Standing::Failed,
    };
    Some((kind, standing))
}

/// Whether the shipment is being undone, or an operator does without it, and it is not to be told any more.
#[must_use]
pub fn is_skipped(plan: &Plan, key: Key) -> bool {
    plan.shipment.entry(key).is_some_and(|entry| entry.state == State::Skipped)
}

/// The same after a beginning that came to nothing: an earlier worker died, and there is no other try; or there is
/// nothing to tell any more.
#[must_use]
pub fn given_up(plan: &Plan, key: Key) -> Option<(Kind, Standing)> {
    if is_skipped(plan, key) {
        return Some((Kind::Shipped, Standing::Failed));
    }
    let from = before(plan, key).filter(|_| plan.act.is_none())?;
    let lost = if key.recovery() == Recovery::Person { Standing::Unknown } else { Standing::Failed };
    match from.state {
        State::Running => Some((Kind::Shipped, lost)),
        State::Compensating if from.undoing => Some((Kind::Corrected, lost)),
        State::Compensating => Some((Kind::Corrected, Standing::Failed)),
        _ => None,
    }
}

/// The same after an operator's word. `None` if it leaves the notification as it was.
#[must_use]
pub fn said(plan: &Plan, key: Key, input: &Input) -> Option<(Kind, Standing)> {
    let from = before(plan, key)?.state;
    let kind = if from == State::Compensating { Kind::Corrected } else { Kind::Shipped };
    let standing = match input {
        Input::Retry(_) | Input::Resolve(_, Resolution::NotDone) if !is_skipped(plan, key) => {
            Standing::Pending
        }
        Input::Retry(_) | Input::Resolve(_, Resolution::NotDone | Resolution::Never) => Standing::Failed,
        Input::Resolve(_, Resolution::Done) => Standing::Sent,
        _ => return None,
    };
    Some((kind, standing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipping::{
        saga::{Limits, decide},
        shipment::{Shipment, Undo},
        step::{Step, Subject},
    };

    const LIMITS: Limits = Limits { attempts: 2, checks: 2 };

    /// A shipment whose one notification is in this state, with its work order out.
    fn shipment(subject: Subject, state: State, attempts: i32) -> (Shipment, Key) {
        let mut shipment = Shipment::new(Uuid::nil(), "17", 1, &[subject]);
        let key = Key { step: Step::Notify, subject };
        for entry in &mut shipment.entries {
            entry.state = State::Succeeded;
            if entry.key == key {
                *entry = Entry { state, asked: true, task: 1, attempts, checks: attempts, ..Entry::new(key) };
            }
        }
        (shipment, key)
    }

    fn after(subject: Subject, state: State, attempts: i32, outcome: Outcome) -> Option<(Kind, Standing)> {
        let (shipment, key) = shipment(subject, state, attempts);
        let plan = decide(&shipment, &Input::Report(key, 1, outcome), LIMITS).unwrap();
        reported(&plan, key, outcome)
    }

    const MAIL: Subject = Subject::Mail(1);
    const WEBHOOK: Subject = Subject::Webhook(1);

    #[test]
    fn a_notification_stands_where_the_saga_left_its_entry() {
        use Outcome::{Done, Later, Lost, Refused};
        for (state, kind) in [(State::Running, Kind::Shipped), (State::Compensating, Kind::Corrected)] {
            for (subject, attempts, outcome, standing) in [
                (MAIL, 1, Done, Standing::Sent),
                (WEBHOOK, 1, Done, Standing::Sent),
                (MAIL, 1, Later, Standing::Pending),
                (WEBHOOK, 1, Lost, Standing::Pending),
                (MAIL, 1, Lost, Standing::Unknown),
                (MAIL, 2, Later, Standing::Failed),
                (WEBHOOK, 2, Lost, Standing::Failed),
                (MAIL, 1, Refused, Standing::Failed),
            ] {
                let found = after(subject, state, attempts, outcome);
                assert_eq!(found, Some((kind, standing)), "{subject} {state} {attempts} {outcome}");
            }
        }
    }

    #[test]
    fn a_report_that_the_saga_ignores_says_nothing() {
        assert_eq!(after(WEBHOOK, State::Pending, 1, Outcome::Done), None);
    }

    #[test]
    fn what_was_told_before_a_cancellation_was_told() {
        let (mut shipment, key) = shipment(WEBHOOK, State::Running, 1);
        shipment.undo = Some(Undo::Cancelled);
        let plan = decide(&shipment, &Input::Report(key, 1, Outcome::Done), LIMITS).unwrap();
        assert_eq!(plan.shipment.entry(key).unwrap().state, State::Compensating, "it is corrected at once");
        assert_eq!(reported(&plan, key, Outcome::Done), Some((Kind::Shipped, Standing::Sent)));
    }

    #[test]
    fn a_worker_that_died_leaves_a_mail_unknown_and_at_last_a_webhook_failed() {
        let begun = |subject, state, attempts, undoing| {
            let (mut shipment, key) = shipment(subject, state, attempts);
            shipment
                .entries
                .iter_mut()
                .filter(|entry| entry.key == key)
                .for_each(|entry| entry.undoing = undoing);
            let plan = decide(&shipment, &Input::Begin(key, 1), LIMITS).unwrap();
            given_up(&plan, key)
        };
        assert_eq!(begun(MAIL, State::Running, 1, false), Some((Kind::Shipped, Standing::Unknown)));
        assert_eq!(begun(MAIL, State::Compensating, 1, true), Some((Kind::Corrected, Standing::Unknown)));
        assert_eq!(begun(MAIL, State::Compensating, 2, false), Some((Kind::Corrected, Standing::Failed)));
        assert_eq!(begun(WEBHOOK, State::Running, 1, false), None, "it is tried again");
        assert_eq!(begun(WEBHOOK, State::Running, 2, false), Some((Kind::Shipped, Standing::Failed)));
        assert_eq!(begun(WEBHOOK, State::Compensating, 2, true), Some((Kind::Corrected, Standing::Failed)));
        assert_eq!(begun(MAIL, State::Pending, 0, false), None, "it is begun");
        assert_eq!(begun(MAIL, State::Skipped, 1, false), Some((Kind::Shipped, Standing::Failed)));
    }

    #[test]
    fn a_notification_is_what_an_operator_says_of_it() {
        use Resolution::{Done, Never, NotDone};
        let said = |state, undo, input: fn(Key) -> Input| {
            let (mut shipment, key) = shipment(MAIL, state, 1);
            shipment.undo = undo;
            for entry in shipment.entries.iter_mut().filter(|entry| entry.key == key) {
                (entry.asked, entry.stalled) = (false, state != State::Failed);
            }
            let plan = decide(&shipment, &input(key), LIMITS).unwrap();
            said(&plan, key, &input(key)).unwrap()
        };
        let done: fn(Key) -> Input = |key| Input::Resolve(key, Done);
        let not_done: fn(Key) -> Input = |key| Input::Resolve(key, NotDone);
        let never: fn(Key) -> Input = |key| Input::Resolve(key, Never);
        let cancelled = Some(Undo::Cancelled);
        for (state, undo, input, expected) in [
            (State::Unknown, None, done, (Kind::Shipped, Standing::Sent)),
            (State::Unknown, None, not_done, (Kind::Shipped, Standing::Pending)),
            (State::Unknown, None, never, (Kind::Shipped, Standing::Failed)),
            (State::Failed, None, never, (Kind::Shipped, Standing::Failed)),
            (State::Failed, None, Input::Retry, (Kind::Shipped, Standing::Pending)),
            // It was told, and is corrected at once; it was not, and there is nothing to correct.
            (State::Unknown, cancelled, done, (Kind::Shipped, Standing::Sent)),
            (State::Unknown, cancelled, not_done, (Kind::Shipped, Standing::Failed)),
            (State::Compensating, cancelled, done, (Kind::Corrected, Standing::Sent)),
            (State::Compensating, cancelled, not_done, (Kind::Corrected, Standing::Pending)),
        ] {
            assert_eq!(said(state, undo, input), expected, "{state} {undo:?} {expected:?}");
        }
    }
}
