//! The carrier: an adapter to EasyPost's public API, version 2.
//!
//! What that API is like, and how the adapter lives with it:
//!
//! - There is no idempotency key, and references are not unique. But buying is per shipment there: a shipment that has
//!   its label can't be bought a second time. So the order is: persist our reference, create a shipment with it,
//!   persist the id that comes back, buy by that id. A lost answer to the creation is looked up by the reference, one
//!   to the purchase by the id. What is created twice costs nothing; only one of them is ever bought.
//! - Errors come as `{"error": {"code", "message", "errors"}}` with a 4xx or 5xx. Some of the codes mean that the
//!   purchase is under way, or done already: those are no refusals.
//! - A refund is asynchronous: submitted, then refunded or rejected; or not applicable at once. The carrier reports
//!   only success by webhook, so it is polled as well.
//! - Webhooks are signed by HMAC-SHA256, in two versions, and may come late, twice and out of order.

pub mod client;
pub mod error_codes;
pub mod event;
pub mod lookup;
pub mod shipment;
pub mod signature;
pub mod tracking;
pub mod verdict;
pub mod wire;
