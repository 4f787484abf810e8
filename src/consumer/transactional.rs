//! Workers of handlers that only write the database: inbox row and effect in one transaction, several messages in one
//! where nothing goes wrong.

use std::collections::{HashMap, HashSet};

use futures_util::future::BoxFuture;
use tracing::Instrument;

use super::{
    delivery::Delivery,
    failure::{BoxError, Failure},
    handler::Transactional,
    inbox::{Claimed, Received},
    lines::about,
    shared::{Setback, Shared, is_databases_fault},
    step::{self, Effect, adopt, fail, run, run_in, seal},
    work::Fresh,
};
use crate::{
    postgres::transaction::Tx,
    {postgres::pool::Seat, reconnect::Reconnect},
};

/// A transactional handler, as workers use it.
#[derive(Debug)]
pub(super) struct InTransaction<H>(pub(super) H);

/// What came of a batch.
enum Batch {
    /// It is committed; these are the places of the messages whose effect is new, and from when to when it was made.
    Committed(HashMap<usize, (u64, u64)>),
    /// Something failed or has to wait: each is done alone.
    Apart,
    /// The only one failed.
    Failed(Failure),
}

/// What came of one message.
enum One {
    Done,
    Duplicate,
    Held,
    Stale,
    Failed(Failure),
}

impl<H: Transactional> Effect for InTransaction<H> {
    fn batch(&self, shared: &Shared) -> usize {
        shared.settings.batch
    }

