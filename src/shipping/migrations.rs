//! The tables of shipping, in a schema of their own, whose name is fixed.

use crate::postgres::{
    connect::{Connection, DatabaseError},
    migrate::{History, Migration, PATIENCE},
};

/// The schema.
pub const SCHEMA: &str = "shipping";

macro_rules! migrations {
    ($($version:literal $name:literal),+ $(,)?) => {
        /// Shipping's migrations. Apply relay's first where both share a database.
        pub const HISTORY: History = History {
            written_for: SCHEMA,
            migrations: &[$(Migration {
                version: $version,
                name: $name,
                sql: include_str!(concat!("../../sql/shipping/migrations/", $name, ".sql")),
            }),+],
        };
    };
}

migrations! {
    1 "0001_orders",
    2 "0002_shipments",
    3 "0003_invoices",
    4 "0004_notices",
    5 "0005_api",
}

/// Applies what is pending; returns the names of what was applied.
///
/// # Errors
/// When a statement fails: its migration is rolled back, earlier ones stay.
pub async fn migrate(connection: &mut Connection) -> Result<Vec<&'static str>, DatabaseError> {
    HISTORY.migrate(connection, SCHEMA, PATIENCE, |_| {}).await
}
