//! relay: publishes every committed row of a Postgres outbox table to RabbitMQ.

pub mod amqp;
pub mod app;
pub mod cause;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod envelope;
pub mod health;
pub mod letter;
pub mod message;
pub mod metrics;
pub mod operator;
pub mod outbox;
pub mod postgres;
pub mod publisher;
pub mod reason;
pub mod reconnect;
pub mod relay;
pub mod retry;
pub mod row;
pub mod shipping;