    fn fresh<'a>(&'a self, shared: &'a Shared, mut batch: Vec<Fresh>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // What was delivered before may have killed its worker: its attempt is counted before it is tried again.
            if batch.iter().any(|fresh| fresh.delivery.redelivered) {
                return self.one_by_one(shared, batch).await;
            }
            batch.iter_mut().for_each(|fresh| shared.begin(&mut fresh.delivery));
            let mut reconnect = Reconnect::default();
            let new = loop {
                match self.try_batch(shared, &batch).await {
                    Ok(Batch::Committed(new)) => break new,
                    Ok(Batch::Apart) => return self.one_by_one(shared, batch).await,
                    Ok(Batch::Failed(failure)) => {
                        if let Some(fresh) = batch.into_iter().next() {
                            shared.attempted(&fresh.delivery, Some(&failure));
                            let lines = about(&shared.settings.name, &fresh.delivery);
                            adopt(self, shared, fresh, Some(failure)).instrument(lines).await;
                        }
                        return;
                    }
                    Err(setback) => {
                        if !shared.pause(&setback, &mut reconnect).await {
                            return;
                        }
                    }
                }
            };
            shared.database_up(&mut reconnect);
            for (index, fresh) in batch.into_iter().enumerate() {
                fresh.ticket.ack();
                match new.get(&index) {
                    Some(times) => {
                        shared.attempted_within(&fresh.delivery, *times, None);
                        shared.done(&fresh.delivery);
                    }
                    None => shared.count("duplicate"),
                }
            }
        })
    }

    fn stored<'a>(&'a self, shared: &'a Shared, item: Claimed) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut reconnect = Reconnect::default();
            loop {
                match self.try_stored(shared, &item).await {
                    Ok(One::Failed(failure)) => {
                        shared.attempted(&item.delivery, Some(&failure));
                        return fail(self, shared, item, failure).await;
                    }
                    Ok(One::Stale) => return step::stale(shared),
                    Ok(One::Done | One::Duplicate | One::Held) => {
                        shared.database_up(&mut reconnect);
                        shared.attempted(&item.delivery, None);
                        shared.released();
                        return shared.done(&item.delivery);
                    }
                    Err(setback) => {
                        if !shared.pause(&setback, &mut reconnect).await {
                            return;
                        }
                    }
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

impl<H: Transactional> InTransaction<H> {
    async fn one_by_one(&self, shared: &Shared, batch: Vec<Fresh>) {
        for mut fresh in batch {
            if shared.is_stopping() {
                continue;
            }
            let lines = shared.attempt(&mut fresh.delivery);
            let work = async {
                if !fresh.delivery.redelivered {
                    self.alone(shared, fresh).await;
                } else if let Some(item) = adopt(self, shared, fresh, None).await {
                    self.stored(shared, item).await;
                }
            };
            work.instrument(lines).await;
        }
    }

    /// One message, in a transaction of its own.
    async fn alone(&self, shared: &Shared, fresh: Fresh) {
        let item = step::claimed_now(fresh.delivery);
        let mut reconnect = Reconnect::default();
        let ended = loop {
            match self.try_alone(shared, &item).await {
                Ok(ended) => break ended,
                Err(setback) => {
                    if !shared.pause(&setback, &mut reconnect).await {
                        return;
                    }
                }
            }
        };
        shared.database_up(&mut reconnect);
        match ended {
            One::Done => {
                shared.attempted(&item.delivery, None);
                shared.done(&item.delivery);
            }
            One::Held => shared.count("held"),
            One::Duplicate | One::Stale => shared.count("duplicate"),
            One::Failed(failure) => {
                shared.attempted(&item.delivery, Some(&failure));
                let fresh = Fresh { delivery: item.delivery, ticket: fresh.ticket };
                adopt(self, shared, fresh, Some(failure)).await;
                return;
            }
        }
        fresh.ticket.ack();
    }

    async fn try_batch(&self, shared: &Shared, batch: &[Fresh]) -> Result<Batch, Setback> {
        let mut lent = shared.pool.lend().await?;
        let Seat { connection, prepared: inbox } = &mut lent.seat;
        let tx = connection.begin().await?;
        let deliveries: Vec<&Delivery> = batch.iter().map(|fresh| &fresh.delivery).collect();
        inbox.lock(&tx, &deliveries).await?;
        if inbox.is_behind(&tx, &deliveries).await? {
            tx.rollback().await?;
            lent.give_back();
            return Ok(Batch::Apart);
        }
        let ids: Vec<&str> = deliveries.iter().map(|delivery| delivery.message_id.as_str()).collect();
        let mut accepted: HashSet<String> = inbox.accept(&tx, &ids).await?.into_iter().collect();
        let mut new = HashMap::with_capacity(accepted.len());
        let mut failed = None;
        for (index, delivery) in deliveries.into_iter().enumerate() {
            // Of two alike in one batch the first one counts.
            if !accepted.remove(&delivery.message_id) {
                continue;
            }
            let since = shared.now();
            let work = self.0.handle(delivery, &tx).instrument(about(&shared.settings.name, delivery));
            if let Err(failure) = run(shared, "handle", work).await {
                failed = Some(failure);
                break;
            }
            new.insert(index, (since, shared.now()));
        }
        if failed.is_none() {
            // Once for all of them: each would cost a round trip more.
            failed = seal(&tx).await.map_err(Failure::from).err();
        }
        if let Some(failure) = failed {
            drop(tx);
            if is_databases_fault(shared, &connection.client).await {
                return Err(Setback::Lost(failure.text()));
            }
            lent.give_back();
            return Ok(if batch.len() == 1 { Batch::Failed(failure) } else { Batch::Apart });
        }
        tx.commit().await?;
        lent.give_back();
        Ok(Batch::Committed(new))
    }

    async fn try_alone(&self, shared: &Shared, item: &Claimed) -> Result<One, Setback> {
        let mut lent = shared.pool.lend().await?;
        let Seat { connection, prepared: inbox } = &mut lent.seat;
        let tx = connection.begin().await?;
        let ended = match inbox.receive(&tx, &item.delivery, item.claim).await? {
            Received::Duplicate => One::Duplicate,
            Received::Held => One::Held,
            Received::Claimed => {
                match run_in(shared, "handle", &tx, self.0.handle(&item.delivery, &tx)).await {
                    Ok(()) if inbox.finish(&tx, item).await? => One::Done,
                    Ok(()) => One::Stale,
                    Err(failure) => {
                        drop(tx);
                        if is_databases_fault(shared, &connection.client).await {
                            return Err(Setback::Lost(failure.text()));
                        }
                        lent.give_back();
                        return Ok(One::Failed(failure));
                    }
                }
            }
        };
        tx.commit().await?;
        lent.give_back();
        Ok(ended)
    }

    async fn try_stored(&self, shared: &Shared, item: &Claimed) -> Result<One, Setback> {
        let mut lent = shared.pool.lend().await?;
        let Seat { connection, prepared: inbox } = &mut lent.seat;
        let tx = connection.begin().await?;
        inbox.lock(&tx, &[&item.delivery]).await?;
        // Done before its effect, in the same transaction: nobody takes it over meanwhile.
        if !inbox.finish(&tx, item).await? {
            tx.rollback().await?;
            lent.give_back();
            return Ok(One::Stale);
        }
        match run_in(shared, "handle", &tx, self.0.handle(&item.delivery, &tx)).await {
            Ok(()) => {
                tx.commit().await?;
                lent.give_back();
                Ok(One::Done)
            }
            Err(failure) => {
                drop(tx);
                if is_databases_fault(shared, &connection.client).await {
                    return Err(Setback::Lost(failure.text()));
                }
                lent.give_back();
                Ok(One::Failed(failure))
            }
        }
    }
}
