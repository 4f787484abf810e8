//! The step that has the carrier check an address.

use super::{
    attempt::Attempt,
    calling::Calls,
    order::failed,
    postal::{read, written},
};
use crate::{
    consumer::Failure,
    postgres::transaction::Tx,
    shipping::{
        carrier::{client::Carrier, shipment::VerifiedAddress},
        event::WorkOrder,
        saga::{Act, Outcome},
        step::Step,
        store::Store,
    },
};

/// Checks addresses. It only asks, so it may be repeated at will.
pub(super) struct Address {
    pub(super) carrier: Carrier,
}

impl Calls for Address {
    const STEP: Step = Step::ValidateAddress;
    /// Where to, as it was asked for.
    type Brief = String;
    type Gain = VerifiedAddress;

    async fn load(&self, store: &Store, order: &WorkOrder, _: Act, tx: &Tx<'_>) -> Result<String, Failure> {
        store.ship_to(tx, order.shipment_id).await.map_err(failed)
    }

    async fn call(&self, _: &WorkOrder, act: Act, ship_to: &String) -> Attempt<VerifiedAddress> {
        let address = match read(ship_to) {
            Ok(address) => address,
            Err(why) => return Attempt::not(act, Outcome::Refused, why),
        };
        match Attempt::of(act, self.carrier.verify_address(&address).await, Outcome::Lost) {
            Ok(verified) => Attempt::done(act, Some(verified)),
            Err(attempt) => attempt,
        }
    }

    async fn keep(
        &self,
        store: &Store,
        order: &WorkOrder,
        verified: &VerifiedAddress,
        tx: &Tx<'_>,
    ) -> Result<(), Failure> {
        let address = written(&verified.address)?;
        store.keep_verified(tx, order.shipment_id, &address).await.map_err(failed)
    }
}
