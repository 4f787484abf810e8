//! The consumer library between a real Postgres and a real RabbitMQ: in this process where nothing is killed, and as a
//! process of its own where something is.

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

mod burial;
#[path = "../support/collector.rs"]
mod collector;
mod crashes;
mod duplicates;
mod example;
mod external;
mod garbage;
mod handlers;
mod lifecycle;
mod operator;
mod order;
mod outages;
mod retries;
mod rig;
mod tracing;
mod worker;
