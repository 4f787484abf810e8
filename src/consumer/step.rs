//! Steps that both kinds of handler share: running one under a deadline, writing a failure down, and burying.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, timeout};

use super::{
    delivery::Delivery,
    failure::{BoxError, Failure, Verdict, judge},
    inbox::{Claim, Claimed, Doom, Inbox, Received},
    letter::{Death, dead_letter},
    lines::Kind,
    shared::{Setback, Shared, unix_now_us},
    work::Fresh,
};
use crate::{
    postgres::transaction::Tx,
    {postgres::pool::Seat, publisher::Outcome, reconnect::Reconnect},
};

/// Between two tries at a burial whose letter was not confirmed.
const BURIAL_PAUSE: Duration = Duration::from_secs(10);

/// A handler of either kind, as workers use it.
pub(super) trait Effect: Send + Sync + 'static {
    /// Messages that it takes at a time, at most.
    fn batch(&self, shared: &Shared) -> usize;

    /// Deals with messages that the broker delivered, to the end.
    fn fresh<'a>(&'a self, shared: &'a Shared, batch: Vec<Fresh>) -> BoxFuture<'a, ()>;

    /// Deals with a message that the inbox owns, and that is not to be buried.
    fn stored<'a>(&'a self, shared: &'a Shared, item: Claimed) -> BoxFuture<'a, ()>;

    /// The handler's hook for a death.
    fn buried<'a>(
        &'a self,
        delivery: &'a Delivery,
        reason: &'a str,
        tx: &'a Tx<'_>,
    ) -> BoxFuture<'a, Result<(), BoxError>>;
}

/// What was decided about a failed message.
#[derive(Debug)]
pub(super) enum Decided {
    /// It is tried again later.
    Later,
    /// It is to be buried.
    Doomed(Doom),
    /// The claim was taken over: this worker has no say any more.
    Stale,
}

/// Runs a piece of a handler: a panic and an overrun deadline are failures like any other.
pub(super) async fn run<T>(
    shared: &Shared,
    what: &str,
    work: impl Future<Output = Result<T, Failure>> + Send,
) -> Result<T, Failure> {
    let begun = Instant::now();
    let result = timeout(shared.settings.deadline, AssertUnwindSafe(work).catch_unwind()).await;
    shared.took(begun.elapsed());
    match result {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Failure::retry(format!("the handler panicked in {what}"), None)),
        Err(_) => {
            let limit = shared.settings.deadline;
            Err(Failure::retry(format!("{what} was not done within {limit:?}"), None))
        }
    }
}

/// Runs a piece of a handler inside a transaction, and makes sure that the transaction can be committed: a statement
/// whose error was swallowed would have the commit roll back without a word, and a deferred constraint would fail it.
pub(super) async fn run_in<T>(
    shared: &Shared,
    what: &str,
    tx: &Tx<'_>,
    work: impl Future<Output = Result<T, Failure>> + Send,
) -> Result<T, Failure> {
    let value = run(shared, what, work).await?;
    seal(tx).await?;
    Ok(value)
}

/// Fails if the transaction can't be committed.
pub(super) async fn seal(tx: &Tx<'_>) -> Result<(), tokio_postgres::Error> {
    tx.batch_execute("set constraints all immediate").await
}

/// Writes a failure of a claimed message down, in a transaction of the caller's.
pub(super) async fn conclude(
    shared: &Shared,
    inbox: &Inbox,
    tx: &Tx<'_>,
    item: &Claimed,
    failure: &Failure,
) -> Result<Decided, Setback> {
    let error = failure.text();
    match judge(failure, item.attempts, &shared.settings.retry, rand::random()) {
        Verdict::Again { delay, charged } => {
            let written = inbox.retry(tx, item, delay, Some(&error), charged).await?;
            Ok(if written { Decided::Later } else { Decided::Stale })
        }
        Verdict::Bury { reason } => {
            Ok(inbox.doom(tx, item, reason, &error).await?.map_or(Decided::Stale, Decided::Doomed))
        }
    }
}

/// After [`conclude`] is committed: counts, wakes the scanner, buries.
pub(super) async fn follow_up(
    effect: &dyn Effect,
    shared: &Shared,
    mut item: Claimed,
    failure: &Failure,
    decided: Decided,
) {
    match decided {
        Decided::Later => {
            let result = if matches!(failure, Failure::Held { .. }) { "held_back" } else { "retried" };
            shared.count(result);
            tracing::debug!(attempt = item.attempts, "{result}: {}", failure.text());
            shared.due.notify_one();
        }
        Decided::Stale => stale(shared),
        Decided::Doomed(doom) => {
            item.doom = Some(doom);
            bury(effect, shared, item).await;
        }
    }
}

/// The claim was taken over.
pub(super) fn stale(shared: &Shared) {
    shared.count("stale");
    if shared.lines.may_say(Kind::Stale) {
        tracing::warn!("the claim was taken over; this worker's result is dropped");
    }
}

/// Writes down, in a transaction of its own, that a claimed message failed; and what follows from that.
pub(super) async fn fail(effect: &dyn Effect, shared: &Shared, item: Claimed, failure: Failure) {
    let mut reconnect = Reconnect::default();
    loop {
        match try_fail(shared, &item, &failure).await {
            Ok(decided) => return follow_up(effect, shared, item, &failure, decided).await,
            // Stopped in an outage, the claim runs out by itself.
            Err(setback) => {
                if !shared.pause(&setback, &mut reconnect).await {
                    return;
                }
            }
        }
    }
}

