//! The AMQP adapter against a real broker, given by `AMQP_URL`, and against the faults of a proxy before it.
//!
//! Nothing here blocks or stops the broker; an alarm is raised in tests/process/alarm.rs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod connecting;
mod faults;
mod outcomes;
mod rig;
mod topology;

#[path = "../support/proxy.rs"]
mod proxy;
