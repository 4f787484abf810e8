//! The ledger: loading what the saga decides about, and storing what it decided.

use futures_util::future::{try_join, try_join3};
use tokio_postgres::{Row, types::ToSql, types::Type};
use uuid::Uuid;

use super::{Headers, Store, StoreError};
use crate::{
    envelope::cut,
    postgres::transaction::{Asked, Tx},
    shipping::{
        entry::Entry,
        event::{OrderFact, WorkOrder},
        saga::{Act, Again, Decision, Input, Outcome, Plan, decide},
        shipment::{Quantities, Shipment},
        step::Key,
    },
};

/// What came of an input.
#[derive(Debug)]
pub struct Taken {
    /// What was decided, and stored.
    pub plan: Plan,
    /// The shipment's version after it.
    pub version: i64,
}

impl Store {
    /// The shipment, locked until the transaction ends, with its version.
    ///
    /// # Errors
    /// When there is none, or a statement fails.
    pub async fn lock(&self, tx: &Tx<'_>, id: Uuid) -> Result<(Shipment, i64), StoreError> {
        load(tx, include_str!("../../../sql/shipping/queries/shipments/lock.sql"), id).await
    }

    /// The shipment as it stands, with its version: to look at, not to decide about.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub async fn find(&self, client: &impl Asked, id: Uuid) -> Result<(Shipment, i64), StoreError> {
        load(client, include_str!("../../../sql/shipping/queries/shipments/find.sql"), id).await
    }

    /// Puts an input to the saga and stores what it decides. `reason` is what people are to read about it: the error of
    /// an attempt, who cancelled and why.
    ///
    /// # Errors
    /// When the saga refuses it, or a statement fails.
    pub async fn take(
        &self,
        tx: &Tx<'_>,
        id: Uuid,
        input: &Input,
        reason: Option<&str>,
        headers: Headers<'_>,
    ) -> Result<Taken, StoreError> {
        let locked = self.lock(tx, id).await?;
        self.take_locked(tx, &locked, input, reason, headers).await
    }

    /// The same about a shipment whose lock this transaction holds, without reading it again: as [`Self::lock`] gave it, or
    /// as the plan of the input before this one left it. Nothing of it or of its ledger was written since.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub async fn take_locked(
        &self,
        tx: &Tx<'_>,
        (shipment, version): &(Shipment, i64),
        input: &Input,
        reason: Option<&str>,
        headers: Headers<'_>,
    ) -> Result<Taken, StoreError> {
        let version = *version;
        let plan = decide(shipment, input, self.limits)?;
        if plan.decisions.is_empty() {
            return Ok(Taken { plan, version });
        }
        let about = match input {
            Input::Report(key, ..) | Input::Bury(key, _) | Input::Remind(key) | Input::Resolve(key, _) => {
                Some(*key)
            }
            _ => None,
        };
        self.apply(tx, &plan, version, about, reason, headers).await?;
        Ok(Taken { plan, version: version + 1 })
    }

    /// A worker takes up a work order: what to do now, or nothing.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn begin(
        &self,
        tx: &Tx<'_>,
        order: &WorkOrder,
        headers: Headers<'_>,
    ) -> Result<Option<Act>, StoreError> {
        let key = Key { step: order.step, subject: order.subject };
        let input = Input::Begin(key, order.task);
        Ok(self.take(tx, order.shipment_id, &input, None, headers).await?.plan.act)
    }

    /// A worker reports: whether its order is to come again. Only under the claim that the attempt was begun with, or an
    /// attempt that was given up could speak for the one that took its place.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn report(
        &self,
        tx: &Tx<'_>,
        order: &WorkOrder,
        outcome: Outcome,
        reason: Option<&str>,
        headers: Headers<'_>,
    ) -> Result<Option<Again>, StoreError> {
        let key = Key { step: order.step, subject: order.subject };
        let input = Input::Report(key, order.task, outcome);
        Ok(self.take(tx, order.shipment_id, &input, reason, headers).await?.plan.again)
    }

    /// Stores a plan, all of it or an error. The version is the one that was read with the lock.
    async fn apply(
        &self,
        tx: &Tx<'_>,
        plan: &Plan,
        version: i64,
        about: Option<Key>,
        reason: Option<&str>,
        headers: Headers<'_>,
    ) -> Result<(), StoreError> {
        let id = plan.shipment.shipment_id;
        let reason = reason.map(short);
        for decision in &plan.decisions {
            if let Decision::Undo(why) = decision {
                let sql = include_str!("../../../sql/shipping/queries/shipments/undo.sql");
                let state = why.standing().as_str();
                let set = tx
                    .query_typed(
                        sql,
                        &[
                            (&id, Type::UUID),
                            (&why.as_str(), Type::TEXT),
                            (&state, Type::TEXT),
                            (&reason, Type::TEXT),
                        ],
                    )
                    .await?;
                if set.len() != 1 {
                    return Err(StoreError::Stale(id));
                }
            }
        }
        for moves in waves(&plan.decisions) {
            move_entries(tx, id, &moves, about, reason.as_deref()).await?;
        }
        let mut order_facts = Vec::new();
        for decision in &plan.decisions {
            if let Decision::Quantities(to) = decision {
                order_facts.push(self.move_quantities(tx, id, *to).await?);
            }
        }
        let state = plan.shipment.standing.as_str();
        let sql = include_str!("../../../sql/shipping/queries/shipments/advance.sql");
        let parameters: [(&(dyn ToSql + Sync), Type); 4] =
            [(&id, Type::UUID), (&version, Type::INT8), (&state, Type::TEXT), (&reason, Type::TEXT)];
        // Sent together, run one after the other.
        let (advanced, (), ()) = try_join3(
            async { Ok::<_, StoreError>(tx.query_typed(sql, &parameters).await?) },
            self.send_orders(tx, plan, headers),
            self.send_facts(tx, plan, headers),
        )
        .await?;
        if advanced.len() != 1 {
            return Err(StoreError::Stale(id));
        }
        for fact in order_facts {
            self.announce_order(tx, &plan.shipment.order_id, fact, Some(id), headers).await?;
        }
        Ok(())
    }

    /// Sends a plan's work orders.
    pub(super) async fn send_orders(
        &self,
        tx: &Tx<'_>,
        plan: &Plan,
        headers: Headers<'_>,
    ) -> Result<(), StoreError> {
        let shipment_id = plan.shipment.shipment_id;
        let (mut kinds, mut payloads) = (Vec::new(), Vec::new());
        for decision in &plan.decisions {
            if let Decision::Order(Key { step, subject }, task) = decision {
                let order = WorkOrder { shipment_id, step: *step, subject: *subject, task: *task };
                kinds.push(step.as_str());
                payloads.push(serde_json::to_string(&order)?);
            }
        }
        if kinds.is_empty() {
            return Ok(());
        }
        let id = shipment_id.to_string();
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&id, Type::TEXT),
            (&kinds, Type::TEXT_ARRAY),
            (&payloads, Type::TEXT_ARRAY),
            (&headers, Type::TEXT),
        ];
        tx.query_typed(&self.order, &parameters).await?;
        Ok(())
    }

    /// Tells a plan's facts.
    pub(super) async fn send_facts(
        &self,
        tx: &Tx<'_>,
        plan: &Plan,
        headers: Headers<'_>,
    ) -> Result<(), StoreError> {
        let (mut facts, mut subjects) = (Vec::new(), Vec::new());
        for decision in &plan.decisions {
            if let Decision::Announce(fact, subject) = decision {
                facts.push(fact.as_str());
                subjects.push(subject.map(|subject| subject.to_string()));
            }
        }
        if facts.is_empty() {
            return Ok(());
        }
        let id = plan.shipment.shipment_id;
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&id, Type::UUID),
            (&facts, Type::TEXT_ARRAY),
            (&subjects, Type::TEXT_ARRAY),
            (&headers, Type::TEXT),
        ];
        tx.query_typed(&self.announce, &parameters).await?;
        Ok(())
    }

    /// Moves the shipment's share of the order; returns what has happened to the order.
    async fn move_quantities(&self, tx: &Tx<'_>, id: Uuid, to: Quantities) -> Result<OrderFact, StoreError> {
        let sql = match to {
            Quantities::Fulfilled => include_str!("../../../sql/shipping/queries/shipments/fulfil.sql"),
            Quantities::Reserved => include_str!("../../../sql/shipping/queries/shipments/revert.sql"),
            Quantities::Released => include_str!("../../../sql/shipping/queries/shipments/release.sql"),
        };
        let moved: bool = tx.query_typed_one(sql, &[(&id, Type::UUID)]).await?.try_get(0)?;
        if !moved {
            return Err(StoreError::Quantities(id));
        }
        if to == Quantities::Released {
            return Ok(OrderFact::Reopened);
        }
        let settle = include_str!("../../../sql/shipping/queries/orders/settle.sql");
        let state: String = tx.query_typed_one(settle, &[(&id, Type::UUID)]).await?.try_get(0)?;
        Ok(match (to, state.as_str()) {
            (Quantities::Fulfilled, "fulfilled") => OrderFact::Fulfilled,
            (Quantities::Fulfilled, _) => OrderFact::PartiallyFulfilled,
            _ => OrderFact::Reopened,
        })
    }
}

