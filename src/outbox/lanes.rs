//! Leases on lanes: who may publish what, until when, by the database's clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use crate::{
    postgres::{client::Client, connect::DatabaseError, sql::in_schema, value::Micros},
    relay::{assignment::assign, floors::Floors, input::Fence},
    row::{Lane, Token, micros},
};

/// The statements on `relay.lanes` and `relay.relays`, for one relay.
#[derive(Debug)]
pub struct Lanes {
    relay: Uuid,
    lease: Duration,
    channel: String,
    renew: String,
    register: String,
    survey: String,
    acquire: String,
    floors: String,
    release: String,
    leave: String,
}

/// What a relay holds, and what it should.
#[derive(Debug, Clone)]
pub struct Holding {
    /// The lanes it holds leases on.
    pub fence: Fence,
    /// Those of them that other relays should have.
    pub give: Vec<Lane>,
    /// What was left with them.
    pub floors: Floors,
    /// Whether others hold lanes that it should have.
    pub wants: bool,
    /// How long until the first lease of another relay runs out, unless that renews it.
    pub first_expiry: Option<Duration>,
    /// The database's clock.
    pub now: Micros,
}

impl Lanes {
    /// Statements for a relay in a schema, each lease lasting `lease`.
    #[must_use]
    pub fn new(schema: &str, channel: String, relay: Uuid, lease: Duration) -> Self {
        Self {
            relay,
            lease,
            channel,
            renew: in_schema(include_str!("../../sql/queries/lanes/renew.sql"), schema),
            register: in_schema(include_str!("../../sql/queries/relays/register.sql"), schema),
            survey: in_schema(include_str!("../../sql/queries/lanes/survey.sql"), schema),
            acquire: in_schema(include_str!("../../sql/queries/lanes/acquire.sql"), schema),
            floors: in_schema(include_str!("../../sql/queries/lanes/floors.sql"), schema),
            release: in_schema(include_str!("../../sql/queries/lanes/release.sql"), schema),
            leave: in_schema(include_str!("../../sql/queries/relays/leave.sql"), schema),
        }
    }

    /// Says that this relay lives, gives back what its engine has let go of, renews what else is held, leaves the engine's
    /// floors with both, and takes what is free of its share. One that is `leaving` renews only: its share is for the
    /// others. One that is not `able` to work leaves it to those who are, if there are any.
    ///
    /// # Errors
    /// When a statement fails. What was to be given back must then be given back next time.
    pub async fn hold(
        &self,
        client: &Client,
        name: &str,
        given: &Fence,
        floors: &Floors,
        leaving: bool,
        able: bool,
    ) -> Result<Holding, DatabaseError> {
        let lease = micros(self.lease);
        let (version, lives) = (env!("CARGO_PKG_VERSION"), if able && !leaving { lease } else { 0 });
        let registered =
            client.query_one(&self.register, &[&self.relay, &name, &version, &self.channel, &lives]).await?;
        let (mut numbers, mut tokens, mut seqs) = (Vec::new(), Vec::new(), Vec::new());
        for (lane, (token, floor)) in &floors.lanes {
            numbers.push(i16::from(*lane));
            tokens.push(*token);
            seqs.push(*floor);
        }
        if !given.lanes.is_empty() {
            let gone: Vec<i16> = given.lanes.iter().map(|lane| i16::from(*lane)).collect();
            let parameters: [&(dyn ToSql + Sync); 8] = [
                &self.relay,
                &gone,
                &given.tokens,
                &self.channel,
                &numbers,
                &tokens,
                &seqs,
                &floors.numbering,
            ];
            client.execute(&self.release, &parameters).await?;
        }
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&self.relay, &lease, &numbers, &tokens, &seqs, &floors.numbering];
        let renewed = client.query(&self.renew, &parameters).await?;
        let mut held = renewed.iter().map(lane).collect::<Result<Vec<_>, _>>()?;
        let survey = client.query_one(&self.survey, &[&self.relay]).await?;
        let mine = if leaving { BTreeSet::new() } else { self.share(&survey)? };
        let free: Vec<i16> = mine.iter().map(|lane| i16::from(*lane)).collect();
        let taken = client.query(&self.acquire, &[&self.relay, &lease, &free]).await?;
        for row in &taken {
            held.push(lane(row)?);
        }
        let left = client.query(&self.floors, &[&self.relay]).await?;
        let fence: Fence = held.into_iter().collect();
        let first_expiry: Option<i64> = survey.try_get(3)?;
        Ok(Holding {
            give: fence.lanes.iter().copied().filter(|lane| !mine.contains(lane)).collect(),
            wants: mine.iter().any(|lane| !fence.lanes.contains(lane)),
            first_expiry: first_expiry.map(|us| Duration::from_micros(u64::try_from(us).unwrap_or(0))),
            now: registered.try_get(0)?,
            floors: found(&left)?,
            fence,
        })
    }

    /// The lanes this relay should have.
    fn share(&self, survey: &Row) -> Result<BTreeSet<Lane>, DatabaseError> {
        let (lanes, owners): (Vec<i16>, Vec<Option<Uuid>>) = (survey.try_get(0)?, survey.try_get(1)?);
        let live: Vec<Uuid> = survey.try_get(2)?;
        let live = if live.is_empty() { vec![self.relay] } else { live };
        let lanes = lanes.into_iter().map(checked).collect::<Result<Vec<_>, _>>()?;
        let owners: BTreeMap<Lane, Option<Uuid>> = lanes.into_iter().zip(owners).collect();
        let assigned = assign(&owners, &live.into_iter().collect());
        Ok(assigned.into_iter().filter(|(_, owner)| *owner == self.relay).map(|(lane, _)| lane).collect())
    }

    /// Gives every lane back and counts as gone.
    ///
    /// # Errors
    /// When the statement fails; the leases then run out by themselves.
    pub async fn leave(&self, client: &Client) -> Result<(), DatabaseError> {
        client.execute(&self.leave, &[&self.relay, &self.channel]).await?;
        Ok(())
    }
}

fn lane(row: &Row) -> Result<(Lane, Token), DatabaseError> {
    Ok((checked(row.try_get(0)?)?, row.try_get(1)?))
}

fn found(rows: &[Row]) -> Result<Floors, DatabaseError> {
    let mut floors = Floors::default();
    for row in rows {
        floors.numbering = row.try_get(0)?;
        if let Some(lane) = row.try_get::<_, Option<i16>>(1)? {
            floors.lanes.insert(checked(lane)?, (row.try_get(2)?, row.try_get(3)?));
        }
    }
    Ok(floors)
}

fn checked(lane: i16) -> Result<Lane, DatabaseError> {
    Lane::try_from(lane).map_err(|_| {
        DatabaseError::Schema(format!("lane {lane} is not one of the schema's; run `relay migrate`"))
    })
}
