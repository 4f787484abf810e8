//! The two kinds of handler.

use crate::postgres::transaction::Tx;
use std::sync::Arc;

use super::{
    delivery::Delivery,
    failure::{BoxError, Failure},
};

/// A handler that only writes the database.
///
/// It runs in one transaction with the inbox row, so what it writes is committed exactly once, whatever is delivered how
/// often. It must not reach out of the transaction: for that there is [`External`].
pub trait Transactional: Send + Sync + 'static {
    /// Does the work of one message in `tx`, which belongs to the caller: it neither commits nor rolls back. Several
    /// messages may share the transaction; if one fails, each is done again in a transaction of its own, so this may run
    /// more often than it is counted, and what it wrote then was rolled back. The `search_path` is empty: name schemas.
    fn handle(&self, delivery: &Delivery, tx: &Tx<'_>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Runs in the transaction in which a message becomes dead, after its dead letter was confirmed: for writing down
    /// what that means. A failure is logged and has it tried again later.
    fn buried(
        &self,
        delivery: &Delivery,
        reason: &str,
        tx: &Tx<'_>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = (delivery, reason, tx);
        async { Ok(()) }
    }
}

/// A handler with an effect outside of the database, such as a call of somebody's API.
///
/// The delivery, the attempt and a claim are committed before [`perform`](Self::perform), and its result after it, so no
/// transaction is open meanwhile. A worker that dies in between leaves a claim that runs out; then the next attempt begins
/// with [`prepare`](Self::prepare) again. So an effect may be begun more than once, and making that harmless is the
/// handler's part: an idempotency key or a reference written down by `prepare`, a look-up of what became of it.
pub trait External: Send + Sync + 'static {
    /// What is to be done.
    type Work: Send;
    /// What came of it.
    type Outcome: Send + Sync;

    /// Decides, in a transaction that commits before the work begins, what is to be done; `None` if nothing is, and then
    /// the message is done with this transaction.
    fn prepare(
        &self,
        delivery: &Delivery,
        tx: &Tx<'_>,
    ) -> impl Future<Output = Result<Option<Self::Work>, Failure>> + Send;

    /// Does it, within the settings' deadline, with no transaction open. When the deadline has passed, the future is
    /// dropped, and `finish` is told of a failure: nobody knows then whether the effect happened.
    fn perform(
        &self,
        delivery: &Delivery,
        work: Self::Work,
    ) -> impl Future<Output = Result<Self::Outcome, Failure>> + Send;

    /// Writes down the result, in one transaction with the inbox's. A failure of `perform` is passed as well: what is
    /// written here then commits together with the retry, or with the decision that the message dies. An error of this
    /// method rolls its own writes back and takes that failure's place. It may run again if the database went away.
    fn finish(
        &self,
        delivery: &Delivery,
        result: Result<&Self::Outcome, &Failure>,
        tx: &Tx<'_>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// As [`Transactional::buried`].
    fn buried(
        &self,
        delivery: &Delivery,
        reason: &str,
        tx: &Tx<'_>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = (delivery, reason, tx);
        async { Ok(()) }
    }
}

/// For whoever keeps an eye on a handler that a consumer has.
impl<H: External> External for Arc<H> {
    type Work = H::Work;
    type Outcome = H::Outcome;

    async fn prepare(&self, delivery: &Delivery, tx: &Tx<'_>) -> Result<Option<Self::Work>, Failure> {
        H::prepare(self, delivery, tx).await
    }

    async fn perform(&self, delivery: &Delivery, work: Self::Work) -> Result<Self::Outcome, Failure> {
        H::perform(self, delivery, work).await
    }

    async fn finish(
        &self,
        delivery: &Delivery,
        result: Result<&Self::Outcome, &Failure>,
        tx: &Tx<'_>,
    ) -> Result<(), Failure> {
        H::finish(self, delivery, result, tx).await
    }

    async fn buried(&self, delivery: &Delivery, reason: &str, tx: &Tx<'_>) -> Result<(), BoxError> {
        H::buried(self, delivery, reason, tx).await
    }
}
