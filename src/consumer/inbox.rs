//! The inbox: its statements, prepared once a connection, with their parameters as what they mean.

use std::time::Duration;

use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::{
    delivery::Delivery,
    failure::{EXHAUSTED, RAN_OUT},
    settings::ConsumerSettings,
};
use crate::{
    postgres::{
        connect::{DatabaseError, connect},
        pool::{Opens, Seat},
        sql::{STEADY_PLANS, in_schema},
        transaction::Tx,
        value::Micros,
    },
    row::micros,
};

/// Opens the connections of a consumer.
#[derive(Debug)]
pub(super) struct Sessions(pub(super) ConsumerSettings);

impl Opens for Sessions {
    type Prepared = Inbox;

    async fn open(&self) -> Result<Seat<Inbox>, DatabaseError> {
        let connection = connect(&self.0.database, &format!("relay {}", self.0.name)).await?;
        let preparing = async {
            connection.client.configure(STEADY_PLANS).await?;
            Inbox::prepare(&connection.client, &self.0).await
        };
        let prepared = connection.answer(preparing).await?;
        Ok(Seat { connection, prepared })
    }
}

/// The right to work on a message, until it runs out or is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim(pub(super) Uuid);

/// A message that the inbox owns, claimed by this worker.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) delivery: Delivery,
    pub(super) claim: Claim,
    pub(super) attempts: u32,
    pub(super) replays: i32,
    /// Why it is to be buried, if it is, with the error of its last attempt and the time of its first failure.
    pub(super) doom: Option<Doom>,
}

/// What was due, claimed.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// To be done, or to be buried.
    pub(super) work: Vec<Claimed>,
    /// Claims that had run out: the attempt failed, and this is all that is known of it.
    pub(super) ran_out: Vec<Claimed>,
}

/// What is known of a message that is to die.
#[derive(Debug, Clone)]
pub(super) struct Doom {
    pub(super) reason: String,
    pub(super) error: String,
    pub(super) first_failed_us: i64,
}

/// What became of a message that was taken into the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// It is ours, its first attempt counted.
    Claimed,
    /// It waits behind an unfinished message of its key.
    Held,
    /// The inbox has it already, in whatever state.
    Duplicate,
}

macro_rules! statements {
    ($($name:ident),+ $(,)?) => {
        /// The statements, prepared on one connection.
        #[derive(Debug, Clone)]
        pub(super) struct Inbox {
            consumer: String,
            in_order: bool,
            claim_us: i64,
            max_attempts: i32,
            $($name: Statement),+
        }

        impl Inbox {
            /// Prepares them.
            pub(super) async fn prepare(client: &Client, settings: &ConsumerSettings) -> Result<Self, DatabaseError> {
                let schema = &settings.database.schema;
                Ok(Self {
                    consumer: settings.name.clone(),
                    in_order: settings.in_order,
                    claim_us: micros(settings.claim()),
                    max_attempts: i32::try_from(settings.retry.max_attempts).unwrap_or(i32::MAX),
                    $($name: client.prepare(&in_schema(sql::$name, schema)).await?),+
                })
            }
        }
    };
}

/// Each text, named as the statement is.
#[allow(non_upper_case_globals, reason = "named as the statements are")]
mod sql {
    pub(super) const accept: &str = include_str!("../../sql/queries/inbox/accept.sql");
    pub(super) const receive: &str = include_str!("../../sql/queries/inbox/receive.sql");
    pub(super) const behind: &str = include_str!("../../sql/queries/inbox/behind.sql");
    pub(super) const lock_keys: &str = include_str!("../../sql/queries/inbox/lock_keys.sql");
    pub(super) const claim_due: &str = include_str!("../../sql/queries/inbox/claim.sql");
    pub(super) const renew: &str = include_str!("../../sql/queries/inbox/renew.sql");
    pub(super) const finish: &str = include_str!("../../sql/queries/inbox/finish.sql");
    pub(super) const retry: &str = include_str!("../../sql/queries/inbox/retry.sql");
    pub(super) const doom: &str = include_str!("../../sql/queries/inbox/doom.sql");
    pub(super) const postpone: &str = include_str!("../../sql/queries/inbox/postpone_burial.sql");
    pub(super) const mark_dead: &str = include_str!("../../sql/queries/inbox/mark_dead.sql");
    pub(super) const release_next: &str = include_str!("../../sql/queries/inbox/release_next.sql");
    pub(super) const next_due: &str = include_str!("../../sql/queries/inbox/next_due.sql");
    pub(super) const prune: &str = include_str!("../../sql/queries/inbox/prune.sql");
    pub(super) const register: &str = include_str!("../../sql/queries/consumers/register.sql");
}

