//! A worker: takes what comes, a batch at a time, and has the handler do it.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, mpsc};
use tracing::Instrument;

use super::{
    inbox::Claimed,
    shared::{Setback, Shared},
    step::{self, Effect},
    work::{Fresh, Item},
};
use crate::postgres::pool::Seat;

/// A queue that one or several workers take from.
pub(super) type Queue = Arc<Mutex<mpsc::Receiver<Item>>>;

/// Runs until the queue has ended. Told to stop, it finishes what it has begun and gives the rest back.
pub(super) async fn run(shared: &Shared, effect: &dyn Effect, queue: &Queue) {
    let most = effect.batch(shared);
    let mut items = Vec::with_capacity(most);
    loop {
        if queue.lock().await.recv_many(&mut items, most).await == 0 {
            return;
        }
        let mut batch = Vec::with_capacity(items.len());
        for item in items.drain(..) {
            match item {
                // Dropped, it goes back to its queue.
                Item::Fresh(_) if shared.is_stopping() => {}
                Item::Fresh(fresh) => batch.push(fresh),
                Item::Stored(claimed, _place) => {
                    // In the order in which they came.
                    deliver(shared, effect, &mut batch).await;
                    redo(shared, effect, claimed).await;
                }
            }
        }
        deliver(shared, effect, &mut batch).await;
    }
}

async fn deliver(shared: &Shared, effect: &dyn Effect, batch: &mut Vec<Fresh>) {
    if !batch.is_empty() {
        effect.fresh(shared, std::mem::take(batch)).await;
    }
}

async fn redo(shared: &Shared, effect: &dyn Effect, mut item: Claimed) {
    if shared.is_stopping() {
        // Best effort: else the claim runs out by itself.
        let _ = unclaim(shared, &item).await;
        return;
    }
    let lines = shared.attempt(&mut item.delivery);
    let work = async {
        if item.doom.is_some() {
            step::bury(effect, shared, item).await;
        } else {
            effect.stored(shared, item).await;
        }
    };
    work.instrument(lines).await;
}

/// Gives a claim back that was not used.
async fn unclaim(shared: &Shared, item: &Claimed) -> Result<(), Setback> {
    let mut lent = shared.pool.lend().await?;
    let Seat { connection, prepared: inbox } = &mut lent.seat;
    let tx = connection.begin().await?;
    if item.doom.is_some() {
        tx.rollback().await?;
        connection.answer(inbox.postpone(&connection.client, item, Duration::ZERO)).await?;
    } else {
        inbox.retry(&tx, item, Duration::ZERO, None, false).await?;
        tx.commit().await?;
    }
    lent.give_back();
    Ok(())
}