/// At most what the column takes, cut between characters.
fn short(text: &str) -> String {
    // Postgres stores no NUL.
    let mut text = text.replace('\0', "\u{fffd}");
    cut(&mut text, 4096);
    text
}

async fn load(client: &impl Asked, sql: &str, id: Uuid) -> Result<(Shipment, i64), StoreError> {
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&id, Type::UUID)];
    let steps = include_str!("../../../sql/shipping/queries/steps/list.sql");
    // Sent together, run one after the other: the ledger is read when the lock is held.
    let (shipment, entries) =
        try_join(client.query_typed(sql, &parameters), client.query_typed(steps, &parameters)).await?;
    let row = shipment.first().ok_or(StoreError::NoShipment(id))?;
    let text = |column: usize| row.try_get::<_, &str>(column);
    let undo: Option<&str> = row.try_get(2)?;
    let shipment = Shipment {
        shipment_id: id,
        order_id: row.try_get(0)?,
        standing: text(1)?.parse()?,
        undo: undo.map(str::parse).transpose()?,
        quantities: text(3)?.parse()?,
        collected: entries.first().map(|row| row.try_get(10)).transpose()?.unwrap_or(false),
        entries: entries.iter().map(entry).collect::<Result<_, _>>()?,
    };
    Ok((shipment, row.try_get(4)?))
}

