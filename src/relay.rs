//! The relay: a pure engine that decides, and a driver that does.

pub mod assignment;
pub mod driver;
pub mod engine;
pub mod flood;
pub mod floors;
pub mod input;
pub mod keys;
pub mod known;
pub mod pace;
pub mod stragglers;
pub mod writes;