statements! {
    accept, receive, behind, lock_keys, claim_due, renew, finish, retry, doom, postpone, mark_dead, release_next,
    next_due, prune, register,
}

impl Inbox {
    /// Writes messages down as done; says which are new. What is not is a duplicate.
    pub(super) async fn accept(&self, tx: &Tx<'_>, ids: &[&str]) -> Result<Vec<String>, DatabaseError> {
        let rows = tx.query(&self.accept, &[&self.consumer, &ids]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Takes a message into the inbox, claimed unless its key makes it wait.
    pub(super) async fn receive(
        &self,
        tx: &Tx<'_>,
        delivery: &Delivery,
        claim: Claim,
    ) -> Result<Received, DatabaseError> {
        self.lock(tx, &[delivery]).await?;
        let row = tx
            .query_opt(
                &self.receive,
                &[
                    &self.consumer,
                    &delivery.message_id,
                    &claim.0,
                    &self.claim_us,
                    &delivery.event_type,
                    &delivery.aggregate_type,
                    &delivery.aggregate_id,
                    &delivery.seq,
                    &delivery.properties(),
                    &delivery.body,
                    &self.in_order,
                ],
            )
            .await?;
        Ok(match row {
            None => Received::Duplicate,
            Some(row) if row.try_get::<_, &str>(0)? == "held" => Received::Held,
            Some(_) => Received::Claimed,
        })
    }

    /// Where order is asked for: makes everybody else who deals with these keys wait for the end of the transaction.
    pub(super) async fn lock(&self, tx: &Tx<'_>, deliveries: &[&Delivery]) -> Result<(), DatabaseError> {
        if self.in_order {
            let kinds: Vec<&str> =
                deliveries.iter().map(|delivery| delivery.aggregate_type.as_str()).collect();
            let ids: Vec<&str> = deliveries.iter().map(|delivery| delivery.aggregate_id.as_str()).collect();
            tx.query(&self.lock_keys, &[&self.consumer, &kinds, &ids]).await?;
        }
        Ok(())
    }

    /// Where order is asked for: whether one of these has to wait. Under [`Self::lock`].
    pub(super) async fn is_behind(
        &self,
        tx: &Tx<'_>,
        deliveries: &[&Delivery],
    ) -> Result<bool, DatabaseError> {
        if !self.in_order {
            return Ok(false);
        }
        let kinds: Vec<&str> = deliveries.iter().map(|delivery| delivery.aggregate_type.as_str()).collect();
        let ids: Vec<&str> = deliveries.iter().map(|delivery| delivery.aggregate_id.as_str()).collect();
        let seqs: Vec<Option<i64>> = deliveries.iter().map(|delivery| delivery.seq).collect();
        Ok(tx.query_one(&self.behind, &[&self.consumer, &kinds, &ids, &seqs]).await?.try_get(0)?)
    }

    /// Claims up to `limit` messages that are due.
    pub(super) async fn claim_due(&self, client: &Client, limit: usize) -> Result<Due, DatabaseError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&self.consumer, &self.claim_us, &limit, &self.max_attempts, &EXHAUSTED, &RAN_OUT];
        let rows = client.query(&self.claim_due, &parameters).await?;
        let mut due = Due::default();
        for row in &rows {
            let item = claimed(row, self.max_attempts)?;
            if row.try_get(13)? { due.ran_out.push(item) } else { due.work.push(item) }
        }
        Ok(due)
    }

