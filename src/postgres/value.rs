//! Column values taken as they are on the wire, without a detour through a date library or a JSON tree.

use std::error::Error;

use tokio_postgres::types::{FromSql, Type};

/// Microseconds from the Unix epoch to 2000-01-01, where Postgres' timestamps begin.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// A `timestamptz`, in microseconds since the Unix epoch; the infinities are as far away as can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Micros(pub i64);

impl<'a> FromSql<'a> for Micros {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let bytes: [u8; 8] = raw.try_into()?;
        Ok(Self(i64::from_be_bytes(bytes).saturating_add(POSTGRES_EPOCH_US)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

/// Text, borrowed from the row as bytes: it goes to the broker as it is, and nobody here needs it checked.
#[derive(Debug, Clone, Copy)]
pub struct TextBytes<'a>(pub &'a [u8]);

impl<'a> FromSql<'a> for TextBytes<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT
    }
}
