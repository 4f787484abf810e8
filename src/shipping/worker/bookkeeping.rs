//! Steps that only write the database: tracking codes, bills, the order's quantities. Each commits together with its
//! entry, so it is done once whatever is delivered how often.

use super::order::{bury, failed, key, read};
use crate::{
    consumer::{BoxError, Delivery, Failure, Transactional},
    metrics::WorkerMetrics,
    postgres::transaction::Tx,
    shipping::{
        failpoint,
        saga::{Act, Input, Outcome},
        step::Step,
        store::{Store, Taken},
    },
};

/// Does one of these steps.
pub(super) struct Bookkeeper {
    pub(super) step: Step,
    pub(super) store: Store,
    pub(super) metrics: WorkerMetrics,
}

impl Transactional for Bookkeeper {
    async fn handle(&self, delivery: &Delivery, tx: &Tx<'_>) -> Result<(), Failure> {
        let order = read(delivery, self.step)?;
        let (id, headers) = (order.shipment_id, delivery.trail().to_string());
        let input = Input::Begin(key(&order), order.task);
        let Taken { plan, version } =
            self.store.take(tx, id, &input, None, &headers).await.map_err(failed)?;
        let Some(act) = plan.act else { return Ok(()) };
        failpoint::pass(format_args!("{}.{act}.before", self.step));
        match (self.step, act) {
            (Step::RecordTracking, Act::Do) => self.store.keep_tracking_code(tx, id).await.map_err(failed)?,
            (Step::CreateInvoice, Act::Do) => {
                self.store.create_invoice(tx, id).await.map_err(failed)?;
            }
            (Step::CreateInvoice, Act::Compensate) => {
                let why = plan.shipment.undo.map_or("undone", |undo| undo.as_str());
                self.store.credit_invoice(tx, id, why).await.map_err(failed)?;
            }
            // The saga moves the quantities with its entry.
            _ => {}
        }
        // The lock is held, and nobody but this transaction has written since.
        let begun = (plan.shipment, version);
        let done = Input::Report(key(&order), order.task, Outcome::Done);
        self.store.take_locked(tx, &begun, &done, None, &headers).await.map_err(failed)?;
        match (self.step, act) {
            (Step::FulfilOrder, Act::Do) => {
                let age = self.store.age(tx, id).await.map_err(failed)?;
                self.metrics.shipped(std::time::Duration::from_micros(u64::try_from(age).unwrap_or(0)));
            }
            (_, Act::Compensate) => self.metrics.compensated(self.step.as_str(), Outcome::Done.as_str()),
            _ => {}
        }
        failpoint::pass(format_args!("{}.{act}.after", self.step));
        Ok(())
    }

    async fn buried(&self, delivery: &Delivery, reason: &str, tx: &Tx<'_>) -> Result<(), BoxError> {
        bury(&self.store, self.step, delivery, reason, tx).await
    }
}
