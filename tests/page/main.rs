//! The operators' page: who may, what it shows and does, and that nothing asked of it hurts publishing. The real relay, a real
//! Postgres and a real RabbitMQ.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    missing_docs,
    dead_code,
    clippy::print_stderr,
    reason = "tests, and a support module of which each test binary uses a part"
)]

#[path = "../process/rig.rs"]
mod rig;
#[path = "../shipping/rig.rs"]
mod shipping_rig;
#[path = "../support/mod.rs"]
mod support;

mod acts;
mod bounds;
mod browser;
mod browser_acts;
mod browser_views;
mod client;
mod dead;
mod looks;
mod outboxes;
mod roles;
mod shipments;
mod who_may;
