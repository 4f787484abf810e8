//! Spans that wait to be exported: so many, and what is beyond is dropped and counted. Whoever adds one never waits.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::span::Span;
use crate::metrics::SpanMetrics;

#[derive(Debug)]
pub(super) struct Queue {
    spans: Mutex<VecDeque<Span>>,
    /// Spans that may wait.
    limit: usize,
    /// Spans of a request, at most.
    pub(super) batch: usize,
    /// There are enough for a request.
    pub(super) filled: Notify,
    pub(super) metrics: SpanMetrics,
}

impl Queue {
    pub(super) fn new(limit: usize, batch: usize, metrics: SpanMetrics) -> Self {
        Self { spans: Mutex::default(), limit, batch: batch.min(limit), filled: Notify::new(), metrics }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what there is room for.
    pub(super) fn add(&self, added: Vec<Span>) {
        let mut spans = self.lock();
        let room = self.limit.saturating_sub(spans.len());
        let dropped = added.len().saturating_sub(room);
        spans.extend(added.into_iter().take(room));
        let is_filled = spans.len() >= self.batch;
        drop(spans);
        if is_filled {
            self.filled.notify_one();
        }
        if dropped > 0 {
            self.metrics.dropped(dropped);
        }
    }

    /// Takes the oldest, as many as go into a request.
    pub(super) fn take(&self) -> Vec<Span> {
        let mut spans = self.lock();
        let count = self.batch.min(spans.len());
        spans.drain(..count).collect()
    }

    /// Whether there are enough for a request.
    pub(super) fn is_filled(&self) -> bool {
        self.lock().len() >= self.batch
    }

    /// Drops what is left: nobody will export it.
    pub(super) fn abandon(&self) -> usize {
        let left = std::mem::take(&mut *self.lock()).len();
        if left > 0 {
            self.metrics.dropped(left);
        }
        left
    }
}
