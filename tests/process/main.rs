//! relay as it is run: the real binary, between a real Postgres and a real RabbitMQ.
//!
//! Servers come from `DATABASE_URL` and `AMQP_URL`, or are started privately (dev/stack). Each test has a database and
//! names on the broker of its own; those that kill or freeze servers take turns with a stack of this process's own.

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

mod admin;
mod alarm;
mod broker_outages;
mod cleanup;
#[path = "../support/collector.rs"]
mod collector;
mod configuration;
mod database_outages;
mod dead_letters;
mod doctor;
mod doctor_broker;
mod doctor_operators;
mod gauges;
mod lifecycle;
mod links;
mod logs;
mod pausing;
mod poison;
mod poolers;
mod postgres_tls;
mod publishing;
mod retention;
mod rig;
mod several_outboxes;
mod several_relays;
mod several_unable;
mod stuck_backends;
mod top;
mod tracing;
mod upgrades;
mod wake_up;
