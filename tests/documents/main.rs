//! Documents held against what is real: docs/asyncapi.yaml against AsyncAPI's own schema (dev/asyncapi), the code and messages on
//! a broker; the statements of the manual and the runbooks against Postgres.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    dead_code,
    reason = "a test fails by panicking, and does not use all of what tests share"
)]
#![allow(unreachable_pub, missing_docs, reason = "a test's modules are read by nobody else")]

mod document;
mod names;
#[path = "../shipping/rig.rs"]
mod rig;
mod shipments;
mod statements;
#[path = "../support/mod.rs"]
mod support;
mod wire;
