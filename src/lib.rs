//! relay: publishes every committed row of a Postgres outbox table to RabbitMQ.

pub mod admin;
pub mod amqp;
pub mod app;
pub mod breaker;
pub mod cause;
pub mod cli;
pub mod config;
pub mod consumer;
pub mod daemon;
pub mod envelope;
pub mod health;
pub mod http;
pub mod letter;
pub mod message;
pub mod metrics;
pub mod named;
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