    /// Prolongs the claim and keeps everybody else from taking it over until the transaction ends. False if somebody
    /// has.
    pub(super) async fn renew(&self, tx: &Tx<'_>, item: &Claimed) -> Result<bool, DatabaseError> {
        let id = &item.delivery.message_id;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&self.consumer, id, &item.claim.0, &self.claim_us];
        Ok(tx.query_opt(&self.renew, &parameters).await?.is_some())
    }

    /// The message is done. False if the claim was taken over: then nothing of the transaction may stand.
    pub(super) async fn finish(&self, tx: &Tx<'_>, item: &Claimed) -> Result<bool, DatabaseError> {
        let id = &item.delivery.message_id;
        let done = tx.query_opt(&self.finish, &[&self.consumer, id, &item.claim.0]).await?.is_some();
        self.release_next(tx, &item.delivery).await?;
        Ok(done)
    }

    /// The message is to be tried again. False if the claim was taken over.
    pub(super) async fn retry(
        &self,
        tx: &Tx<'_>,
        item: &Claimed,
        delay: Duration,
        error: Option<&str>,
        charged: bool,
    ) -> Result<bool, DatabaseError> {
        let id = &item.delivery.message_id;
        let delay = micros(delay);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&self.consumer, id, &item.claim.0, &delay, &error, &charged];
        Ok(tx.query_opt(&self.retry, &parameters).await?.is_some())
    }

    /// The message is to die. Returns what its letter says; none if the claim was taken over.
    pub(super) async fn doom(
        &self,
        tx: &Tx<'_>,
        item: &Claimed,
        reason: &str,
        error: &str,
    ) -> Result<Option<Doom>, DatabaseError> {
        let id = &item.delivery.message_id;
        let row = tx.query_opt(&self.doom, &[&self.consumer, id, &item.claim.0, &reason, &error]).await?;
        row.map(|row| {
            Ok(Doom {
                reason: reason.to_owned(),
                error: error.to_owned(),
                first_failed_us: row.try_get::<_, Micros>(0)?.0,
            })
        })
        .transpose()
    }

    /// The dead letter was not confirmed: to be buried later.
    pub(super) async fn postpone(
        &self,
        client: &Client,
        item: &Claimed,
        delay: Duration,
    ) -> Result<(), DatabaseError> {
        let id = &item.delivery.message_id;
        client.execute(&self.postpone, &[&self.consumer, id, &item.claim.0, &micros(delay)]).await?;
        Ok(())
    }

    /// The message is dead. False if the claim was taken over.
    pub(super) async fn mark_dead(&self, tx: &Tx<'_>, item: &Claimed) -> Result<bool, DatabaseError> {
        let id = &item.delivery.message_id;
        let dead = tx.query_opt(&self.mark_dead, &[&self.consumer, id, &item.claim.0]).await?.is_some();
        self.release_next(tx, &item.delivery).await?;
        Ok(dead)
    }

    async fn release_next(&self, tx: &Tx<'_>, delivery: &Delivery) -> Result<(), DatabaseError> {
        if self.in_order {
            let (kind, id) = (&delivery.aggregate_type, &delivery.aggregate_id);
            tx.execute(&self.release_next, &[&self.consumer, kind, id]).await?;
        }
        Ok(())
    }

    /// How long until something is due.
    pub(super) async fn next_due(&self, client: &Client) -> Result<Option<Duration>, DatabaseError> {
        let row = client.query_opt(&self.next_due, &[&self.consumer]).await?;
        let after = row.map(|row| row.try_get::<_, i64>(0)).transpose()?;
        Ok(after.map(|after| Duration::from_micros(u64::try_from(after).unwrap_or(0))))
    }

    /// Forgets up to `limit` messages that were done before the horizon; says how many.
    pub(super) async fn prune(
        &self,
        client: &Client,
        horizon: Duration,
        limit: i64,
    ) -> Result<u64, DatabaseError> {
        Ok(client.execute(&self.prune, &[&self.consumer, &micros(horizon), &limit]).await?)
    }

    /// Says that this consumer lives.
    pub(super) async fn register(&self, client: &Client, horizon: Duration) -> Result<(), DatabaseError> {
        client.execute(&self.register, &[&self.consumer, &micros(horizon)]).await?;
        Ok(())
    }
}

fn claimed(row: &Row, max_attempts: i32) -> Result<Claimed, DatabaseError> {
    let text = |index: usize| -> Result<String, DatabaseError> {
        Ok(row.try_get::<_, Option<String>>(index)?.unwrap_or_default())
    };
    let properties = text(7)?;
    let body = row.try_get::<_, Option<Vec<u8>>>(8)?.unwrap_or_default();
    let mut delivery = Delivery::restore(text(0)?, text(3)?, &properties, body);
    delivery.aggregate_type = text(4)?;
    delivery.aggregate_id = text(5)?;
    delivery.seq = row.try_get(6)?;
    let attempts = row.try_get::<_, i32>(2)?;
    delivery.is_last_attempt = attempts >= max_attempts;
    delivery.attempt = u32::try_from(attempts).unwrap_or(0);
    let first_failed = row.try_get::<_, Option<Micros>>(10)?;
    let doom = row.try_get::<_, Option<String>>(12)?;
    let error = text(9)?;
    Ok(Claimed {
        claim: Claim(row.try_get(1)?),
        attempts: delivery.attempt,
        delivery,
        replays: row.try_get(11)?,
        doom: doom.map(|reason| Doom {
            reason,
            error,
            first_failed_us: first_failed.map_or(0, |micros| micros.0),
        }),
    })
}
