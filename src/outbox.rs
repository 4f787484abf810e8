//! The outbox table: reading rows and recording what became of them.

pub mod backlog;
pub mod cleanup;
pub mod lanes;
mod look;
pub mod memory;
pub mod pauses;
pub mod pruner;
pub mod scanner;
pub mod sequence;
pub mod writer;
