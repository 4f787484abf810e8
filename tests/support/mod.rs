//! What tests of the real binaries share: servers, a database and a corner of the broker for each test, relay itself.

pub mod broker;
pub mod database;
pub mod proxy;
pub mod relay;
pub mod servers;
pub mod wait;

#[path = "../../dev/stack.rs"]
pub(crate) mod stack;
