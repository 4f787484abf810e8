//! Producers that commit at a steady pace until they are told to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::{
    servers::{Bench, Result},
    table::SMALL,
};

const WRITERS: usize = 4;
/// There are so many.
pub(crate) const LANES: usize = 32;
/// Keys of a lane that are written to.
const KEYS: usize = 8;

/// A committed row.
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) lane: usize,
    /// When its commit had returned.
    pub(crate) at: Instant,
}

pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Result<Vec<Sent>>>>,
}

/// One row a transaction.
pub(crate) fn insert() -> String {
    format!(
        "insert into {SMALL}.outbox (aggregate_type, aggregate_id, event_type, payload)
         values ('order', $1, 'created', jsonb_build_object('pad', repeat('x', 480))) returning event_id::text"
    )
}

impl Writers {
    /// So many commits a second together, one lane after the other.
    pub(crate) async fn start(bench: &Bench, rate: u32) -> Result<Self> {
        let keys = Arc::new(keys(bench).await?);
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = vec![];
        for writer in 0..WRITERS {
            let client = bench.database().await?;
            let statement = client.prepare(&insert()).await?;
            let (keys, stop) = (Arc::clone(&keys), Arc::clone(&stop));
            let period = Duration::from_secs_f64(WRITERS as f64 / f64::from(rate));
            tasks.push(tokio::spawn(async move {
                tokio::time::sleep(period.mul_f64(writer as f64 / WRITERS as f64)).await;
                let mut pace = tokio::time::interval(period);
                let mut sent = vec![];
                for number in 0_usize.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    pace.tick().await;
                    let place = number * WRITERS + writer;
                    let lane = place % LANES;
                    let key = &keys[lane][place / LANES % KEYS];
                    let id = client.query_one(&statement, &[key]).await?.get(0);
                    sent.push(Sent { id, lane, at: Instant::now() });
                }
                Ok(sent)
            }));
        }
        Ok(Self { stop, tasks })
    }

    /// Stops them, and says what they committed.
    pub(crate) async fn finish(self) -> Result<Vec<Sent>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sent = vec![];
        for task in self.tasks {
            sent.extend(task.await??);
        }
        Ok(sent)
    }
}

/// Keys of each lane.
async fn keys(bench: &Bench) -> Result<Vec<Vec<String>>> {
    let select = format!("select g::text, {SMALL}.lane_of('order', g::text) from generate_series(1, 4000) g");
    let mut keys = vec![vec![]; LANES];
    for row in bench.database().await?.query(&select, &[]).await? {
        keys[usize::try_from(row.get::<_, i16>(1))?].push(row.get(0));
    }
    match keys.iter().all(|keys| keys.len() >= KEYS) {
        true => Ok(keys),
        false => Err("some lane has too few keys".into()),
    }
}
