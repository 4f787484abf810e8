//! Shipping's tables on a real Postgres: what the store writes, what the constraints refuse, what each role may do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    dead_code,
    reason = "a test fails by panicking, and does not use all of what tests share"
)]
#![allow(unreachable_pub, missing_docs, reason = "a test's modules are read by nobody else")]

mod constraints;
mod lives;
mod rig;
mod roles;
#[path = "../support/mod.rs"]
mod support;
