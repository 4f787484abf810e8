//! A small HTTP client for third parties: bounded in every direction, and exact about what may have happened.

pub mod client;
pub mod error;
pub mod gate;
pub mod retry_after;
pub mod transport;
