//! The admin listener: `/metrics`, `/livez`, `/readyz`; and the look at the database that readiness goes by.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use super::state::Api;
use crate::health::Part;

/// Between two looks at the database.
const PROBE: Duration = Duration::from_secs(1);

pub(super) async fn serve(listener: TcpListener, api: Api) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .with_state(api);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!("the admin listener failed: {error}");
    }
}

/// Looks whether the database can be worked with. Logs a change, not each look.
pub(super) async fn probe(api: Api) {
    loop {
        match api.pool.probe().await {
            Ok(()) => api.health.up(Part::Database, "connection"),
            Err(error) => api.health.down(Part::Database, "connection", &error.to_string()),
        }
        tokio::time::sleep(PROBE).await;
    }
}

async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    match api.metrics.render() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], format!("{error}\n"))
        }
    }
}

async fn readyz(State(api): State<Api>) -> impl IntoResponse {
    let mut troubles = api.health.troubles();
    if *api.stop.borrow() > 0 {
        troubles.push("draining".to_owned());
    }
    if troubles.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n")
    }
}
