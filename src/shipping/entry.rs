//! An entry of the step ledger: its states, and which change leads from which to which.

use super::step::Key;
use crate::named::named;

named! {
    /// The state of an entry.
    State, "state of a step" {
        /// To be done; nothing has happened, certainly.
        Pending = "pending",
        /// A worker is at it.
        Running = "running",
        /// Done.
        Succeeded = "succeeded",
        /// Not done, and not to be tried again by itself.
        Failed = "failed",
        /// It may have been done or not. Looked up, never done again before that.
        Unknown = "unknown",
        /// Done once, and being undone.
        Compensating = "compensating",
        /// Undone.
        Compensated = "compensated",
        /// Never done, and no longer to be.
        Skipped = "skipped",
    }
}

named! {
    /// What happens to an entry.
    Change, "change of a step" {
        /// A worker takes it up.
        Begin = "begin",
        /// It is done, says the worker or a lookup.
        Succeed = "succeed",
        /// It was certainly not done, and is to be tried again.
        Postpone = "postpone",
        /// Refused for good, or tried often enough.
        Fail = "fail",
        /// The answer was lost, or the worker was.
        Lose = "lose",
        /// The shipment is being undone before this was begun, or an operator does without it.
        Skip = "skip",
        /// The shipment is being undone, and this was done.
        Compensate = "compensate",
        /// It is undone.
        Undo = "undo",
        /// An operator wants it tried again.
        Reopen = "reopen",
    }
}

named! {
    /// Why an entry failed.
    Failure, "failure" {
        /// The third party, or a rule, said no for good.
        Refused = "refused",
        /// It was tried as often as is allowed.
        Exhausted = "exhausted",
    }
}

/// Every legal transition. What is not here is illegal: in this program by [`after`], and in the database by a trigger.
pub const TRANSITIONS: &[(State, Change, State)] = &[
    (State::Pending, Change::Begin, State::Running),
    (State::Pending, Change::Skip, State::Skipped),
    (State::Running, Change::Succeed, State::Succeeded),
    (State::Running, Change::Postpone, State::Pending),
    (State::Running, Change::Fail, State::Failed),
    (State::Running, Change::Lose, State::Unknown),
    (State::Unknown, Change::Succeed, State::Succeeded),
    (State::Unknown, Change::Postpone, State::Pending),
    (State::Unknown, Change::Fail, State::Failed),
    (State::Failed, Change::Reopen, State::Pending),
    (State::Failed, Change::Skip, State::Skipped),
    (State::Succeeded, Change::Compensate, State::Compensating),
    (State::Compensating, Change::Undo, State::Compensated),
];

/// The state after a change; `None` when the change is illegal there.
#[must_use]
pub fn after(state: State, change: Change) -> Option<State> {
    TRANSITIONS.iter().find(|(from, by, _)| (*from, *by) == (state, change)).map(|(.., to)| *to)
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub key: Key,
    /// What it has come to.
    pub state: State,
    /// Why it failed; only of a failed one.
    pub failure: Option<Failure>,
    /// Whether a work order is out for it. There is one at most.
    pub asked: bool,
    /// The number of the latest work order. An older one finds nothing to do.
    pub task: i32,
    /// Whether a worker has begun to undo it.
    pub undoing: bool,
    /// How often it was begun, without what is charged to nobody.
    pub attempts: i32,
    /// How often it was looked up, or its undoing begun, likewise.
    pub checks: i32,
    /// Nothing more happens by itself; an operator has to say what.
    pub stalled: bool,
}

impl Entry {
    /// A new one.
    #[must_use]
    pub const fn new(key: Key) -> Self {
        Self {
            key,
            state: State::Pending,
            failure: None,
            asked: false,
            task: 0,
            undoing: false,
            attempts: 0,
            checks: 0,
            stalled: false,
        }
    }

    /// Whether it can't change any more but by an operator or by being undone.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        matches!(self.state, State::Succeeded | State::Failed | State::Compensated | State::Skipped)
    }

    /// The entry after a change.
    ///
    /// # Errors
    /// When it is illegal from this one.
    pub fn changed(&self, change: Change) -> Result<Self, Illegal> {
        let state = after(self.state, change).ok_or(Illegal { key: self.key, state: self.state, change })?;
        let mut entry = Self { state, failure: None, stalled: false, undoing: false, ..self.clone() };
        match change {
            Change::Begin => entry.attempts += 1,
            Change::Lose | Change::Compensate => entry.checks = 0,
            Change::Reopen => (entry.attempts, entry.checks) = (0, 0),
            _ => {}
        }
        if entry.is_settled() {
            entry.asked = false;
        }
        Ok(entry)
    }
}

/// A change that the table does not have: a defect of this program, whose transaction has to be rolled back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {state}: it cannot {change}")]
pub struct Illegal {
    /// Which entry.
    pub key: Key,
    /// Its state.
    pub state: State,
    /// The change.
    pub change: Change,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_state_and_change_leads_to_one_state_or_to_none() {
        for state in State::ALL {
            for change in Change::ALL {
                let rows: Vec<_> =
                    TRANSITIONS.iter().filter(|(from, by, _)| (from, by) == (state, change)).collect();
                assert!(rows.len() <= 1, "{state} and {change} lead to several states");
                assert_eq!(after(*state, *change), rows.first().map(|(.., to)| *to));
            }
        }
    }

    #[test]
    fn every_state_is_reached_and_every_change_is_used() {
        for state in State::ALL {
            let reached = *state == State::Pending || TRANSITIONS.iter().any(|(.., to)| to == state);
            assert!(reached, "nothing leads to {state}");
        }
        for change in Change::ALL {
            assert!(TRANSITIONS.iter().any(|(_, by, _)| by == change), "{change} is legal nowhere");
        }
    }

    #[test]
    fn nothing_leads_out_of_what_is_undone_or_skipped() {
        for end in [State::Compensated, State::Skipped] {
            assert!(!TRANSITIONS.iter().any(|(from, ..)| *from == end), "{end} is no end");
        }
    }

    #[test]
    fn what_was_done_is_only_ever_undone() {
        let leaving: Vec<_> = TRANSITIONS.iter().filter(|(from, ..)| *from == State::Succeeded).collect();
        assert_eq!(leaving, [&(State::Succeeded, Change::Compensate, State::Compensating)]);
    }
}
