//! What the saga decided, in Postgres. Every function works in the caller's transaction, which is that of the inbox row
//! too; nothing here commits.
//!
//! Legality is the saga's business. The statements repeat it as guards, and the constraints once more.

mod cases;
mod change;
mod create;
mod endpoints;
mod inbound;
mod invoices;
mod ledger;
mod operators;
mod orders;
mod records;
mod views;

pub use cases::{Case, Label};
pub use change::{LockedLine, LockedOrder};
pub use create::{Answer, Created, Keyed, NewCase, NewLine, NewShipment};
pub use endpoints::{Receiver, receivers};
pub use invoices::Bill;
pub use ledger::Taken;
pub use operators::{Action, Deed, Listed};
pub use orders::{NewOrder, NewOrderLine, NewParty, PartyAddress};
pub use records::CarrierCase;
pub use views::{Shown, ShownOrder};

use uuid::Uuid;

use super::{
    money::MoneyError,
    saga::{Limits, Refusal},
};
use crate::{
    named::UnknownName,
    postgres::{connect::describe, sql::in_schema},
};

/// Shipping's tables, and relay's outbox beside them.
#[derive(Debug, Clone)]
pub struct Store {
    order: String,
    announce: String,
    announce_order: String,
    lost: String,
    receive: String,
    limits: Limits,
}

impl Store {
    /// For a database whose outbox lives in this schema.
    #[must_use]
    pub fn new(relay_schema: &str, limits: Limits) -> Self {
        let statement = |text: &str| in_schema(text, relay_schema);
        Self {
            order: statement(include_str!("../../sql/shipping/queries/outbox/order.sql")),
            announce: statement(include_str!("../../sql/shipping/queries/outbox/announce.sql")),
            announce_order: statement(include_str!("../../sql/shipping/queries/outbox/announce_order.sql")),
            lost: statement(include_str!("../../sql/shipping/queries/steps/lost.sql")),
            receive: statement(include_str!("../../sql/shipping/queries/carrier_events/receive.sql")),
            limits,
        }
    }
}

/// Headers of an event, as a JSON object: `{}`, or the trace it belongs to.
pub type Headers<'a> = &'a str;

/// Why the store could not do it. Roll the transaction back, whatever it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A statement failed.
    #[error("{}", describe(.0))]
    Statement(#[from] tokio_postgres::Error),
    /// A column holds a name that this version does not know.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// A column holds no money.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// The saga says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Somebody wrote to the shipment without its lock.
    #[error("shipment {0} was changed by somebody else meanwhile; try again")]
    Stale(Uuid),
    /// There is no such shipment.
    #[error("there is no shipment {0}")]
    NoShipment(Uuid),
    /// A shipment asks for more of an order than is left, or for a line that the order does not have.
    #[error("order {0} has not enough left of a line, or no such line")]
    NotEnough(String),
    /// A quantity could not be moved, although the saga said so.
    #[error("the quantities of shipment {0} are not where its ledger says: a defect")]
    Quantities(Uuid),
    /// A shipment can't be billed, or has nothing to credit.
    #[error("shipment {0} can't be billed: a label is not bought, or it is being undone")]
    NotBillable(Uuid),
    /// Another request with the same key is still at it.
    #[error("another request with this idempotency key is still running")]
    KeyBusy,
    /// A payload could not be written.
    #[error("cannot write an event: {0}")]
    Payload(#[from] serde_json::Error),
}
