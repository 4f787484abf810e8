//! How a daemon is told to end, and how it ended.

use tokio::sync::watch;

/// How a run ended; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// Everything under way was settled.
    Drained,
    /// The grace period was over first; what was under way was broken off, and whoever comes next does it again.
    GraceOver,
    /// A second signal: at once.
    Aborted,
    /// A task ended by itself, which none should.
    Failed,
}

/// Waits for the n-th signal; for ever if none can come any more.
pub(crate) async fn signalled(signals: &mut watch::Receiver<u8>, count: u8) {
    if signals.wait_for(|seen| *seen >= count).await.is_err() {
        std::future::pending::<()>().await;
    }
}
