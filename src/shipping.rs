//! Shipping, the reference for consumers of relay: an order is shipped once, billed once and told about once, or rests in
//! a visible state that says what is needed. `docs/shipping.md` explains it.
//!
//! [`saga`] decides, purely; [`store`] keeps what it decided; [`api`] takes it on; [`worker`] does it; [`carrier`] speaks to
//! the carrier, and [`carrier_sim`] is one.

pub mod api;
pub mod carrier;
pub mod carrier_sim;
pub mod cli;
pub mod decision;
pub mod entry;
pub mod event;
mod failpoint;
pub mod migrations;
pub mod money;
pub mod notify;
pub mod roles;
pub mod saga;
pub mod shipment;
pub mod step;
pub mod store;
pub mod worker;
