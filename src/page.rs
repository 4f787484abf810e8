//! The operators' page: what `relay status`, `dlq`, `key`, `pause`, `trace` and `audit` show and do, in a browser, on the admin
//! listener. `docs/page.md` is for its users.
//!
//! A request passes `gate`, which knows who may (`access`), and reaches a handler that asks what the command line asks, in
//! [`operator`](crate::operator). It has a few connections of its own, and everything about it is bounded: whatever is asked of
//! it, and whatever answers late, publishing goes on.

mod access;
mod acts;
mod assets;
mod dead;
mod gate;
mod history;
mod input;
mod looks;
mod outbox;
mod problem;
mod shipments;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router, middleware,
    routing::{any, get, post},
};
use tokio::sync::Semaphore;

use crate::{amqp::AmqpSettings, health::Health, metrics::Metrics, postgres::settings::DatabaseSettings};

/// Requests at work at a time.
const REQUESTS: usize = 16;

/// Everything the page needs to know, checked.
#[derive(Debug)]
pub struct PageSettings {
    /// Where it is listened on.
    pub address: SocketAddr,
    /// What a reader has to know, if anything.
    pub read_token: Option<Token>,
    /// What whoever changes something has to know; without it nobody can.
    pub operator_token: Option<Token>,
    /// What it is about, at least one.
    pub outboxes: Vec<PageOutbox>,
}

/// A token, which is never shown.
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// An outbox that the page is about.
#[derive(Debug)]
pub struct PageOutbox {
    /// Its name.
    pub name: String,
    /// What its relay reports.
    pub metrics: Metrics,
    /// Whether its relay can work.
    pub health: Health,
    /// The database, as whoever does what operators do.
    pub database: DatabaseSettings,
    /// The broker, to remove letters of rows that have moved on.
    pub amqp: AmqpSettings,
    /// Where such letters are.
    pub dead_letter_queue: String,
    /// The exchange of a pause that names only a routing key.
    pub exchange: String,
}

/// The page. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Page(Arc<Shared>);

/// What every request shares.
#[derive(Debug)]
struct Shared {
    access: access::Access,
    outboxes: Vec<outbox::Watched>,
    /// Places for requests.
    places: Semaphore,
    refusals: gate::Refusals,
}

impl Page {
    /// One that nobody has asked for anything yet.
    #[must_use]
    pub fn new(settings: PageSettings) -> Self {
        let token = |token: &Option<Token>| token.as_ref().map(|Token(text)| text.clone());
        let (read, operate) = (token(&settings.read_token), token(&settings.operator_token));
        Self(Arc::new(Shared {
            access: access::Access::new(settings.address.ip(), read.as_deref(), operate.as_deref()),
            outboxes: settings.outboxes.into_iter().map(outbox::Watched::new).collect(),
            places: Semaphore::new(REQUESTS),
            refusals: gate::Refusals::default(),
        }))
    }

    /// What it serves, for the log.
    #[must_use]
    pub fn serves(&self) -> &'static str {
        let access = &self.0.access;
        match (access.is_closed(), access.has_operators()) {
            (true, _) => "closed, for page.read_token is not set and admin.listen is not loopback",
            (false, true) => "for whoever has page.operator_token to act, and others to look",
            (false, false) => "to look at only, for page.operator_token is not set",
        }
    }

    /// Every path of it. Nothing else is touched: neither metrics nor probes.
    pub fn router(&self) -> Router {
        let api = Router::new()
            .route("/api/session", get(looks::session))
            .route("/api/outboxes/{outbox}/status", get(looks::status))
            .route("/api/outboxes/{outbox}/history", get(looks::history))
            .route("/api/outboxes/{outbox}/pauses", get(looks::pauses))
            .route("/api/outboxes/{outbox}/key", get(looks::key))
            .route("/api/outboxes/{outbox}/trace/{event}", get(looks::trace))
            .route("/api/outboxes/{outbox}/audit", get(looks::audit))
            .route("/api/outboxes/{outbox}/dead", get(dead::list))
            .route("/api/outboxes/{outbox}/dead/{row}", get(dead::show))
            .route("/api/outboxes/{outbox}/dead/replay", post(dead::replay))
            .route("/api/outboxes/{outbox}/dead/discard", post(dead::discard))
            .route("/api/outboxes/{outbox}/pause", post(acts::pause))
            .route("/api/outboxes/{outbox}/resume", post(acts::resume))
            .route("/api/outboxes/{outbox}/key/skip", post(acts::skip))
            .route("/api/outboxes/{outbox}/key/release", post(acts::release))
            .route("/api/outboxes/{outbox}/shipments", get(shipments::list))
            .route("/api/outboxes/{outbox}/shipments/{shipment}", get(shipments::show))
            .route("/api/{*path}", any(nothing));
        let all = assets::ASSETS.iter().fold(api, |router, asset| {
            router.route(asset.path, get(move || std::future::ready(asset.answer())))
        });
        all.layer(middleware::from_fn_with_state(self.clone(), gate::gate)).with_state(self.clone())
    }

    /// Keeps what the charts show, until the future is dropped. It asks nobody: relay measures all of it anyway.
    pub async fn sample(self) {
        let mut ticks = tokio::time::interval(history::EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.0.outboxes.iter().for_each(outbox::Watched::sample);
        }
    }

    /// The outbox of this name.
    fn outbox(&self, name: &str) -> Result<&outbox::Watched, problem::Problem> {
        self.0.outboxes.iter().find(|outbox| outbox.name == name).ok_or_else(|| {
            let names: Vec<_> = self.0.outboxes.iter().map(|outbox| outbox.name.as_str()).collect();
            problem::Problem::missing(format!("there is no outbox {name:?} here"))
                .cure(format!("name one of these: {}", names.join(", ")))
        })
    }
}

async fn nothing() -> problem::Problem {
    problem::Problem::missing("there is nothing under this path")
}
