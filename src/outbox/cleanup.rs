//! Who keeps vacuum from cleaning the table: an old transaction, wherever it is open.

use std::fmt;

use crate::postgres::{client::Client, connect::DatabaseError};

/// What can hold cleanup back; [`crate::metrics::HOLDERS`] are their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A session with an open transaction.
    Session,
    /// A transaction prepared for two-phase commit.
    Prepared,
    /// A replication slot, for its standby.
    Slot,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Prepared => "prepared",
            Self::Slot => "slot",
        }
    }
}

/// What holds cleanup back furthest.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// What it is.
    pub kind: Kind,
    /// The process of the session, or of the slot while that is in use.
    pub pid: Option<i32>,
    /// `application_name` of a session, if it has one; else the transaction's or the slot's.
    pub name: Option<String>,
    /// Of a session as `pg_stat_activity` has it, unless this role may not know; of a slot `active` or `inactive`.
    pub state: Option<String>,
    /// Since it began, in seconds, where that can be known.
    pub seconds: Option<f64>,
    /// Transactions begun since.
    pub transactions: i64,
    /// Where it holds. While that stays the same nothing is cleaned.
    pub held: String,
}

impl Holder {
    /// Asks for it.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn find(client: &Client) -> Result<Option<Self>, DatabaseError> {
        let row = client.query_opt(include_str!("../../sql/queries/activity/hold_cleanup.sql"), &[]).await?;
        row.map(|row| {
            Ok(Self {
                kind: match row.try_get(0)? {
                    "prepared" => Kind::Prepared,
                    "slot" => Kind::Slot,
                    _ => Kind::Session,
                },
                pid: row.try_get(1)?,
                name: row.try_get(2)?,
                state: row.try_get(3)?,
                seconds: row.try_get(4)?,
                transactions: row.try_get(5)?,
                held: row.try_get(6)?,
            })
        })
        .transpose()
    }

    /// Whether this is the same as the other, holding at the same place.
    #[must_use]
    pub fn is_still(&self, other: &Self) -> bool {
        (self.kind, self.pid, &self.name, &self.held) == (other.kind, other.pid, &other.name, &other.held)
    }
}

impl fmt::Display for Holder {
    /// `session 4711 of "psql", idle in transaction`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or_default();
        match (self.kind, self.pid) {
            (Kind::Session, Some(pid)) => write!(f, "session {pid} of {name:?}")?,
            (Kind::Session, None) => write!(f, "a session of {name:?}")?,
            (Kind::Prepared, _) => write!(f, "the prepared transaction {name:?}")?,
            (Kind::Slot, _) => write!(f, "the replication slot {name:?}")?,
        }
        self.state.iter().try_for_each(|state| write!(f, ", {state}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_named_by_what_is_known_of_it() {
        let mut holder = Holder {
            kind: Kind::Session,
            pid: Some(4711),
            name: Some("psql\n".to_owned()),
            state: Some("idle in transaction".to_owned()),
            seconds: None,
            transactions: 0,
            held: "9".to_owned(),
        };
        assert_eq!(holder.to_string(), r#"session 4711 of "psql\n", idle in transaction"#);
        (holder.name, holder.state) = (None, None);
        assert_eq!(holder.to_string(), r#"session 4711 of """#);
        (holder.kind, holder.name) = (Kind::Prepared, Some("two".to_owned()));
        assert_eq!(holder.to_string(), r#"the prepared transaction "two""#);
        (holder.kind, holder.state) = (Kind::Slot, Some("inactive".to_owned()));
        assert_eq!(holder.to_string(), r#"the replication slot "two", inactive"#);
        assert!(!holder.is_still(&Holder { held: "10".to_owned(), ..holder.clone() }));
    }
}
