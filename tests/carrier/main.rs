//! The carrier's adapter against the simulator, a real process over real sockets, with every misbehaviour that it
//! knows; and the HTTP client against servers that are worse still.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should say where"
)]

mod http;
mod ledger;
mod misbehaviour;
mod refunds;
mod sim;
#[path = "../support/wait.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod wait;
