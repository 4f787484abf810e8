//! Work orders as workers take them: read, and what becomes of one that dies.

use crate::{
    consumer::{BoxError, Delivery, Failure},
    postgres::transaction::Tx,
    shipping::{
        event::WorkOrder,
        saga::Input,
        step::{Key, Step},
        store::{Store, StoreError},
    },
};

/// Reason of the dead letter of something that is no work order of the step.
const NO_ORDER: &str = "no_work_order";
/// Reason of the dead letter of a work order for a shipment that does not exist.
const NO_SHIPMENT: &str = "no_shipment";

/// Reads a work order of a step.
pub(super) fn read(delivery: &Delivery, step: Step) -> Result<WorkOrder, Failure> {
    let order: WorkOrder = delivery.json().map_err(|error| Failure::finally(NO_ORDER, error))?;
    if order.step == step {
        Ok(order)
    } else {
        Err(Failure::finally(NO_ORDER, format!("it is about {}, and this worker does {step}", order.step)))
    }
}

/// The entry that it is about.
pub(super) fn key(order: &WorkOrder) -> Key {
    Key { step: order.step, subject: order.subject }
}

/// What the store could not do. That there is no such shipment will not change.
pub(super) fn failed(error: StoreError) -> Failure {
    match error {
        StoreError::NoShipment(_) => Failure::finally(NO_SHIPMENT, error),
        error => Failure::retry(error, None),
    }
}

/// Tells the saga that a work order is dead, in the transaction in which it dies: no step ends without a word.
pub(super) async fn bury(
    store: &Store,
    step: Step,
    delivery: &Delivery,
    reason: &str,
    tx: &Tx<'_>,
) -> Result<(), BoxError> {
    // Of what is no work order there is nothing to tell; its letter says it all.
    let Ok(order) = read(delivery, step) else { return Ok(()) };
    let why = format!("the work order died ({reason}); its message is {}", delivery.message_id);
    let input = Input::Bury(key(&order), order.task);
    match store.take(tx, order.shipment_id, &input, Some(&why), &delivery.trail().to_string()).await {
        Ok(_) | Err(StoreError::NoShipment(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_orders_of_the_step_are_taken() {
        let of = |body: &str| {
            let mut delivery = Delivery::default();
            delivery.body = body.as_bytes().to_vec();
            delivery
        };
        let good = r#"{"shipment_id":"00000000-0000-0000-0000-000000000000","step":"buy_label","subject":"case/2","task":1}"#;
        assert!(read(&of(good), Step::BuyLabel).is_ok());
        for (body, step) in [(good, Step::Notify), ("{}", Step::BuyLabel), ("[1]", Step::BuyLabel)] {
            assert!(matches!(read(&of(body), step), Err(Failure::Final { reason: NO_ORDER, .. })), "{body}");
        }
    }
}
