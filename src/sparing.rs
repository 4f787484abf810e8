//! Log lines that several tasks say sparingly: the first few of a kind in a window, the others counted ([`crate::storm`]).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::storm::{Storm, WINDOW};

/// Shared by those who say them.
#[derive(Debug)]
pub(crate) struct Sparing<K>(Mutex<Storm<K>>);

impl<K: Copy + Ord> Sparing<K> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Storm::new()))
    }

    fn lock(&self) -> MutexGuard<'_, Storm<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a line of this kind is to be said; counts it.
    pub(crate) fn may_say(&self, kind: K) -> bool {
        self.lock().may_say(Instant::now(), kind)
    }

    /// Has it told what was left out, window by window, until the future is dropped.
    pub(crate) async fn summarize(&self, tell: impl Fn(K, u64)) {
        loop {
            // Nothing is said of a kind twice within a window, so looking as often is enough.
            tokio::time::sleep(WINDOW).await;
            self.close(Instant::now(), &tell);
        }
    }

    /// Has it told what was left out and not told yet: nobody will come after.
    pub(crate) fn finish(&self, tell: impl Fn(K, u64)) {
        self.close(Instant::now() + WINDOW, tell);
    }

    fn close(&self, now: Instant, tell: impl Fn(K, u64)) {
        let left_out = self.lock().close(now);
        left_out.into_iter().for_each(|(kind, more)| tell(kind, more));
    }
}
