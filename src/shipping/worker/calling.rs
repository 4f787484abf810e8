//! Steps that call somebody: what all of them have in common, as a handler of the consumer library.
//!
//! Before the call it is committed what is to be done, under which reference and ids. After it, its outcome is committed
//! together with what it brought and with whatever follows from it. A worker that dies in between leaves an entry that
//! says so, and the next attempt finds out rather than repeat.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    attempt::Attempt,
    order::{bury, failed, key, read},
};
use crate::{
    consumer::{BoxError, Delivery, External, Failure},
    metrics::WorkerMetrics,
    postgres::transaction::Tx,
    retry::RetryPolicy,
    shipping::{
        event::WorkOrder,
        failpoint,
        saga::{Act, Input, Outcome},
        step::Step,
        store::Store,
    },
    sparing::Sparing,
    storm::WINDOW,
};

/// A step that calls somebody.
pub(super) trait Calls: Send + Sync + 'static {
    /// Which.
    const STEP: Step;
    /// What the call needs to know.
    type Brief: Send + Sync;
    /// What it brings.
    type Gain: fmt::Debug + Send + Sync + 'static;

    /// Loads what the call needs, in the transaction that commits before it.
    fn load(
        &self,
        store: &Store,
        order: &WorkOrder,
        act: Act,
        tx: &Tx<'_>,
    ) -> impl Future<Output = Result<Self::Brief, Failure>> + Send;

    /// Calls.
    fn call(
        &self,
        order: &WorkOrder,
        act: Act,
        brief: &Self::Brief,
    ) -> impl Future<Output = Attempt<Self::Gain>> + Send;

    /// Keeps what the call brought, in the transaction of its outcome. The shipment is locked.
    fn keep(
        &self,
        store: &Store,
        order: &WorkOrder,
        gain: &Self::Gain,
        tx: &Tx<'_>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Work for one attempt.
pub(super) struct Work<B> {
    order: WorkOrder,
    act: Act,
    brief: B,
    /// How long to wait, by the policy, should it be tried again.
    delay: Duration,
}

/// What is said of attempts that did not do it, by step and outcome: while the carrier is away that is each of them.
pub(super) type Lines = Sparing<(Step, &'static str)>;

/// Tells what was left out.
pub(super) fn left_out((step, outcome): (Step, &'static str), more: u64) {
    tracing::info!(%step, more, "and {more} more attempts at {step}, in {WINDOW:?}: {outcome}");
}

/// The handler of such a step.
pub(super) struct Caller<C> {
    pub(super) calls: C,
    pub(super) store: Store,
    pub(super) retry: RetryPolicy,
    pub(super) metrics: WorkerMetrics,
    pub(super) lines: Arc<Lines>,
}

impl<C: Calls> External for Caller<C> {
    type Work = Work<C::Brief>;
    type Outcome = Attempt<C::Gain>;

    async fn prepare(&self, delivery: &Delivery, tx: &Tx<'_>) -> Result<Option<Self::Work>, Failure> {
        let order = read(delivery, C::STEP)?;
        let input = Input::Begin(key(&order), order.task);
        let taken = self.store.take(tx, order.shipment_id, &input, None, &delivery.trail().to_string()).await;
        let plan = taken.map_err(failed)?.plan;
        let Some(act) = plan.act else { return Ok(None) };
        let brief = self.calls.load(&self.store, &order, act, tx).await?;
        let tries = plan.shipment.entry(key(&order)).map_or(1, |entry| match act {
            Act::Do => entry.attempts,
            Act::LookUp | Act::Compensate => entry.checks,
        });
        let delay = self.retry.delay(u32::try_from(tries).unwrap_or(1), rand::random());
        failpoint::pass(format_args!("{}.{act}.prepared", C::STEP));
        Ok(Some(Work { order, act, brief, delay }))
    }

    async fn perform(&self, _: &Delivery, work: Self::Work) -> Result<Self::Outcome, Failure> {
        failpoint::pass(format_args!("{}.{}.before", C::STEP, work.act));
        let attempt = self.calls.call(&work.order, work.act, &work.brief).await;
        failpoint::pass(format_args!("{}.{}.after", C::STEP, work.act));
        if attempt.outcome != Outcome::Done && self.lines.may_say((C::STEP, attempt.outcome.as_str())) {
            tracing::info!(
                shipment_id = %work.order.shipment_id,
                subject = %work.order.subject,
                "{} to {}: {attempt}", work.act, C::STEP
            );
        }
        attempt.ended(work.delay)
    }

    async fn finish(
        &self,
        delivery: &Delivery,
        result: Result<&Self::Outcome, &Failure>,
        tx: &Tx<'_>,
    ) -> Result<(), Failure> {
        let order = read(delivery, C::STEP)?;
        let attempt = Attempt::behind(result);
        // Before anything of its cases: everybody locks in this order.
        let locked = self.store.lock(tx, order.shipment_id).await.map_err(failed)?;
        if let Some(gain) = attempt.and_then(|attempt| attempt.gain.as_ref()) {
            self.calls.keep(&self.store, &order, gain, tx).await?;
        }
        let (outcome, reason) = match (attempt, result) {
            (Some(attempt), _) => (attempt.outcome, attempt.reason.clone()),
            // Its deadline passed, or it panicked: nobody knows what happened.
            (None, Err(failure)) => (Outcome::Lost, failure.text()),
            (None, Ok(_)) => (Outcome::Lost, String::new()),
        };
        let reason = Some(reason.as_str()).filter(|reason| !reason.is_empty());
        let report = Input::Report(key(&order), order.task, outcome);
        let headers = delivery.trail().to_string();
        self.store.take_locked(tx, &locked, &report, reason, &headers).await.map_err(failed)?;
        if attempt.is_some_and(|attempt| attempt.act == Act::Compensate) {
            self.metrics.compensated(C::STEP.as_str(), outcome.as_str());
        }
        failpoint::pass(format_args!("{}.finish", C::STEP));
        Ok(())
    }

    async fn buried(&self, delivery: &Delivery, reason: &str, tx: &Tx<'_>) -> Result<(), BoxError> {
        bury(&self.store, C::STEP, delivery, reason, tx).await
    }
}
