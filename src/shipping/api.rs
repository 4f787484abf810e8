//! `shipments api`: orders and shipments over HTTP. `docs/api.md` is for its users, `api/openapi.json` for their tools.
//!
//! A request passes `gate` (who, how often, how many at a time, how long) and reaches a handler, which reads and checks
//! all of it before it touches the database; what it does is one transaction, its idempotency key with it. The broker is
//! never needed: what is to happen goes to relay's outbox.

mod admin;
mod answer;
mod body;
mod bucket;
mod callers;
mod carrier_webhooks;
mod check;
mod conditional;
mod documents;
mod endpoints;
mod failure;
mod gate;
mod key;
mod order_input;
mod orders;
mod pool;
mod problem;
mod routes;
mod server;
mod shipment_input;
mod shipments;
mod state;
mod trace;
mod waiting;
mod whole;

pub use bucket::Rate;
pub use callers::{Callers, TokensError};
pub use problem::Code;
pub use server::{Listeners, run};
pub use state::{ApiSettings, CarrierWebhooks, Limits};
