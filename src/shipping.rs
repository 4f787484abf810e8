//! Shipping: the reference consumers of relay.

pub mod carrier;
pub mod carrier_sim;
pub mod cli;
