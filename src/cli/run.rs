//! `relay run`.

use std::net::SocketAddr;

use axum::Router;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Exit, Failure, Sources, end_tracing, exit::runtime, logging, start_tracing};
use crate::{
    app::{self, Unusable},
    config::{self, Config, Needs, Secret},
    daemon::{self, Door, Outbox},
    health::Health,
    metrics::Metrics,
    page::{Page, PageSettings, Token},
};

pub(super) fn run(sources: &Sources) -> Result<Exit, Failure> {
    let loaded = sources.load_all(Needs { database: true, amqp: true })?;
    // What is the process's is the same in all.
    let process = &loaded[0].config;
    logging::start(&process.log);
    for warning in loaded.iter().flat_map(|loaded| &loaded.warnings) {
        tracing::warn!("{warning}");
    }
    let outboxes = loaded.iter().map(|loaded| outbox(&loaded.config)).collect::<Result<Vec<_>, _>>()?;
    let runtime = runtime()?;
    let telemetry = start_tracing("relay", &runtime);
    runtime.block_on(async {
        let address = process.admin.listen;
        let listener = listen("admin.listen", address).await?;
        let bound = listener.local_addr().unwrap_or(address);
        tracing::info!(
            address = %bound,
            "relay {} starts: {}, metrics on http://{bound}/metrics",
            env!("CARGO_PKG_VERSION"),
            outboxes
                .iter()
                .map(|outbox| format!("outbox {} at {}", outbox.name, outbox.settings.database.server()))
                .collect::<Vec<_>>()
                .join(", ")
        );
        let others = match process.page.enabled {
            true => page(&process.page, bound, loaded.iter().map(|loaded| &loaded.config).zip(&outboxes))?,
            false => Router::new(),
        };
        let door = Door { listener, others };
        let ended = daemon::run(outboxes, telemetry.tracer(), door, signals()?).await;
        end_tracing(telemetry, ended).await;
        Ok(ended.into())
    })
}

fn outbox(config: &Config) -> Result<Outbox, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::Failed(error.to_string());
    let database_url = config.database_url().map_err(|error| failed(&error))?;
    let amqp_url = config.amqp_url().map_err(|error| failed(&error))?;
    Ok(Outbox {
        name: config.outbox.name.clone(),
        settings: app::outbox(config, database_url, amqp_url)?,
        metrics: Metrics::new(&config.outbox.name).map_err(|error| failed(&error))?,
        health: Health::new(),
    })
}

/// The operators' page, about these outboxes.
fn page<'a>(
    settings: &config::Page,
    address: SocketAddr,
    outboxes: impl Iterator<Item = (&'a Config, &'a Outbox)>,
) -> Result<Router, Unusable> {
    let outboxes = outboxes.map(|(config, outbox)| {
        app::page_outbox(config, &outbox.settings, outbox.metrics.clone(), outbox.health.clone())
    });
    let token = |secret: &Option<Secret>| secret.as_ref().map(|secret| Token(secret.expose().to_owned()));
    let page = Page::new(PageSettings {
        address,
        read_token: token(&settings.read_token),
        operator_token: token(&settings.operator_token),
        outboxes: outboxes.collect::<Result<_, _>>()?,
    });
    tracing::info!("the operators' page is on http://{address}/: {}", page.serves());
    // It ends with the process.
    tokio::spawn(page.clone().sample());
    Ok(page.router())
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
