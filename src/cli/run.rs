//! `relay run`.

use std::net::SocketAddr;

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Exit, Failure, Sources, exit::runtime, logging};
use crate::{
    app::{self, Unusable},
    config::Needs,
    daemon,
    metrics::Metrics,
};

pub(super) fn run(sources: &Sources) -> Result<Exit, Failure> {
    let loaded = sources.load(Needs { database: true, amqp: true })?;
    let config = &loaded.config;
    logging::start(&config.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let (database_url, amqp_url) = (
        config.database_url().map_err(|error| Failure::Failed(error.to_string()))?,
        config.amqp_url().map_err(|error| Failure::Failed(error.to_string()))?,
    );
    let settings = app::daemon(config, database_url, amqp_url)?;
    let metrics = Metrics::new(&config.outbox.name).map_err(|error| Failure::Failed(error.to_string()))?;
    runtime()?.block_on(async {
        let address = config.admin.listen;
        let listener = listen("admin.listen", address).await?;
        let bound = listener.local_addr().unwrap_or(address);
        tracing::info!(
            address = %bound,
            "relay {} starts: outbox {} at {}, metrics on http://{bound}/metrics",
            env!("CARGO_PKG_VERSION"), config.outbox.name, settings.database.server()
        );
        Ok(daemon::run(settings, metrics, listener, signals()?).await.into())
    })
}

/// Listens on the address that the setting `key` has.
pub(crate) async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, Unusable> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| Unusable::new(key, format!("cannot listen on {address}: {error}")))
}

/// Counts SIGTERM and SIGINT.
pub(crate) fn signals() -> Result<watch::Receiver<u8>, Failure> {
    let failed = |source| Failure::Io { what: "cannot wait for signals".to_owned(), source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (count, counted) = watch::channel(0_u8);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            count.send_modify(|count| *count = count.saturating_add(1));
        }
    });
    Ok(counted)
}
