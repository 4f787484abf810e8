//! A carrier to test against: EasyPost's API as far as shipping uses it, with a durable ledger of what it sold, and
//! misbehaviour by a script. It is judged by nobody's word but its ledger's: `GET /_ledger`.
//!
//! It shares no code with the adapter: a mistake about the protocol made once would else be made on both sides.
//!
//! | Call | Does |
//! |---|---|
//! | `/v2/..` | the carrier's API; key as user name of Basic authentication |
//! | `GET /_ledger` | labels sold, counts by reference, refunds |
//! | `GET`, `PUT`, `DELETE /_script` | misbehaviour and how refunds end: see [`script`] |
//! | `POST /_track` | `{"shipment_id": .., "status": ..}` moves a parcel, and tells by webhook |
//!
//! An address whose street holds `undeliverable` does not verify. The postage to postal code `00000` is refused.

pub mod api;
pub mod book;
pub mod ledger;
pub mod script;
pub mod server;
pub mod spoil;
pub mod webhooks;
