//! The tasks that work apart, one message at a time, each on a connection of its own: rows under suspicion, and dead
//! letters. A row that takes its channel or connection down takes no other row with it here; and a dead-letter queue that
//! takes nothing holds up no suspect, which may be as good as any row.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{
    Shared,
    broker::{ACCEPTANCE, Sessions, describe, establish},
    publishing::{blame_the_broker, pause_of},
    unix_now_us,
};
use crate::{
    amqp::{ConfirmChannel, Session},
    cause::chain,
    health::Part,
    letter::{Fetched, bare_letter, dead_letter},
    message::Message,
    publisher::{ChannelFailure, Outcome},
    relay::input::{Death, Input},
    row::Row,
    storm::Lasting,
};

/// After a failure that was not the row's: the row goes back to the engine, which would send it at once.
const PAUSE: Duration = Duration::from_millis(500);

/// Publishes rows that came under suspicion.
pub(super) async fn quarantine(
    shared: Shared,
    mut suspects: mpsc::UnboundedReceiver<Row<Fetched>>,
    sessions: Sessions,
) {
    let exchange = shared.settings.topology.exchange.clone();
    let mut apart = Apart::new(shared, sessions, "suspects");
    while let Some(row) = suspects.recv().await {
        let paused = pause_of(&apart.shared.pauses.borrow(), &row);
        let outcome = match paused {
            Some(pause) => Outcome::Paused(pause),
            None => apart.publish(&row.body.message, Some(&exchange)).await,
        };
        apart.shared.tell(Input::Quarantined(row, outcome));
    }
}

/// Publishes dead letters.
pub(super) async fn bury(
    shared: Shared,
    mut dying: mpsc::UnboundedReceiver<(Row<Fetched>, Death)>,
    sessions: Sessions,
) {
    let exchange = shared.settings.topology.dead_letter_exchange.clone();
    let mut apart = Apart::new(shared, sessions, "dead letters");
    while let Some((row, death)) = dying.recv().await {
        let letter = dead_letter(&row.body, &death, &exchange, unix_now_us());
        // For a dead letter a missing exchange is not the broker's trouble: the row must say so, and wait.
        let mut outcome = apart.publish(&letter, None).await;
        if let Outcome::Refused { code, text } = &outcome
            && !matches!(code, 403 | 404)
        {
            // What the broker does not take of the row it does not take of its letter.
            let why = format!("{code} {text}");
            outcome = apart.publish(&bare_letter(letter, &why), None).await;
        }
        apart.shared.tell(Input::Buried(row, death, outcome));
    }
}

/// One of these tasks.
struct Apart {
    shared: Shared,
    sessions: Sessions,
    /// What it publishes, for people.
    what: &'static str,
    link: Option<(Session, ConfirmChannel)>,
    unconnected: Lasting,
    unconfirmed: Lasting,
}

impl Apart {
    fn new(shared: Shared, sessions: Sessions, what: &'static str) -> Self {
        let (unconnected, unconfirmed) = (Lasting::default(), Lasting::default());
        Self { shared, sessions, what, link: None, unconnected, unconfirmed }
    }

    /// Publishes one message alone. `ours` is the exchange whose absence is the broker's trouble, not the row's.
    async fn publish(&mut self, message: &Message, ours: Option<&str>) -> Outcome {
        let Some(live) = self.sessions.borrow().clone() else {
            // That is said by those who keep the session.
            (self.link, self.unconnected, self.unconfirmed) = (None, Lasting::default(), Lasting::default());
            return Outcome::Unknown;
        };
        if !self.connect().await {
            return Outcome::Unknown;
        }
        let Some((_, channel)) = &mut self.link else { return Outcome::Unknown };
        let begun = self.shared.traces.now();
        let mut report = channel.publish(std::slice::from_ref(message)).await;
        self.shared.traces.published(begun, std::slice::from_ref(message), &report.outcomes);
        // A channel that was closed for the one message on it leaves the connection as it was.
        if !matches!(report.failure, None | Some(ChannelFailure::ChannelClosed { .. })) {
            self.link = None;
        }
        let refusal = ours.and_then(|exchange| blame_the_broker(&mut report, exchange));
        let outcome = report.outcomes.into_iter().next().unwrap_or(Outcome::Unknown);
        if outcome != Outcome::Unknown {
            if matches!(outcome, Outcome::Confirmed | Outcome::Returned { .. }) && ours.is_some() {
                self.shared.health.up(Part::Broker, ACCEPTANCE);
            }
            if let Some(lasted) = self.unconfirmed.over(Instant::now()) {
                tracing::info!(seconds = lasted.as_secs(), "{} are confirmed again", self.what);
            }
            return outcome;
        }
        if let Some(reason) = refusal {
            // Only a new session declares the exchange again.
            live.refused(reason);
            live.session.kill();
        } else if let Some(lasting) = self.unconfirmed.shows(Instant::now()) {
            let why = report.failure.as_ref().map_or_else(|| "no answer".to_owned(), describe);
            tracing::warn!(seconds = lasting.as_secs(), "{} are not confirmed: {why}", self.what);
        }
        tokio::time::sleep(PAUSE).await;
        outcome
    }

    /// Whether there is a channel to publish by.
    async fn connect(&mut self) -> bool {
        if let Some((session, channel)) = &mut self.link {
            if channel.is_usable() {
                return true;
            }
            if let Ok(next) = session.confirm_channel().await {
                *channel = next;
                return true;
            }
        }
        let opened = match establish(&self.shared, &format!("relay {}", self.what)).await {
            Ok(session) => session.confirm_channel().await.map(|channel| (session, channel)),
            Err(error) => Err(error),
        };
        match opened {
            Ok(opened) => {
                self.link = Some(opened);
                if let Some(lasted) = self.unconnected.over(Instant::now()) {
                    tracing::info!(seconds = lasted.as_secs(), "{} have a connection", self.what);
                }
                true
            }
            Err(error) => {
                // Every row that waits for it would say so.
                if let Some(lasting) = self.unconnected.shows(Instant::now()) {
                    tracing::warn!(
                        seconds = lasting.as_secs(),
                        "no connection for {}: {}",
                        self.what,
                        chain(&error)
                    );
                }
                tokio::time::sleep(PAUSE).await;
                false
            }
        }
    }
}
