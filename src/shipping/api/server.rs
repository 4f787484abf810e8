//! Connections: so many, each with its time limits; and the drain.

use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{
    admin, routes,
    state::{Api, ApiSettings, Shared},
    waiting,
};
use crate::{
    accept::Entrance,
    drain::{Ended, signalled},
    health::{Health, Part},
    metrics::ApiMetrics,
};

/// The longest head of a request, in bytes: more is answered with 431.
const HEAD: usize = 16 * 1024;
/// Headers of a request, likewise.
const HEADERS: usize = 64;

/// Where it listens.
#[derive(Debug)]
pub struct Listeners {
    /// For callers.
    pub api: TcpListener,
    /// For `/metrics`, `/livez` and `/readyz`.
    pub admin: TcpListener,
}

/// Serves until `stop` says 1 (drain) and, if need be, 2 (at once). A database that is away is no reason to end.
pub async fn run(
    settings: ApiSettings,
    metrics: ApiMetrics,
    listeners: Listeners,
    mut stop: watch::Receiver<u8>,
) -> Ended {
    let grace = settings.grace;
    let health = Health::waiting_for(&[Part::Database]);
    let api: Api = Arc::new(Shared::new(settings, metrics, health, stop.clone()));
    let mut tasks = JoinSet::new();
    tasks.spawn(crate::admin::serve(listeners.admin, admin::admin(&api)));
    tasks.spawn(admin::probe(api.clone()));
    tasks.spawn(waiting::run(api.clone()));
    let places = Arc::new(Semaphore::new(api.settings.limits.connections));
    let router = routes::router(api.clone());
    let accepting = accept(&api, listeners.api, &router, &places);
    tokio::select! {
        () = accepting => return Ended::Failed,
        Some(_) = tasks.join_next() => return Ended::Failed,
        () = signalled(&mut stop, 1) => {}
    }
    tracing::info!("draining: waiting up to {grace:?} for what is being worked at");
    let all = u32::try_from(api.settings.limits.connections).unwrap_or(u32::MAX);
    let ended = tokio::select! {
        _ = places.acquire_many(all) => Ended::Drained,
        () = tokio::time::sleep(grace) => Ended::GraceOver,
        () = signalled(&mut stop, 2) => Ended::Aborted,
    };
    match ended {
        Ended::Drained => tracing::info!("drained"),
        Ended::GraceOver => {
            tracing::warn!("not drained: {} connections are cut", api.metrics.connections.get())
        }
        Ended::Aborted | Ended::Failed => tracing::warn!("second signal: stopping at once"),
    }
    ended
}

async fn accept(api: &Api, listener: TcpListener, router: &Router, places: &Arc<Semaphore>) {
    let mut door = Entrance::new(listener, Arc::clone(places));
    while let Some((stream, place)) = door.next().await {
        let (api, router) = (api.clone(), router.clone());
        tokio::spawn(async move {
            api.metrics.connections.inc();
            if let Err(error) = converse(&api, router, stream).await {
                tracing::debug!("a connection ended: {error}");
            }
            api.metrics.connections.dec();
            drop(place);
        });
    }
}

async fn converse(api: &Api, router: Router, stream: TcpStream) -> Result<(), hyper::Error> {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(api.settings.limits.arrival)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let mut stop = api.stop.clone();
    tokio::select! {
        result = connection.as_mut() => return result,
        () = signalled(&mut stop, 1) => {}
    }
    // The request under way is answered, and no other taken.
    connection.as_mut().graceful_shutdown();
    connection.await
}
