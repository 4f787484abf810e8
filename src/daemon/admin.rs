//! The admin listener: `/metrics`, `/livez`, `/readyz`. It answers questions and takes no orders.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use super::Shared;

/// When the engine last took a step, for `/livez`.
/// By the monotonic clock: setting the time of day must not look like a stuck engine, nor hide one.
#[derive(Debug, Clone)]
pub(super) struct Beat {
    start: Instant,
    /// Milliseconds since the start.
    last: Arc<AtomicU64>,
}

impl Beat {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), last: Arc::default() }
    }

    pub(super) fn now(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Relaxed);
    }

    fn age(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Relaxed)))
    }
}

/// The engine takes a step every few seconds at least; silence for this long means it is stuck.
const STUCK: Duration = Duration::from_secs(300);

/// Binds the listener.
///
/// # Errors
/// When the address is taken or not ours.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

pub(super) async fn serve(listener: TcpListener, shared: Shared, beat: Beat) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state((shared, beat));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!("the admin listener failed: {error}");
    }
}

type AdminState = State<(Shared, Beat)>;

async fn metrics(State((shared, _)): AdminState) -> impl IntoResponse {
    match shared.metrics.render() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], format!("{error}\n"))
        }
    }
}

async fn livez(State((_, beat)): AdminState) -> impl IntoResponse {
    if beat.age() < STUCK {
        (StatusCode::OK, "alive\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("the engine has not moved for {:?}\n", beat.age()))
    }
}

async fn readyz(State((shared, _)): AdminState) -> impl IntoResponse {
    let troubles = shared.health.troubles();
    if troubles.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n")
    }
}
