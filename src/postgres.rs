//! Postgres: connections, transactions, migrations, leases and the wake-up listener.

pub mod connect;
pub mod lanes;
pub mod listener;
pub mod migrate;
pub mod pool;
pub mod sql;
pub mod transaction;
