//! Postgres: settings, connections, transactions, migrations, column values and the wake-up listener.

pub mod client;
pub mod connect;
pub mod listener;
pub mod migrate;
pub mod pool;
pub mod settings;
pub mod shape;
pub mod sql;
pub mod transaction;
pub mod value;
