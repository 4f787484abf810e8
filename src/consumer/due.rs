//! The task that looks after the inbox: claims what is due for the workers, and forgets what is older than the horizon.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    failure::{Failure, RAN_OUT},
    inbox::Due,
    intake::Workers,
    shared::{Setback, Shared},
    step::conclude,
    work::Item,
};
use crate::{postgres::pool::Seat, reconnect::Reconnect};

/// Between two rounds of forgetting.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Rows that one statement forgets, and statements of a round.
const PRUNE: (i64, u32) = (1000, 20);

/// Runs until the consumer is to stop.
pub(super) async fn run(shared: &Shared, workers: Workers) {
    // As many again as are in work: claimed ahead, they wait for a worker while their claim runs.
    let places = Arc::new(Semaphore::new(shared.settings.workers * 2));
    let mut reconnect = Reconnect::default();
    let mut prune_at = Instant::now();
    while !shared.is_stopping() {
        let wait = match round(shared, &workers, &places, &mut prune_at).await {
            Ok(wait) => {
                shared.database_up(&mut reconnect);
                wait
            }
            Err(setback) => {
                shared.pause(&setback, &mut reconnect).await;
                continue;
            }
        };
        tokio::select! {
            _ = shared.sleep(wait) => {}
            () = shared.due.notified() => {}
        }
    }
}

/// One look; returns how long until the next one.
async fn round(
    shared: &Shared,
    workers: &Workers,
    places: &Arc<Semaphore>,
    prune_at: &mut Instant,
) -> Result<Duration, Setback> {
    let settings = &shared.settings;
    let mut lent = shared.pool.lend().await?;
    let Seat { connection, prepared: inbox } = &mut lent.seat;
    let client = &connection.client;
    if *prune_at <= Instant::now() {
        *prune_at = Instant::now() + PRUNE_EVERY;
        connection.answer(inbox.register(client, settings.horizon)).await?;
        for _ in 0..PRUNE.1 {
            let pruned = connection.answer(inbox.prune(client, settings.horizon, PRUNE.0)).await?;
            if pruned < PRUNE.0.unsigned_abs() {
                break;
            }
        }
    }
    let limit = places.available_permits();
    let Due { work, ran_out } =
        if limit > 0 { connection.answer(inbox.claim_due(client, limit)).await? } else { Due::default() };
    if !ran_out.is_empty() {
        let tx = connection.begin().await?;
        for item in &ran_out {
            let failure = Failure::retry(RAN_OUT, None);
            conclude(shared, inbox, &tx, item, &failure).await?;
        }
        tx.commit().await?;
    }
    let next = match work.len() + ran_out.len() < limit {
        true => connection.answer(inbox.next_due(&connection.client)).await?,
        // There may be more, as soon as there is a place.
        false => Some(Duration::ZERO),
    };
    lent.give_back();
    for item in work {
        let Ok(place) = Arc::clone(places).try_acquire_owned() else { break };
        workers.give(Item::Stored(item, place)).await;
    }
    if limit == 0 {
        // A place becomes free, or it is time to look at whether to stop.
        let _ = timeout(settings.poll, places.acquire()).await;
        return Ok(Duration::ZERO);
    }
    Ok(next.map_or(settings.poll, |next| next.min(settings.poll)))
}
