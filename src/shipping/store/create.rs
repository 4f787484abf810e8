//! Accepting a shipment: the idempotency key, the shipment, its cases, its ledger, what it reserves and its first work
//! order, in the caller's one transaction.

use std::time::Duration;

use futures_util::future::try_join3;
use tokio_postgres::{Client, error::SqlState, types::Type};
use uuid::Uuid;

use super::{Headers, Store, StoreError};
use crate::{
    postgres::transaction::{Asked, Tx},
    row::micros,
    shipping::{
        saga::{Input, decide},
        shipment::Shipment,
        step::Subject,
    },
};

/// A shipment to accept.
#[derive(Debug, Clone)]
pub struct NewShipment {
    /// Its id, chosen by the caller: it is in the answer that the key keeps.
    pub shipment_id: Uuid,
    /// Which order it ships from.
    pub order_id: String,
    /// Who asks.
    pub caller: String,
    /// Where to: a JSON object.
    pub ship_to: String,
    /// From where: a JSON object.
    pub ship_from: String,
    /// Its cases; the first one is number 1.
    pub cases: Vec<NewCase>,
    /// Who is told: [`Store::parties`].
    pub parties: Vec<Subject>,
}

/// A case.
#[derive(Debug, Clone)]
pub struct NewCase {
    /// What the carrier is told as our reference.
    pub reference: Uuid,
    /// Grams.
    pub weight: i32,
    /// Length, width and height, in millimetres.
    pub size: [i32; 3],
    /// What is in it; each line of the order at most once.
    pub lines: Vec<NewLine>,
}

/// So many of a line of the order.
#[derive(Debug, Clone, Copy)]
pub struct NewLine {
    /// Which line.
    pub line: i16,
    /// How many.
    pub quantity: i32,
}

/// A request's key and the answer that is to be kept under it.
#[derive(Debug, Clone)]
pub struct Keyed {
    /// Whose key it is.
    pub caller: String,
    /// The key.
    pub key: String,
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
    /// How long it is kept.
    pub lifetime: Duration,
    /// The answer.
    pub answer: Answer,
}

/// An answer, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: i16,
    /// Headers: a JSON object.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What came of accepting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The shipment is new; commit.
    New,
    /// The same request came before: this was its answer. Nothing was written.
    Replayed(Answer),
    /// Another request had that key. Nothing was written.
    Mismatched,
}

const ORIGIN: &str = include_str!("../../../sql/shipping/queries/orders/origin.sql");
const CLAIM: &str = include_str!("../../../sql/shipping/queries/idempotency_keys/claim.sql");
const CREATE: &str = include_str!("../../../sql/shipping/queries/shipments/create.sql");

impl Store {
    /// Who is told about an order.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn parties(&self, client: &impl Asked, order_id: &str) -> Result<Vec<Subject>, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/parties/list.sql");
        let rows = client.query_typed(sql, &[(&order_id, Type::TEXT)]).await?;
        rows.iter().map(|row| Ok(row.try_get::<_, &str>(0)?.parse()?)).collect()
    }

    /// What a shipment takes over from its order: where to, a JSON object, and the subjects of its notifications. `None` if
    /// there is no such order.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn origin(
        &self,
        tx: &Tx<'_>,
        order_id: &str,
    ) -> Result<Option<(String, Vec<Subject>)>, StoreError> {
        let Some(row) = tx.query_typed_opt(ORIGIN, &[(&order_id, Type::TEXT)]).await? else {
            return Ok(None);
        };
        let subjects: Vec<&str> = row.try_get(1)?;
        let subjects = subjects.into_iter().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Some((row.try_get(0)?, subjects)))
    }

    /// Accepts a shipment, once for a key. With the same key twice at once, the second waits for the first;
    /// `lock_timeout` bounds that.
    ///
    /// # Errors
    /// When the order has not enough left, or a statement fails. Roll back then: the key is not used up.
    pub async fn create(
        &self,
        tx: &Tx<'_>,
        new: &NewShipment,
        key: Option<&Keyed>,
        headers: Headers<'_>,
    ) -> Result<Created, StoreError> {
        if let Some(key) = key {
            let claimed = claim(tx, key, Some(new.shipment_id)).await?;
            if !claimed {
                return recall(tx, key).await;
            }
        }
        let cases = i16::try_from(new.cases.len()).unwrap_or(i16::MAX);
        let shipment = Shipment::new(new.shipment_id, &new.order_id, cases, &new.parties);
        let plan = decide(&shipment, &Input::Accept, self.limits)?;
        // Sent together, run one after the other.
        let (enough, (), ()) = try_join3(
            insert(tx, new, &plan.shipment),
            self.send_orders(tx, &plan, headers),
            self.send_facts(tx, &plan, headers),
        )
        .await?;
        if enough { Ok(Created::New) } else { Err(StoreError::NotEnough(new.order_id.clone())) }
    }

    /// Keeps the answer to a request under its key, before what the request does is done in the same transaction.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn once(
        &self,
        tx: &Tx<'_>,
        key: &Keyed,
        shipment_id: Option<Uuid>,
    ) -> Result<Created, StoreError> {
        if claim(tx, key, shipment_id).await? { Ok(Created::New) } else { recall(tx, key).await }
    }

    /// Whether the tables that [`Self::create`] needs are there, as this version knows them.
    ///
    /// # Errors
    /// What is missing.
    pub async fn check(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        for statement in [ORIGIN, CLAIM, CREATE, &self.order, &self.announce] {
            client.prepare(statement).await?;
        }
        Ok(())
    }

    /// Forgets keys whose time is up, a few at a time; returns how many.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn prune_keys(&self, client: &impl Asked, limit: i64) -> Result<u64, StoreError> {
        let sql = include_str!("../../../sql/shipping/queries/idempotency_keys/prune.sql");
        Ok(client.query_typed(sql, &[(&limit, Type::INT8)]).await?.len() as u64)
    }
}

