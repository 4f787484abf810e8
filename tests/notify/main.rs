//! The notifying worker under its own role, between a real Postgres and a real RabbitMQ, with a mail server and a receiver
//! of webhooks that misbehave as they are told to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "a test fails by panicking, and does not use all of what tests share"
)]

mod addresses;
mod corrections;
mod doctor;
mod endpoints;
mod mail;
#[path = "../support/postman.rs"]
mod postman;
#[path = "../support/receiver.rs"]
mod receiver;
mod rig;
#[path = "../shipping/rig.rs"]
mod shipping;
#[path = "../support/mod.rs"]
mod support;
mod webhooks;
mod workers;
