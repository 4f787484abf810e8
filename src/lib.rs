//! relay: publishes every committed row of a Postgres outbox table to RabbitMQ.

pub mod amqp;
pub mod message;
pub mod publisher;
