//! Shipping: the reference consumers of relay.

pub mod carrier;
