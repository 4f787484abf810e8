//! What callers are told of the store's errors. What they can do nothing about is logged here, and nowhere else.

use super::problem::{Code, FieldError, Problem};
use crate::{
    cause::chain,
    postgres::connect::{DatabaseError, Trouble},
    shipping::{saga::Refusal, store::StoreError},
};

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        if error.is_contention() {
            return Self::new(Code::TimedOut, "somebody else holds what it needs; try again");
        }
        if error.kind() == Trouble::Statement {
            return internal(&error);
        }
        // The probe says what is wrong, once.
        tracing::debug!("the database is away: {}", chain(&error));
        Self::new(Code::DatabaseUnavailable, "the database can't be reached; try again with the same key")
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Statement(source) => DatabaseError::Statement(source).into(),
            StoreError::KeyBusy => Self::new(Code::KeyInProgress, error.to_string()),
            StoreError::NotEnough(_) => {
                Self::with(Code::NotEnough, vec![FieldError::new("/cases", error.to_string())])
            }
            StoreError::NoShipment(_) => Self::new(Code::NotFound, error.to_string()),
            StoreError::Stale(_) => Self::new(Code::TimedOut, error.to_string()),
            StoreError::Refused(Refusal::Undone(_) | Refusal::Collected) => {
                Self::new(Code::NotCancellable, error.to_string())
            }
            _ => internal(&error),
        }
    }
}

fn internal(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!("a request failed by a defect: {}", chain(error));
    Problem::new(Code::Internal, "it is logged; nothing was done")
}
