//! Producers that insert all along, a row a transaction.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::task::JoinHandle;

use crate::{
    rig::Rig,
    support::{database, wait},
};

const PRODUCERS: i64 = 4;
/// Each has keys of its own, so the rows of a key are in order.
const KEYS: i64 = 60;
/// Between two rows of a producer.
const PAUSE: Duration = Duration::from_millis(5);

pub struct Load {
    stop: Arc<AtomicBool>,
    added: Arc<AtomicI64>,
    producers: Vec<JoinHandle<()>>,
}

impl Load {
    pub async fn start(rig: &Rig) -> Self {
        let (stop, added) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let mut producers = Vec::new();
        for producer in 0..PRODUCERS {
            let client = rig.database.session().await;
            let (stop, added) = (Arc::clone(&stop), Arc::clone(&added));
            producers.push(tokio::spawn(async move {
                let mut key = 0;
                while !stop.load(Relaxed) {
                    key = (key + 1) % KEYS;
                    database::insert(&client, &format!("{producer}/{key}"), "placed").await;
                    added.fetch_add(1, Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
            }));
        }
        Self { stop, added, producers }
    }

    pub async fn wait_more(&self, rows: i64) {
        let enough = self.added.load(Relaxed) + rows;
        wait::until("the producers go on", wait::LONG, async || {
            assert!(!self.producers.iter().any(JoinHandle::is_finished), "a producer has failed");
            self.added.load(Relaxed) >= enough
        })
        .await;
    }

    pub async fn end(self) -> i64 {
        self.stop.store(true, Relaxed);
        for producer in self.producers {
            producer.await.expect("every row was added");
        }
        self.added.load(Relaxed)
    }
}
