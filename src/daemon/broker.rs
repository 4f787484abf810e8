//! The task that keeps a publishing session: connects, verifies the broker's objects, watches, and starts over.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{Shared, ability::Duty};
use crate::{
    amqp::{AmqpError, Session, probe, topology},
    cause::chain,
    health::Part,
    publisher::ChannelFailure,
    reconnect::Reconnect,
    relay::input::Input,
};

/// That the exchange takes what is published to it. One may be declared where nothing may be published.
pub(super) const ACCEPTANCE: &str = "exchange";
/// That it takes messages at all: it says so when it is short of memory or disk.
const FLOW: &str = "taking messages";
/// A session that lasted so long was a good one: the next failure is a first one.
const GOOD: Duration = Duration::from_secs(5);

/// Between two looks at the dead-letter queue's depth.
const MEASURE: Duration = Duration::from_secs(5);

/// A session that is up, told from its predecessors.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) id: u64,
    pub(super) session: Session,
    refusal: OnceLock<String>,
}

impl Live {
    fn new(id: u64, session: Session) -> Self {
        Self { id, session, refusal: OnceLock::new() }
    }

    /// What is published to the configured exchange is refused: the session is of no use, and this is why.
    pub(super) fn refused(&self, reason: String) {
        // Several publishers may find out; the first will do.
        let _ = self.refusal.set(reason);
    }
}

/// What publishers see of it.
pub(super) type Sessions = watch::Receiver<Option<Arc<Live>>>;

pub(super) async fn run(shared: Shared, sessions: watch::Sender<Option<Arc<Live>>>) {
    let mut reconnect = Reconnect::default();
    let mut id = 0;
    let mut refused = false;
    loop {
        match open(&shared, refused).await {
            Ok(session) => {
                id += 1;
                let up = Instant::now();
                let live = Arc::new(Live::new(id, session));
                shared.works(Duty::Publishing);
                shared.metrics.amqp_connected.set(1);
                // First the session, then the word: publishers look for it when the engine sends.
                let _ = sessions.send(Some(Arc::clone(&live)));
                shared.tell(Input::BrokerUp);
                let cause = watch_over(&shared, &live).await;
                // First the word, then the session: a publisher whose batch failed with it waits for the session to be
                // gone before it answers, so that the engine does not send the batch straight back.
                shared.tell(Input::BrokerDown);
                let _ = sessions.send(None);
                live.session.kill();
                shared.metrics.amqp_connected.set(0);
                shared.metrics.amqp_blocked.set(0);
                // An alarm was that session's; the next one hears of it anew.
                shared.health.up(Part::Broker, FLOW);
                shared.unable(Duty::Publishing);
                match live.refusal.get() {
                    Some(reason) => shared.health.down(Part::Broker, ACCEPTANCE, reason),
                    None => shared.health.down(Part::Broker, Duty::Publishing.as_str(), &cause),
                }
                // One key that is refused may be among others that are not.
                refused = live.refusal.get().is_some_and(|reason| !probe::is_about_a_key(reason));
                if up.elapsed() >= GOOD {
                    reconnect.succeeded();
                }
                tokio::time::sleep(reconnect.failed()).await;
            }
            Err(error) => {
                let wait = if error.is_configuration() { reconnect.refused() } else { reconnect.failed() };
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Opens a session to publish by. If the last one was `refused` what it published, only when that is over: else the relay would
/// come and go, and its lanes with it. Says what is wrong.
async fn open(shared: &Shared, refused: bool) -> Result<Session, AmqpError> {
    let said = |what, error: &AmqpError| shared.health.down(Part::Broker, what, &chain(error));
    let publishing = Duty::Publishing.as_str();
    let session = establish(shared, "relay publish").await.inspect_err(|error| said(publishing, error))?;
    shared.health.up(Part::Broker, publishing);
    shared.health.up(Part::Broker, "connection");
    if refused {
        let exchange = &shared.settings.topology.exchange;
        probe::takes(&session, exchange).await.inspect_err(|error| said(ACCEPTANCE, error))?;
        shared.health.up(Part::Broker, ACCEPTANCE);
    }
    Ok(session)
}

/// Connects, and declares or verifies the objects.
pub(super) async fn establish(shared: &Shared, name: &str) -> Result<Session, AmqpError> {
    let settings = &shared.settings;
    let session = Session::connect(&settings.amqp, name).await?;
    if settings.declare {
        topology::declare(&session, &settings.topology).await?;
    } else {
        topology::verify(&session, &settings.topology).await?;
    }
    Ok(session)
}

/// Passes on whether the broker blocks the session, until it is lost; says why.
async fn watch_over(shared: &Shared, live: &Live) -> String {
    let mut blocked = live.session.blocked();
    let lost = live.session.lost();
    tokio::pin!(lost);
    let mut measure = tokio::time::interval(MEASURE);
    loop {
        tokio::select! {
            failure = &mut lost => return describe(&failure),
            // A blocked connection answers nothing.
            _ = measure.tick(), if blocked.borrow().is_none() => {
                // Best effort: a queue that is gone is found out by the next dead letter.
                let queue = &shared.settings.topology.dead_letter_queue;
                if let Ok(depth) = topology::depth(&live.session, queue).await {
                    shared.metrics.dlq_depth.set(i64::from(depth));
                }
            }
            changed = blocked.changed() => {
                if changed.is_err() {
                    return describe(&lost.await);
                }
                let reason = blocked.borrow_and_update().clone();
                shared.metrics.amqp_blocked.set(i64::from(reason.is_some()));
                match &reason {
                    Some(reason) => shared.health.down(Part::Broker, FLOW, &format!("the broker takes no messages: {reason}")),
                    None => shared.health.up(Part::Broker, FLOW),
                }
                shared.tell(Input::BrokerBlocked(reason.is_some()));
            }
        }
    }
}

/// A failure in words.
pub(super) fn describe(failure: &ChannelFailure) -> String {
    match failure {
        ChannelFailure::ChannelClosed { code, text } => {
            format!("the broker closed the channel: {code} {text}")
        }
        ChannelFailure::ConnectionClosed { code, text } => {
            format!("the broker closed the connection: {code} {text}")
        }
        ChannelFailure::ConnectionLost { reason } => format!("connection lost: {reason}"),
    }
}
