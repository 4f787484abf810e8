//! Waiting for shipments to change. One look at the database every so often serves all who wait, however many they are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use uuid::Uuid;

use super::state::Api;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Who waits, and for what.
#[derive(Debug)]
pub(super) struct Waiting {
    most: usize,
    watched: Mutex<HashMap<Uuid, Arc<watch::Sender<i64>>>>,
    /// There is somebody.
    come: Notify,
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    waiting: &'a Waiting,
    id: Uuid,
    version: Option<watch::Receiver<i64>>,
}

impl Waiting {
    pub(super) fn new(most: usize) -> Self {
        Self { most, watched: Mutex::default(), come: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<watch::Sender<i64>>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers somebody; `None` when too many wait: then the answer comes at once.
    pub(super) fn watch(&self, id: Uuid) -> Option<Watched<'_>> {
        let mut watched = self.lock();
        let count: usize = watched.values().map(|sender| sender.receiver_count()).sum();
        if count >= self.most {
            return None;
        }
        let sender = watched.entry(id).or_insert_with(|| Arc::new(watch::Sender::new(0)));
        let version = Some(sender.subscribe());
        drop(watched);
        self.come.notify_one();
        Some(Watched { waiting: self, id, version })
    }

    fn ids(&self) -> Vec<Uuid> {
        self.lock().keys().copied().collect()
    }

    fn tell(&self, versions: &[(Uuid, i64)]) {
        let watched = self.lock();
        for (id, version) in versions {
            if let Some(sender) = watched.get(id) {
                sender.send_if_modified(|known| std::mem::replace(known, *version) != *version);
            }
        }
    }
}

impl Watched<'_> {
    /// Waits until the shipment is beyond this version: returns whether it is. Not when the time is up, or a drain begins.
    pub(super) async fn beyond(
        &mut self,
        version: i64,
        until: Instant,
        mut stop: watch::Receiver<u8>,
    ) -> bool {
        let Some(receiver) = &mut self.version else { return false };
        tokio::select! {
            found = receiver.wait_for(|known| *known > version) => found.is_ok(),
            () = tokio::time::sleep_until(until) => false,
            _ = stop.wait_for(|signals| *signals > 0) => false,
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let mut watched = self.waiting.lock();
        self.version = None;
        if watched.get(&self.id).is_some_and(|sender| sender.receiver_count() == 0) {
            watched.remove(&self.id);
        }
    }
}

/// Looks while somebody waits.
pub(super) async fn run(api: Api) {
    loop {
        let ids = api.waiting.ids();
        api.metrics.waiting.set(i64::try_from(ids.len()).unwrap_or(i64::MAX));
        if ids.is_empty() {
            api.waiting.come.notified().await;
            continue;
        }
        // Who waits in vain learns of a database that is away by its own next look.
        if let Ok(lent) = api.pool.lend_soon().await {
            let versions = api.store.versions(&lent.seat.connection.client, &ids).await;
            if let Ok(versions) = lent.settle(versions.map_err(Into::into)) {
                api.waiting.tell(&versions);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn whoever_waits_hears_of_a_later_version_and_of_a_drain() {
        let (stop, stopped) = watch::channel(0);
        let waiting = Waiting::new(10);
        let id = Uuid::new_v4();
        let mut watched = waiting.watch(id).expect("there is room");
        waiting.tell(&[(id, 3), (Uuid::new_v4(), 9)]);
        assert!(watched.beyond(2, limit(), stopped.clone()).await);
        assert!(!watched.beyond(3, Instant::now(), stopped.clone()).await, "time is up");
        stop.send_replace(1);
        assert!(!watched.beyond(3, limit(), stopped).await, "a drain");
    }

    #[test]
    fn nothing_is_kept_of_who_has_gone_and_no_more_wait_than_may() {
        let waiting = Waiting::new(2);
        let (first, second) = (waiting.watch(Uuid::nil()), waiting.watch(Uuid::nil()));
        assert!(waiting.watch(Uuid::new_v4()).is_none());
        drop(first);
        assert_eq!(waiting.ids().len(), 1);
        drop(second);
        assert!(waiting.ids().is_empty() && waiting.watch(Uuid::new_v4()).is_some());
    }
}
