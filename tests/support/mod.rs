//! What tests of the real binaries share: servers, a database and a corner of the broker for each test, relay itself.
//! A mail server and a receiver of webhooks lie beside it, for the few tests that name them by path.

pub mod broker;
pub mod database;
pub mod pooler;
pub mod proxy;
pub mod relay;
pub mod servers;
pub mod stopped;
pub mod wait;

#[path = "../../dev/stack.rs"]
pub(crate) mod stack;
