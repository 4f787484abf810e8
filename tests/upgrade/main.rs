//! What a deploy rests on: an older relay goes on working when the schema is migrated under it, and no migration keeps
//! producers waiting. With real processes it is done by `make upgrade`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    missing_docs,
    dead_code,
    clippy::print_stderr,
    reason = "tests, and a support module of which each test binary uses a part"
)]

#[path = "../support/mod.rs"]
mod support;

mod expand;
mod statements;
