//! One outbox: the tasks around its engine, each with a connection of its own, so that none waits for another.
//!
//! | task | connection | carries out |
//! |---|---|---|
//! | scanning | Postgres | scans |
//! | writing | Postgres | marks, reschedules, holds, burials, in order |
//! | leasing | Postgres | leases on lanes |
//! | measuring | Postgres | what the gauges show |
//! | listening | Postgres | notifications and the sleep locks |
//! | janitor | Postgres | removal of old rows |
//! | broker | AMQP | the publishing session: connect, verify, watch |
//! | publishing | its channels | batches, one at a time a channel |
//! | aside | AMQP, twice | rows apart: quarantine, and dead letters |

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tracing::Instrument;
use uuid::Uuid;

use super::{
    DatabaseClock, Outbox, Shared, admin::Probe, aside, broker, janitor, leasing, listening, measuring,
    publishing, scanning, traces::Traces, writing,
};
use crate::{
    drain::{Ended, signalled},
    letter::Fetched,
    relay::{
        driver::{Outlets, TaskEnded, drive},
        engine::{Circuit, Engine},
        floors::Floors,
        input::Input,
    },
    telemetry::Tracer,
};

/// Between the end of the engine and that of its tasks, whichever is seen first.
const PARTING: Duration = Duration::from_secs(1);

/// Runs it until `stop` says 1 (drain) and, if need be, 2 (at once). Its tasks log within the caller's span.
pub(super) async fn run(
    outbox: Outbox,
    tracer: Tracer,
    probe: Probe,
    mut stop: watch::Receiver<u8>,
) -> Ended {
    let settings = Arc::new(outbox.settings);
    let traces = Traces::new(tracer, &settings, &outbox.name);
    let (inputs, input_queue) = mpsc::unbounded_channel();
    let shared = Shared {
        settings: Arc::clone(&settings),
        relay: Uuid::new_v4(),
        health: probe.health,
        metrics: outbox.metrics,
        clock: DatabaseClock::default(),
        migrated: watch::Sender::new(false),
        traces,
        pauses: watch::Sender::default(),
        ability: watch::Sender::default(),
        inputs,
    };
    let beat = probe.beat;
    let mut tasks = JoinSet::new();
    let (scan, scans) = mpsc::unbounded_channel();
    let (write, writes) = mpsc::unbounded_channel();
    let (quarantine, suspects) = mpsc::unbounded_channel();
    let (bury, dying) = mpsc::unbounded_channel();
    let (sleep, sleeps) = mpsc::unbounded_channel();
    let (sessions, session) = watch::channel(None);
    let (nudge, nudges) = watch::channel(());
    let (release, released) = mpsc::unbounded_channel();
    let (floors, floor) = watch::channel(Floors::default());
    let (leave, leaving) = mpsc::channel(1);
    tasks.spawn(scanning::run(shared.clone(), scans).in_current_span());
    tasks.spawn(writing::run(shared.clone(), writes).in_current_span());
    tasks.spawn(
        leasing::run(shared.clone(), nudges, (released, floor), stop.clone(), leaving).in_current_span(),
    );
    tasks.spawn(measuring::run(shared.clone()).in_current_span());
    tasks.spawn(listening::run(shared.clone(), sleeps, nudge).in_current_span());
    tasks.spawn(janitor::run(shared.clone(), stop.clone()).in_current_span());
    // What is on the wire, apart from the rest: it must be off before the lanes are given back.
    let mut wire = JoinSet::new();
    wire.spawn(broker::run(shared.clone(), sessions).in_current_span());
    wire.spawn(aside::quarantine(shared.clone(), suspects, session.clone()).in_current_span());
    wire.spawn(aside::bury(shared.clone(), dying, session.clone()).in_current_span());
    let publish = (0..settings.engine.publishers)
        .map(|index| {
            let (batch, batches) = mpsc::unbounded_channel();
            wire.spawn(publishing::run(shared.clone(), index, batches, session.clone()).in_current_span());
            batch
        })
        .collect();
    drop(session);

    let outlets = Outlets { scan, write, publish, quarantine, bury, release, floors, sleep };
    let engine = Engine::new(Instant::now(), settings.engine.clone(), rand::random());
    let metrics = shared.metrics.clone();
    let observe = move |engine: &Engine<Fetched>| {
        beat.now();
        metrics.lanes_owned.set(i64::try_from(engine.lanes_owned()).unwrap_or(0));
        metrics.in_flight_rows.set(i64::try_from(engine.rows_in_memory()).unwrap_or(i64::MAX));
        metrics.in_flight_bytes.set(i64::try_from(engine.bytes_in_memory()).unwrap_or(i64::MAX));
        metrics.breaker_state.with_label_values(&["broker"]).set(match engine.circuit() {
            Circuit::Closed => 0,
            Circuit::HalfOpen => 1,
            Circuit::Open => 2,
        });
    };
    let mut driving = tokio::spawn(drive(engine, input_queue, outlets, observe).in_current_span());

    let mut second = stop.clone();
    let ended = tokio::select! {
        _ = &mut driving => Ended::Failed,
        Some(_) = tasks.join_next() => Ended::Failed,
        Some(_) = wire.join_next() => Ended::Failed,
        () = signalled(&mut stop, 1) => {
            tracing::info!("draining: waiting up to {:?} for what is in flight", settings.grace);
            shared.tell(Input::Drain);
            tokio::select! {
                result = drained(&mut driving, &mut tasks, &mut wire) => result,
                () = tokio::time::sleep(settings.grace) => Ended::GraceOver,
                () = signalled(&mut second, 2) => Ended::Aborted,
            }
        }
    };
    if ended != Ended::Aborted {
        driving.abort();
        // A successor may publish as soon as it has the lanes, so no message of ours may follow: dropping the sessions
        // shuts their sockets down.
        wire.shutdown().await;
        let (done, wait) = tokio::sync::oneshot::channel();
        let given_back = leave.send(done).await.is_ok()
            && matches!(timeout(Duration::from_secs(2), wait).await, Ok(Ok(true)));
        if given_back {
            tracing::info!("lanes given back");
        } else {
            tracing::warn!("lanes not given back: a successor waits until the lease has run out");
        }
    }
    match ended {
        Ended::Drained => tracing::info!("drained"),
        Ended::GraceOver => {
            let rows = shared.metrics.in_flight_rows.get();
            tracing::warn!(
                rows,
                "not drained: the grace period of {:?} is over, and {rows} rows in flight may be published again",
                settings.grace
            );
        }
        Ended::Aborted => tracing::warn!("second signal: stopping at once"),
        Ended::Failed => tracing::error!("a task ended early; see above"),
    }
    ended
}

