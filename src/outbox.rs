//! The outbox table: reading rows and recording what became of them.

pub mod backlog;
pub mod memory;
pub mod scanner;
pub mod sequence;
pub mod value;
pub mod writer;
