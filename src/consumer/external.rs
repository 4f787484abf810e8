//! Workers of handlers with an effect outside of the database: the claim commits before the effect, its result after it.

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tracing::Instrument;

use super::{
    delivery::Delivery,
    failure::{BoxError, Failure},
    handler::External,
    inbox::{Claimed, Received},
    shared::{Setback, Shared, is_databases_fault},
    step::{self, Decided, Effect, adopt, conclude, fail, follow_up, run, run_in},
    work::Fresh,
};
use crate::{
    postgres::transaction::Tx,
    {postgres::pool::Seat, reconnect::Reconnect},
};

/// An external handler, as workers use it.
#[derive(Debug)]
pub(super) struct Outside<H>(pub(super) H);

/// What came of the transaction before the work.
enum Prepared<W> {
    /// Committed: this is to be done.
    Work(W),
    /// Committed: nothing was to be done, so the message is.
    Nothing,
    Duplicate,
    Held,
    Stale,
    Failed(Failure),
}

/// What came of the transaction after it.
enum Finished {
    Done,
    /// The failure of the work is written down.
    Failed(Decided),
    /// Writing the result down failed.
    Instead(Failure),
    Stale,
}

impl<H: External> Effect for Outside<H> {
    fn batch(&self, _: &Shared) -> usize {
        1
    }

    fn fresh<'a>(&'a self, shared: &'a Shared, batch: Vec<Fresh>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for mut fresh in batch {
                let lines = shared.attempt(&mut fresh.delivery);
                let work = async {
                    if !fresh.delivery.redelivered {
                        self.first(shared, fresh).await;
                    } else if let Some(item) = adopt(self, shared, fresh, None).await {
                        // It may have killed its worker: its attempt is counted before anything of it is tried again.
                        self.stored(shared, item).await;
                    }
                };
                work.instrument(lines).await;
            }
        })
    }

    fn stored<'a>(&'a self, shared: &'a Shared, item: Claimed) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (prepared, since) = match self.until_prepared(shared, &item, true).await {
                Some(prepared) => prepared,
                None => return,
            };
            match prepared {
                Prepared::Work(work) => self.carry_out(shared, item, work, since).await,
                Prepared::Failed(failure) => {
                    shared.attempted(&item.delivery, Some(&failure));
                    fail(self, shared, item, failure).await;
                }
                Prepared::Stale => step::stale(shared),
                Prepared::Nothing | Prepared::Duplicate | Prepared::Held => {
                    shared.attempted(&item.delivery, None);
                    shared.released();
                    shared.done(&item.delivery);
                }
            }
        })
    }

    fn buried<'a>(
        &'a self,
        delivery: &'a Delivery,
        reason: &'a str,
        tx: &'a Tx<'_>,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(self.0.buried(delivery, reason, tx))
    }
}

impl<H: External> Outside<H> {
    /// The first attempt at a message that the broker delivered.
    async fn first(&self, shared: &Shared, fresh: Fresh) {
        let Fresh { delivery, ticket } = fresh;
        let item = step::claimed_now(delivery);
        let Some((prepared, since)) = self.until_prepared(shared, &item, false).await else { return };
        match prepared {
            Prepared::Work(work) => {
                // From here on the inbox owns it.
                ticket.ack();
                self.carry_out(shared, item, work, since).await;
            }
            Prepared::Nothing => {
                ticket.ack();
                shared.attempted(&item.delivery, None);
                shared.done(&item.delivery);
            }
            Prepared::Duplicate | Prepared::Stale => {
                ticket.ack();
                shared.count("duplicate");
            }
            Prepared::Held => {
                ticket.ack();
                shared.count("held");
            }
            Prepared::Failed(failure) => {
                shared.attempted(&item.delivery, Some(&failure));
                adopt(self, shared, Fresh { delivery: item.delivery, ticket }, Some(failure)).await;
            }
        }
    }

    /// The transaction before the work, as soon as the database allows it, and when it began. `None` if the consumer is
    /// to stop.
    async fn until_prepared(
        &self,
        shared: &Shared,
        item: &Claimed,
        stored: bool,
    ) -> Option<(Prepared<H::Work>, Instant)> {
        let mut reconnect = Reconnect::default();
        loop {
            let since = Instant::now();
            match self.try_prepare(shared, item, stored).await {
                Ok(prepared) => {
                    shared.database_up(&mut reconnect);
                    return Some((prepared, since));
                }
                Err(setback) => {
                    if !shared.pause(&setback, &mut reconnect).await {
                        return None;
                    }
                }
            }
        }
    }

