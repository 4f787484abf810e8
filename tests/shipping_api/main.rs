//! `shipments api`, the real binary, on a real Postgres, under a database role that has just what the API needs. There is
//! no broker in any of these tests: none is needed to accept.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::panic,
    dead_code,
    reason = "a test fails by panicking, and does not use all of what tests share"
)]
#![allow(unreachable_pub, missing_docs, reason = "a test's modules are read by nobody else")]

mod carrier;
mod client;
mod document;
mod endpoints;
mod idempotency;
mod limits;
mod orders;
mod outages;
mod rig;
mod shipments;
#[path = "../support/mod.rs"]
mod support;
