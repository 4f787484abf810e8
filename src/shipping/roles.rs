//! A database role for each part of shipping, with just what it needs.

use tokio_postgres::Client;

use super::migrations::SCHEMA;
use crate::{
    named::named,
    operator::grants::{self, Purpose},
    postgres::connect::DatabaseError,
};

named! {
    /// A part of shipping that connects to the database. Its role is called `shipping_NAME` unless somebody names another.
    Part, "part of shipping" {
        /// The HTTP API.
        Api = "api",
        /// Validates addresses.
        Address = "address",
        /// Buys labels and voids them.
        Label = "label",
        /// Records tracking, applies the carrier's webhooks.
        Tracking = "tracking",
        /// Bills and credits.
        Invoice = "invoice",
        /// Fulfils orders and reverts it; keeps the orders' read model.
        Fulfilment = "fulfilment",
        /// Tells parties.
        Notify = "notify",
    }
}

impl Part {
    const fn template(self) -> &'static str {
        match self {
            Self::Api => include_str!("../../sql/shipping/grants/api.sql"),
            Self::Address => include_str!("../../sql/shipping/grants/address.sql"),
            Self::Label => include_str!("../../sql/shipping/grants/label.sql"),
            Self::Tracking => include_str!("../../sql/shipping/grants/tracking.sql"),
            Self::Invoice => include_str!("../../sql/shipping/grants/invoice.sql"),
            Self::Fulfilment => include_str!("../../sql/shipping/grants/fulfilment.sql"),
            Self::Notify => include_str!("../../sql/shipping/grants/notify.sql"),
        }
    }

    /// What its role is called by default.
    #[must_use]
    pub fn role(self) -> String {
        format!("shipping_{self}")
    }
}

/// The statements that give a role what a part needs: adding events to relay's outbox, for a worker keeping its inbox, and
/// its own.
#[must_use]
pub fn script(part: Part, relay_schema: &str, role: &str) -> String {
    let mut text = grants::script(Purpose::Enqueue, relay_schema, role);
    if part != Part::Api {
        text.push('\n');
        text.push_str(&grants::script(Purpose::Consume, relay_schema, role));
    }
    format!("{text}\n{}\n", grants::fill(part.template(), SCHEMA, role))
}

/// Gives a role what a part needs: all of it, or nothing.
///
/// # Errors
/// When there is no such role, or whoever connects may not grant.
pub async fn grant(client: &Client, part: Part, relay_schema: &str, role: &str) -> Result<(), DatabaseError> {
    grants::run(client, &script(part, relay_schema, role), role).await
}