    async fn try_prepare(
        &self,
        shared: &Shared,
        item: &Claimed,
        stored: bool,
    ) -> Result<Prepared<H::Work>, Setback> {
        let mut lent = shared.pool.lend().await?;
        let Seat { connection, prepared: inbox } = &mut lent.seat;
        let tx = connection.begin().await?;
        let entered = if stored {
            inbox.lock(&tx, &[&item.delivery]).await?;
            if inbox.renew(&tx, item).await? { None } else { Some(Prepared::Stale) }
        } else {
            match inbox.receive(&tx, &item.delivery, item.claim).await? {
                Received::Claimed => None,
                Received::Held => Some(Prepared::Held),
                Received::Duplicate => Some(Prepared::Duplicate),
            }
        };
        let prepared = match entered {
            Some(prepared) => prepared,
            None => match run_in(shared, "prepare", &tx, self.0.prepare(&item.delivery, &tx)).await {
                Ok(Some(work)) => Prepared::Work(work),
                Ok(None) if inbox.finish(&tx, item).await? => Prepared::Nothing,
                Ok(None) => Prepared::Stale,
                Err(failure) => {
                    drop(tx);
                    if is_databases_fault(shared, &connection.client).await {
                        return Err(Setback::Lost(failure.text()));
                    }
                    lent.give_back();
                    return Ok(Prepared::Failed(failure));
                }
            },
        };
        if matches!(prepared, Prepared::Stale) {
            tx.rollback().await?;
        } else {
            tx.commit().await?;
        }
        lent.give_back();
        Ok(prepared)
    }

    /// The work, and the transaction after it.
    async fn carry_out(&self, shared: &Shared, item: Claimed, work: H::Work, since: Instant) {
        if since.elapsed() >= shared.settings.claim_margin {
            // This process stood still. Were the work begun now, the claim might run out before its deadline.
            return step::stale(shared);
        }
        let result = run(shared, "perform", self.0.perform(&item.delivery, work)).await;
        let mut reconnect = Reconnect::default();
        let finished = loop {
            match self.try_finish(shared, &item, &result).await {
                Ok(finished) => break finished,
                Err(setback) => {
                    // The result is known here alone, so not even a drain ends this before its grace is over.
                    if !shared.pause(&setback, &mut reconnect).await {
                        tokio::time::sleep(reconnect.failed()).await;
                    }
                }
            }
        };
        shared.database_up(&mut reconnect);
        match (&finished, &result) {
            (Finished::Done, _) => shared.attempted(&item.delivery, None),
            (Finished::Instead(failure), _) | (Finished::Failed(_), Err(failure)) => {
                shared.attempted(&item.delivery, Some(failure));
            }
            (Finished::Stale | Finished::Failed(_), _) => {}
        }
        match (finished, result) {
            (Finished::Done, _) => {
                shared.released();
                shared.done(&item.delivery);
            }
            (Finished::Failed(decided), Err(failure)) => {
                follow_up(self, shared, item, &failure, decided).await
            }
            (Finished::Instead(failure), _) => fail(self, shared, item, failure).await,
            (Finished::Stale | Finished::Failed(_), _) => step::stale(shared),
        }
    }

    async fn try_finish(
        &self,
        shared: &Shared,
        item: &Claimed,
        result: &Result<H::Outcome, Failure>,
    ) -> Result<Finished, Setback> {
        let mut lent = shared.pool.lend().await?;
        let Seat { connection, prepared: inbox } = &mut lent.seat;
        let tx = connection.begin().await?;
        inbox.lock(&tx, &[&item.delivery]).await?;
        // Either way nobody takes it over until the transaction ends.
        let is_ours = match result {
            Ok(_) => inbox.finish(&tx, item).await?,
            Err(_) => inbox.renew(&tx, item).await?,
        };
        if !is_ours {
            tx.rollback().await?;
            lent.give_back();
            return Ok(Finished::Stale);
        }
        if let Err(failure) =
            run_in(shared, "finish", &tx, self.0.finish(&item.delivery, result.as_ref(), &tx)).await
        {
            drop(tx);
            if is_databases_fault(shared, &connection.client).await {
                return Err(Setback::Lost(failure.text()));
            }
            lent.give_back();
            return Ok(Finished::Instead(failure));
        }
        let finished = match result {
            Ok(_) => Finished::Done,
            Err(failure) => Finished::Failed(conclude(shared, inbox, &tx, item, failure).await?),
        };
        tx.commit().await?;
        lent.give_back();
        Ok(finished)
    }
}
