//! The task that works apart, on a connection of its own: rows under suspicion, and dead letters, one at a time. A row
//! that takes its channel or connection down takes no other row with it here.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{
    Shared,
    broker::{Sessions, establish},
    publishing::blame_the_broker,
    storm::Lasting,
    unix_now_us,
};
use crate::{
    amqp::{ConfirmChannel, Session},
    cause::chain,
    letter::{Fetched, dead_letter},
    message::Message,
    publisher::Outcome,
    relay::{driver::Aside, input::Input},
};

/// After a failure that was not the row's: the row goes back to the engine, which would send it at once.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn run(
    shared: Shared,
    mut work: mpsc::UnboundedReceiver<Aside<Fetched>>,
    sessions: Sessions,
) {
    let mut link: Option<(Session, ConfirmChannel)> = None;
    let mut trouble = Lasting::default();
    while let Some(item) = work.recv().await {
        if sessions.borrow().is_none() {
            link = None;
        }
        match item {
            Aside::Quarantine(row) => {
                let exchange = &shared.settings.topology.exchange;
                let outcome =
                    publish(&shared, &mut link, &mut trouble, &sessions, &row.body.message, exchange).await;
                shared.tell(Input::Quarantined(row, outcome));
            }
            Aside::Bury(row, death) => {
                let exchange = &shared.settings.topology.dead_letter_exchange;
                let letter = dead_letter(&row.body, &death, exchange, unix_now_us());
                // For a dead letter a missing exchange is not the broker's trouble: the row must say so, and wait.
                let outcome = publish(&shared, &mut link, &mut trouble, &sessions, &letter, "").await;
                shared.tell(Input::Buried(row, death, outcome));
            }
        }
    }
}

/// Publishes one message alone.
async fn publish(
    shared: &Shared,
    link: &mut Option<(Session, ConfirmChannel)>,
    trouble: &mut Lasting,
    sessions: &Sessions,
    message: &Message,
    ours: &str,
) -> Outcome {
    if sessions.borrow().is_none() {
        return Outcome::Unknown;
    }
    if link.as_ref().is_none_or(|(_, channel)| !channel.is_usable()) {
        let opened = match establish(shared, "relay aside").await {
            Ok(session) => session.confirm_channel().await.map(|channel| (session, channel)),
            Err(error) => Err(error),
        };
        match opened {
            Ok(opened) => {
                *link = Some(opened);
                if let Some(lasted) = trouble.over(Instant::now()) {
                    tracing::info!(
                        seconds = lasted.as_secs(),
                        "quarantine and dead letters have a connection"
                    );
                }
            }
            Err(error) => {
                // Every row that waits for it would say so.
                if let Some(lasting) = trouble.shows(Instant::now()) {
                    tracing::warn!(
                        seconds = lasting.as_secs(),
                        "no connection for quarantine and dead letters: {}",
                        chain(&error)
                    );
                }
                tokio::time::sleep(PAUSE).await;
                return Outcome::Unknown;
            }
        }
    }
    let Some((_, channel)) = link else { return Outcome::Unknown };
    let mut report = channel.publish(std::slice::from_ref(message)).await;
    if report.failure.is_some() {
        *link = None;
    }
    let refusal = blame_the_broker(&mut report, ours);
    let outcome = report.outcomes.into_iter().next().unwrap_or(Outcome::Unknown);
    if outcome == Outcome::Unknown {
        // Not this row's doing. If it is the session's, its own watcher finds out; if it is the exchange's, only a new
        // session declares it again.
        if let (true, Some(live)) = (report.failure.is_some() && !ours.is_empty(), sessions.borrow().clone())
        {
            if let Some(reason) = refusal {
                live.refused(reason);
            }
            live.session.kill();
        }
        tokio::time::sleep(PAUSE).await;
    }
    outcome
}
