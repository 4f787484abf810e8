//! The admin listener of every daemon: `/metrics`, `/livez`, `/readyz`. It answers questions and takes no orders; what
//! else is served beside it, whoever starts it decides.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

/// Answers a question: the text, or why there is none.
pub type Answer = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// What it knows.
#[derive(Clone)]
pub struct Admin {
    /// The metrics, in Prometheus' text format.
    pub metrics: Answer,
    /// Whether the process lives; what is stuck, if not.
    pub alive: Answer,
    /// Whether it can work; what is wrong, if not.
    pub ready: Answer,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admin")
    }
}

/// `ready`, or what is wrong, a line each.
///
/// # Errors
/// When something is wrong.
pub fn readiness(troubles: &[String]) -> Result<String, String> {
    if troubles.is_empty() { Ok("ready\n".to_owned()) } else { Err(troubles.join("\n") + "\n") }
}

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, admin: Admin) {
    serve_beside(listener, admin, Router::new()).await;
}

/// Serves until the future is dropped, and beside its own paths whatever else there is to be served here.
pub async fn serve_beside(listener: TcpListener, admin: Admin, others: Router) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(admin)
        .merge(others);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!("the admin listener failed: {error}");
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    match (admin.metrics)() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], format!("{error}\n"))
        }
    }
}

async fn livez(State(admin): State<Admin>) -> impl IntoResponse {
    answer((admin.alive)())
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    answer((admin.ready)())
}

fn answer(answer: Result<String, String>) -> impl IntoResponse {
    match answer {
        Ok(text) => (StatusCode::OK, text),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
    }
}
