//! Shipping as it is run: real workers, relay, the simulator of the carrier, Postgres and RabbitMQ, as processes; and an
//! account of what the carrier sold against what the tables say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    missing_docs,
    dead_code,
    clippy::print_stderr,
    reason = "tests, and a support module of which each test binary uses a part"
)]

mod cancelling;
mod checker;
#[path = "../shipping_api/client.rs"]
mod client;
#[path = "../support/collector.rs"]
mod collector;
mod commands;
mod crashes;
mod faults;
mod lifecycle;
mod neglect;
mod news;
mod outages;
#[path = "../support/postman.rs"]
mod postman;
#[path = "../support/receiver.rs"]
mod receiver;
mod repeats;
mod rig;
mod shipping;
#[path = "../carrier/sim.rs"]
mod sim;
#[path = "../support/mod.rs"]
mod support;
mod telling;
mod tracing;