async fn try_fail(shared: &Shared, item: &Claimed, failure: &Failure) -> Result<Decided, Setback> {
    let mut lent = shared.pool.lend().await?;
    let Seat { connection, prepared: inbox } = &mut lent.seat;
    let tx = connection.begin().await?;
    let decided = conclude(shared, inbox, &tx, item, failure).await?;
    tx.commit().await?;
    lent.give_back();
    Ok(decided)
}

/// Takes a message that the broker delivered into the inbox, together with its failure if it was tried already. Then the
/// broker's copy goes, and the inbox's is dealt with: returned if it is ours to try.
pub(super) async fn adopt(
    effect: &dyn Effect,
    shared: &Shared,
    fresh: Fresh,
    failure: Option<Failure>,
) -> Option<Claimed> {
    let Fresh { delivery, ticket } = fresh;
    let item = claimed_now(delivery);
    let mut reconnect = Reconnect::default();
    let (received, decided) = loop {
        match try_adopt(shared, &item, failure.as_ref()).await {
            Ok(adopted) => break adopted,
            Err(setback) => {
                if !shared.pause(&setback, &mut reconnect).await {
                    return None;
                }
            }
        }
    };
    shared.database_up(&mut reconnect);
    ticket.ack();
    match (received, failure, decided) {
        (Received::Duplicate, ..) => shared.count("duplicate"),
        (Received::Held, ..) => shared.count("held"),
        (Received::Claimed, Some(failure), Some(decided)) => {
            follow_up(effect, shared, item, &failure, decided).await;
        }
        (Received::Claimed, ..) => return Some(item),
    }
    None
}

/// A message's first claim, of a token that nobody has.
pub(super) fn claimed_now(delivery: Delivery) -> Claimed {
    Claimed { delivery, claim: Claim(uuid::Uuid::new_v4()), attempts: 1, replays: 0, doom: None }
}

async fn try_adopt(
    shared: &Shared,
    item: &Claimed,
    failure: Option<&Failure>,
) -> Result<(Received, Option<Decided>), Setback> {
    let mut lent = shared.pool.lend().await?;
    let Seat { connection, prepared: inbox } = &mut lent.seat;
    let tx = connection.begin().await?;
    let received = inbox.receive(&tx, &item.delivery, item.claim).await?;
    let decided = match (received, failure) {
        (Received::Claimed, Some(failure)) => Some(conclude(shared, inbox, &tx, item, failure).await?),
        _ => None,
    };
    tx.commit().await?;
    lent.give_back();
    Ok((received, decided))
}

/// Buries a doomed message: its letter is published and confirmed, then it is dead.
pub(super) async fn bury(effect: &dyn Effect, shared: &Shared, item: Claimed) {
    let Some(doom) = &item.doom else { return };
    let death = Death {
        reason: doom.reason.clone(),
        error: doom.error.clone(),
        attempts: item.attempts,
        first_failed_us: doom.first_failed_us,
        replays: item.replays,
    };
    let (consumer, exchange) = (&shared.settings.name, &shared.settings.dead_letter_exchange);
    let letter = dead_letter(&item.delivery, &death, consumer, exchange, unix_now_us());
    let outcome = shared.post(letter).await;
    let mut reconnect = Reconnect::default();
    loop {
        match try_bury(effect, shared, &item, doom, &outcome).await {
            Ok(true) => {
                shared.count("dead");
                if shared.lines.may_say(Kind::Dead) {
                    tracing::warn!(
                        event_type = item.delivery.event_type,
                        reason = doom.reason,
                        attempts = item.attempts,
                        "dead: {}",
                        doom.error
                    );
                }
                return;
            }
            Ok(false) => return,
            Err(setback) => {
                if !shared.pause(&setback, &mut reconnect).await {
                    return;
                }
            }
        }
    }
}

async fn try_bury(
    effect: &dyn Effect,
    shared: &Shared,
    item: &Claimed,
    doom: &Doom,
    outcome: &Outcome,
) -> Result<bool, Setback> {
    let mut lent = shared.pool.lend().await?;
    let Seat { connection, prepared: inbox } = &mut lent.seat;
    if *outcome != Outcome::Confirmed {
        connection.answer(inbox.postpone(&connection.client, item, BURIAL_PAUSE)).await?;
        lent.give_back();
        return Ok(false);
    }
    let tx = connection.begin().await?;
    inbox.lock(&tx, &[&item.delivery]).await?;
    if !inbox.mark_dead(&tx, item).await? {
        tx.rollback().await?;
        lent.give_back();
        stale(shared);
        return Ok(false);
    }
    let hook = async {
        effect.buried(&item.delivery, &doom.reason, &tx).await.map_err(|error| Failure::retry(error, None))
    };
    if let Err(failure) = run_in(shared, "buried", &tx, hook).await {
        if shared.lines.may_say(Kind::Unburied) {
            tracing::warn!("not buried yet: {}", failure.text());
        }
        tx.rollback().await?;
        connection.answer(inbox.postpone(&connection.client, item, BURIAL_PAUSE)).await?;
        lent.give_back();
        return Ok(false);
    }
    tx.commit().await?;
    lent.give_back();
    shared.released();
    Ok(true)
}
