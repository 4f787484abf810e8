//! Leases on lanes: who may publish what, until when, by the database's clock.

use std::time::Duration;

use tokio_postgres::{Client, Row};
use uuid::Uuid;

use crate::{
    postgres::{connect::DatabaseError, sql::in_schema, value::Micros},
    relay::input::Fence,
    row::{Lane, Token, micros},
};

/// The statements on `relay.lanes`, for one relay.
#[derive(Debug)]
pub struct Lanes {
    relay: Uuid,
    lease: Duration,
    acquire: String,
    renew: String,
    release: String,
    register: String,
}

impl Lanes {
    /// Statements for a relay in a schema, each lease lasting `lease`.
    #[must_use]
    pub fn new(schema: &str, relay: Uuid, lease: Duration) -> Self {
        Self {
            relay,
            lease,
            acquire: in_schema(include_str!("../../sql/queries/lanes/acquire.sql"), schema),
            renew: in_schema(include_str!("../../sql/queries/lanes/renew.sql"), schema),
            release: in_schema(include_str!("../../sql/queries/lanes/release.sql"), schema),
            register: in_schema(include_str!("../../sql/queries/relays/register.sql"), schema),
        }
    }

    /// Renews what is held, takes what is free, and says that this relay lives. Returns the database's clock as well.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn hold(
        &self,
        client: &Client,
        name: &str,
        channel: &str,
    ) -> Result<(Fence, Micros), DatabaseError> {
        let lease = micros(self.lease);
        let mut rows = client.query(&self.renew, &[&self.relay, &lease]).await?;
        rows.extend(client.query(&self.acquire, &[&self.relay, &lease]).await?);
        let version = env!("CARGO_PKG_VERSION");
        let registered = client.query_one(&self.register, &[&self.relay, &name, &version, &channel]).await?;
        let fence = rows.iter().map(lane).collect::<Result<Fence, _>>()?;
        Ok((fence, registered.try_get(0)?))
    }

    /// Gives every lane back, and wakes whoever waits for them.
    ///
    /// # Errors
    /// When the statement fails; the leases then run out by themselves.
    pub async fn release(&self, client: &Client, channel: &str) -> Result<(), DatabaseError> {
        client.execute(&self.release, &[&self.relay, &channel]).await?;
        Ok(())
    }
}

fn lane(row: &Row) -> Result<(Lane, Token), DatabaseError> {
    let lane: i16 = row.try_get(0)?;
    let lane = Lane::try_from(lane).map_err(|_| {
        DatabaseError::Schema(format!("lane {lane} is not one of the schema's; run `relay migrate`"))
    })?;
    Ok((lane, row.try_get(1)?))
}