async fn claim(tx: &Tx<'_>, key: &Keyed, shipment_id: Option<Uuid>) -> Result<bool, StoreError> {
    let claimed = tx
        .query_typed(
            CLAIM,
            &[
                (&key.caller, Type::TEXT),
                (&key.key, Type::TEXT),
                (&key.fingerprint.as_slice(), Type::BYTEA),
                (&key.answer.status, Type::INT2),
                (&key.answer.headers, Type::TEXT),
                (&key.answer.body, Type::BYTEA),
                (&shipment_id, Type::UUID),
                (&micros(key.lifetime), Type::INT8),
            ],
        )
        .await;
    match claimed {
        Ok(rows) => Ok(!rows.is_empty()),
        // The row of another transaction is all that this statement may have to wait for.
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Err(StoreError::KeyBusy),
        Err(error) => Err(error.into()),
    }
}

async fn recall(tx: &Tx<'_>, key: &Keyed) -> Result<Created, StoreError> {
    let sql = include_str!("../../../sql/shipping/queries/idempotency_keys/find.sql");
    let rows = tx.query_typed(sql, &[(&key.caller, Type::TEXT), (&key.key, Type::TEXT)]).await?;
    // Pruned in this very moment: whoever asks again finds it free.
    let row = rows.first().ok_or(StoreError::KeyBusy)?;
    if row.try_get::<_, &[u8]>(0)? != key.fingerprint {
        return Ok(Created::Mismatched);
    }
    Ok(Created::Replayed(Answer { status: row.try_get(1)?, headers: row.try_get(2)?, body: row.try_get(3)? }))
}

async fn insert(tx: &Tx<'_>, new: &NewShipment, shipment: &Shipment) -> Result<bool, StoreError> {
    let numbers: Vec<i16> = (1..).take(new.cases.len()).collect();
    let lines: Vec<(i16, NewLine)> = numbers
        .iter()
        .zip(&new.cases)
        .flat_map(|(number, case)| case.lines.iter().map(|line| (*number, *line)))
        .collect();
    let of_case = |value: &dyn Fn(&NewCase) -> i32| new.cases.iter().map(value).collect::<Vec<i32>>();
    let entries = &shipment.entries;
    let rows = tx
        .query_typed(
            CREATE,
            &[
                (&new.shipment_id, Type::UUID),
                (&new.order_id, Type::TEXT),
                (&new.caller, Type::TEXT),
                (&new.ship_to, Type::TEXT),
                (&new.ship_from, Type::TEXT),
                (&numbers, Type::INT2_ARRAY),
                (&new.cases.iter().map(|case| case.reference).collect::<Vec<_>>(), Type::UUID_ARRAY),
                (&of_case(&|case| case.weight), Type::INT4_ARRAY),
                (&of_case(&|case| case.size[0]), Type::INT4_ARRAY),
                (&of_case(&|case| case.size[1]), Type::INT4_ARRAY),
                (&of_case(&|case| case.size[2]), Type::INT4_ARRAY),
                (&lines.iter().map(|(case, _)| *case).collect::<Vec<_>>(), Type::INT2_ARRAY),
                (&lines.iter().map(|(_, line)| line.line).collect::<Vec<_>>(), Type::INT2_ARRAY),
                (&lines.iter().map(|(_, line)| line.quantity).collect::<Vec<_>>(), Type::INT4_ARRAY),
                (&entries.iter().map(|entry| entry.key.step.as_str()).collect::<Vec<_>>(), Type::TEXT_ARRAY),
                (
                    &entries.iter().map(|entry| entry.key.subject.to_string()).collect::<Vec<_>>(),
                    Type::TEXT_ARRAY,
                ),
                (&entries.iter().map(|entry| entry.asked).collect::<Vec<_>>(), Type::BOOL_ARRAY),
                (&entries.iter().map(|entry| entry.task).collect::<Vec<_>>(), Type::INT4_ARRAY),
            ],
        )
        .await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
}
