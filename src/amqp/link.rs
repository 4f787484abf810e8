//! What a session and its channels share: the handle that ends the connection, and why it ended.

use std::{
    net::Shutdown,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use tokio::sync::watch;

use crate::publisher::ChannelFailure;

/// A duplicate of the connection's socket. Shutting it down is the one thing that ends a lapin connection at
/// once, in any state: its thread reads end-of-file, even mid-handshake, blocked or with a peer that is frozen.
#[derive(Debug)]
pub(super) struct KillHandle(socket2::Socket);

impl KillHandle {
    pub(super) fn new(socket: socket2::Socket) -> Self {
        Self(socket)
    }

    pub(super) fn kill(&self) {
        // Fails only when the socket is disconnected already, which is what is wanted.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for KillHandle {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Shared by a session, its monitor and its channels.
#[derive(Debug)]
pub(super) struct Link {
    handle: KillHandle,
    pub(super) confirm_timeout: Duration,
    pub(super) answer_timeout: Duration,
    lost: watch::Sender<Option<ChannelFailure>>,
    blocked: watch::Sender<Option<String>>,
    batches_open: AtomicUsize,
    batches_begun: AtomicU64,
}

impl Link {
    pub(super) fn new(handle: KillHandle, confirm_timeout: Duration, answer_timeout: Duration) -> Self {
        Self {
            handle,
            confirm_timeout,
            answer_timeout,
            lost: watch::Sender::new(None),
            blocked: watch::Sender::new(None),
            batches_open: AtomicUsize::new(0),
            batches_begun: AtomicU64::new(0),
        }
    }

    /// Ends the connection now. What lapin has queued will never be sent.
    pub(super) fn kill(&self, reason: &str) {
        self.report_lost(|| ChannelFailure::ConnectionLost { reason: reason.to_owned() });
        self.handle.kill();
    }

    /// Records why the connection ended; the first cause is the true one, the rest its consequences.
    pub(super) fn report_lost(&self, cause: impl FnOnce() -> ChannelFailure) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            if first {
                *lost = Some(cause());
            }
            first
        });
    }

    pub(super) fn report_blocked(&self, reason: Option<String>) {
        self.blocked.send_replace(reason);
    }

    pub(super) fn lost(&self) -> watch::Receiver<Option<ChannelFailure>> {
        self.lost.subscribe()
    }

    pub(super) fn cause(&self) -> Option<ChannelFailure> {
        self.lost.borrow().clone()
    }

    pub(super) fn blocked(&self) -> watch::Receiver<Option<String>> {
        self.blocked.subscribe()
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.borrow().is_some()
    }

    /// Registers a batch that is about to be sent.
    pub(super) fn begin_batch(&self) -> BatchMark<'_> {
        let others = self.batches_open.fetch_add(1, Ordering::SeqCst);
        let turn = self.batches_begun.fetch_add(1, Ordering::SeqCst);
        BatchMark { link: self, alone_at_first: others == 0, turn }
    }
}

/// A batch's presence on the connection, for telling whom a connection-level close concerns.
#[derive(Debug)]
pub(super) struct BatchMark<'a> {
    link: &'a Link,
    alone_at_first: bool,
    turn: u64,
}

impl BatchMark<'_> {
    /// Whether no other channel of this connection had a batch open at any time since this one began.
    pub(super) fn was_alone(&self) -> bool {
        self.alone_at_first && self.link.batches_begun.load(Ordering::SeqCst) == self.turn + 1
    }

    /// Why the connection ended, if it did.
    pub(super) fn cause(&self) -> Option<ChannelFailure> {
        self.link.cause()
    }
}

impl Drop for BatchMark<'_> {
    fn drop(&mut self) {
        self.link.batches_open.fetch_sub(1, Ordering::SeqCst);
    }
}