fn entry(row: &Row) -> Result<Entry, StoreError> {
    let text = |column: usize| row.try_get::<_, &str>(column);
    let failure: Option<&str> = row.try_get(3)?;
    Ok(Entry {
        key: Key { step: text(0)?.parse()?, subject: text(1)?.parse()? },
        state: text(2)?.parse()?,
        failure: failure.map(str::parse).transpose()?,
        asked: row.try_get(4)?,
        task: row.try_get(5)?,
        undoing: row.try_get(6)?,
        attempts: row.try_get(7)?,
        checks: row.try_get(8)?,
        stalled: row.try_get(9)?,
    })
}

/// The moves of a plan in groups that hold each entry once: a statement updates a row only once, and every move of an
/// entry passes through the states between, as the database demands.
fn waves(decisions: &[Decision]) -> Vec<Vec<(&Entry, &Entry)>> {
    let mut waves: Vec<Vec<(&Entry, &Entry)>> = Vec::new();
    for decision in decisions {
        if let Decision::Move { from, to } = decision {
            // After the last one that has it.
            let last = waves.iter().rposition(|wave| wave.iter().any(|(_, other)| other.key == to.key));
            let at = last.map_or(0, |last| last + 1);
            if at == waves.len() {
                waves.push(Vec::new());
            }
            if let Some(wave) = waves.get_mut(at) {
                wave.push((from, to));
            }
        }
    }
    waves
}

async fn move_entries(
    tx: &Tx<'_>,
    id: Uuid,
    moves: &[(&Entry, &Entry)],
    about: Option<Key>,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    fn each<T>(moves: &[(&Entry, &Entry)], value: impl Fn(&Entry, &Entry) -> T) -> Vec<T> {
        moves.iter().map(|(from, to)| value(from, to)).collect()
    }
    let sql = include_str!("../../../sql/shipping/queries/steps/move.sql");
    let moved: i64 = tx
        .query_typed_one(
            sql,
            &[
                (&id, Type::UUID),
                (&each(moves, |_, to| to.key.step.as_str()), Type::TEXT_ARRAY),
                (&each(moves, |_, to| to.key.subject.to_string()), Type::TEXT_ARRAY),
                (&each(moves, |from, _| from.state.as_str()), Type::TEXT_ARRAY),
                (&each(moves, |from, _| from.task), Type::INT4_ARRAY),
                (&each(moves, |_, to| to.state.as_str()), Type::TEXT_ARRAY),
                (&each(moves, |_, to| to.failure.map(|failure| failure.as_str())), Type::TEXT_ARRAY),
                (&each(moves, |_, to| to.asked), Type::BOOL_ARRAY),
                (&each(moves, |_, to| to.task), Type::INT4_ARRAY),
                (&each(moves, |_, to| to.undoing), Type::BOOL_ARRAY),
                (&each(moves, |_, to| to.attempts), Type::INT4_ARRAY),
                (&each(moves, |_, to| to.checks), Type::INT4_ARRAY),
                (&each(moves, |_, to| to.stalled), Type::BOOL_ARRAY),
                (&each(moves, |_, to| reason.filter(|_| about == Some(to.key))), Type::TEXT_ARRAY),
            ],
        )
        .await?
        .try_get(0)?;
    if usize::try_from(moved).ok() == Some(moves.len()) { Ok(()) } else { Err(StoreError::Stale(id)) }
}