/// How a drain ended: with the engine, or before it because a task did.
async fn drained(
    driving: &mut JoinHandle<Result<(), TaskEnded>>,
    tasks: &mut JoinSet<()>,
    wire: &mut JoinSet<()>,
) -> Ended {
    tokio::select! {
        result = settled(driving) => return result,
        Some(_) = tasks.join_next() => {}
        Some(_) = wire.join_next() => {}
    }
    // With the engine its tasks end, and perhaps are seen first. One that ended by itself it misses soon.
    timeout(PARTING, settled(driving)).await.unwrap_or(Ended::Failed)
}

/// How the engine ended: well only when all is settled.
async fn settled(driving: &mut JoinHandle<Result<(), TaskEnded>>) -> Ended {
    if matches!(driving.await, Ok(Ok(()))) { Ended::Drained } else { Ended::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A drain whose engine ends as told, when nothing else moves, with a task in each set: one that ends by itself, or
    /// none.
    async fn drain(engine: Option<Result<(), TaskEnded>>, task_ends: bool, wire_ends: bool) -> Ended {
        let (mut tasks, mut wire) = (JoinSet::new(), JoinSet::new());
        for (set, ends) in [(&mut tasks, task_ends), (&mut wire, wire_ends)] {
            set.spawn(async move {
                if !ends {
                    std::future::pending::<()>().await;
                }
            });
        }
        let mut driving = tokio::spawn(async move {
            // Its tasks are seen first.
            tokio::time::sleep(PARTING / 10).await;
            match engine {
                Some(result) => result,
                None => std::future::pending().await,
            }
        });
        timeout(PARTING * 10, drained(&mut driving, &mut tasks, &mut wire)).await.expect("it is noticed")
    }

    #[tokio::test]
    async fn a_task_that_ends_by_itself_during_a_drain_is_noticed() {
        assert_eq!(drain(None, true, false).await, Ended::Failed);
        assert_eq!(drain(None, false, true).await, Ended::Failed);
    }

    #[tokio::test]
    async fn tasks_that_end_with_the_engine_have_not_failed() {
        for (task_ends, wire_ends) in [(true, false), (false, true), (false, false)] {
            assert_eq!(drain(Some(Ok(())), task_ends, wire_ends).await, Ended::Drained);
            assert_eq!(drain(Some(Err(TaskEnded)), task_ends, wire_ends).await, Ended::Failed);
        }
    }
}
