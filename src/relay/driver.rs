//! Drives the engine: feeds it what happens, and hands its commands to the tasks that carry them out.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::{
    engine::Engine,
    floors::Floors,
    input::{Command, Death, Fence, Input, ScanRequest, Write},
};
use crate::row::{Lane, Row};

/// Where commands go. The engine keeps at most one scan, one write and one batch a publisher under way, and everything
/// together within its limit of rows, so none of these queues grows beyond that.
#[derive(Debug)]
pub struct Outlets<B> {
    /// To the scanner.
    pub scan: mpsc::UnboundedSender<ScanRequest>,
    /// To the writer.
    pub write: mpsc::UnboundedSender<Write>,
    /// To each publisher.
    pub publish: Vec<mpsc::UnboundedSender<Vec<Row<B>>>>,
    /// To the task that publishes suspects, each alone.
    pub quarantine: mpsc::UnboundedSender<Row<B>>,
    /// To the task that publishes dead letters.
    pub bury: mpsc::UnboundedSender<(Row<B>, Death)>,
    /// To the holder of the leases: give these back.
    pub release: mpsc::UnboundedSender<Fence>,
    /// To the holder of the leases: what to leave with them.
    pub floors: watch::Sender<Floors>,
    /// To the holder of the sleep locks: take these, or give all back.
    pub sleep: mpsc::UnboundedSender<Option<Vec<Lane>>>,
}

/// A task ended while it was still needed; which one was logged where it ended.
#[derive(Debug, thiserror::Error)]
#[error("a task of the daemon ended early")]
pub struct TaskEnded;

/// Without leases, or without a broker, nothing may be due for long; a step now and then shows that the loop lives.
const QUIET_TICK: Duration = Duration::from_secs(10);

/// Runs the engine until it stops after a drain. `observe` is called after every step.
///
/// # Errors
/// When a task that carries out commands is gone.
pub async fn drive<B>(
    mut engine: Engine<B>,
    mut inputs: mpsc::UnboundedReceiver<Input<B>>,
    outlets: Outlets<B>,
    mut observe: impl FnMut(&Engine<B>),
) -> Result<(), TaskEnded> {
    let mut commands = Vec::new();
    loop {
        let quiet = Instant::now() + QUIET_TICK;
        let deadline = engine.next_deadline().map_or(quiet, |deadline| deadline.min(quiet));
        let input = tokio::select! {
            biased;
            input = inputs.recv() => input.ok_or(TaskEnded)?,
            () = tokio::time::sleep_until(deadline.into()) => Input::Tick,
        };
        engine.handle(Instant::now(), input, &mut commands);
        for command in commands.drain(..) {
            let sent = match command {
                Command::Scan(request) => outlets.scan.send(request).is_ok(),
                Command::Write(write) => outlets.write.send(write).is_ok(),
                Command::Publish { publisher, rows } => {
                    outlets.publish.get(publisher).is_some_and(|publisher| publisher.send(rows).is_ok())
                }
                Command::Quarantine(row) => outlets.quarantine.send(row).is_ok(),
                Command::Bury(row, death) => outlets.bury.send((row, death)).is_ok(),
                Command::Floors(floors) => {
                    outlets.floors.send_replace(floors);
                    true
                }
                Command::Release(lanes) => outlets.release.send(lanes).is_ok(),
                Command::Sleep(lanes) => outlets.sleep.send(Some(lanes)).is_ok(),
                Command::Wake => outlets.sleep.send(None).is_ok(),
                Command::Stop => {
                    observe(&engine);
                    return Ok(());
                }
            };
            if !sent {
                return Err(TaskEnded);
            }
        }
        observe(&engine);
    }
}
