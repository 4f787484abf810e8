//! The task that listens for notifications and holds the sleep locks.
//!
//! Each renewal of the leases notifies the channel with this relay's id. While that arrives, notifications are proven to;
//! when it stays out for the length of a lease, the session is taken for dead or deaf, and relay polls.

use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::Shared;
use crate::{
    health::Part, postgres::connect::DatabaseError, postgres::listener::Listener, reconnect::Reconnect,
    relay::input::Input, row::Lane,
};

const USE: &str = "listening";
/// What a relay notifies when it gives lanes back, or joins, or leaves; see lanes/release.sql.
const LANES: &str = "lanes";

pub(super) async fn run(
    shared: Shared,
    mut sleeps: mpsc::UnboundedReceiver<Option<Vec<Lane>>>,
    nudge: watch::Sender<()>,
) {
    let Some(settings) = shared.settings.listen.clone() else {
        // Nothing wakes relay, so it is never told to sleep.
        tracing::info!("no connection to listen at: relay polls");
        while sleeps.recv().await.is_some() {}
        return std::future::pending().await;
    };
    let mut reconnect = Reconnect::default();
    // What proves the way is sent with each renewal, and before the schema is complete there is none.
    shared.migrated().await;
    loop {
        let error = match Listener::connect(&settings, "relay listen").await {
            Ok(listener) => {
                reconnect.succeeded();
                listen(&shared, listener, &mut sleeps, &nudge).await
            }
            Err(error) => error.with_cure(),
        };
        shared.metrics.listen_connected.set(0);
        shared.tell(Input::Wakeable(false));
        shared.health.down(Part::Notifications, USE, &error);
        // An order given meanwhile is void: with the session went its locks.
        let wait = reconnect.failed();
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                () = &mut deadline => break,
                order = sleeps.recv() => if order.flatten().is_some() { shared.tell(Input::Asleep(false)) },
            }
        }
    }
}

/// Listens until the session fails, and says why.
async fn listen(
    shared: &Shared,
    mut listener: Listener,
    sleeps: &mut mpsc::UnboundedReceiver<Option<Vec<Lane>>>,
    nudge: &watch::Sender<()>,
) -> String {
    let own = shared.relay.to_string();
    let lease = shared.settings.lease;
    // For a renewal now: the proof need not wait for the next one.
    let _ = nudge.send(());
    let mut proven = false;
    let mut last_heard = Instant::now();
    loop {
        let deaf = tokio::time::sleep_until((last_heard + lease).into());
        tokio::select! {
            payload = listener.next() => match payload {
                None => return "the listening session ended".to_owned(),
                Some(payload) if payload == own => {
                    last_heard = Instant::now();
                    if !proven {
                        shared.health.up(Part::Notifications, USE);
                        shared.metrics.listen_connected.set(1);
                        shared.tell(Input::Wakeable(true));
                    }
                    proven = true;
                }
                Some(payload) if payload.is_empty() => {
                    shared.metrics.wakeups.with_label_values(&["notify"]).inc();
                    shared.tell(Input::Woken);
                }
                Some(payload) if payload == LANES => {
                    let _ = nudge.send(());
                }
                // Another relay proving its own way.
                Some(_) => {}
            },
            order = sleeps.recv() => match order {
                // The engine has stopped; the locks go with the session, when the process does.
                None => return std::future::pending().await,
                Some(order) => {
                    let result = match &order {
                        Some(lanes) => bounded(shared, listener.sleep(lanes)).await,
                        None => bounded(shared, listener.wake()).await.map(|()| false),
                    };
                    match result {
                        Ok(asleep) if order.is_some() => shared.tell(Input::Asleep(asleep)),
                        Ok(_) => {}
                        Err(error) => {
                            if order.is_some() {
                                shared.tell(Input::Asleep(false));
                            }
                            return error.with_cure();
                        }
                    }
                }
            },
            () = deaf => {
                return format!(
                    "no notification arrived for {lease:?}, not even relay's own: a pooler in between, or a frozen \
                     session; polling instead (a pooler takes database.pooled = \
                     true, and a direct connection in database.listen_url)"
                );
            }
        }
    }
}

/// A frozen server must not hold us: without an answer in a third of a lease the session is given up.
async fn bounded<T>(
    shared: &Shared,
    work: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    let timeout = shared.settings.lease / 3;
    let server = shared.settings.database.server();
    tokio::time::timeout(timeout, work).await.unwrap_or(Err(DatabaseError::Silent { server, timeout }))
}
