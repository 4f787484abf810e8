//! The simulator's server: takes connections, does the work, and spoils the answer if the script says so.

use std::{
    io,
    os::fd::AsFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Limited};
use hyper::{
    Request, Response, body::Incoming, header::AUTHORIZATION, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
};

use super::{
    api::{self, Call, News, Reply, error},
    ledger::{Ledger, LedgerError},
    script::{Script, Stage},
    spoil::{Body, Resetter, right, spoil},
    webhooks::{QUEUE, Receiver, deliver},
};
use crate::{config::Secret, http::client::HttpClient};

/// Connections at a time.
const CONNECTIONS: usize = 512;
/// The longest body of a request.
const BODY: usize = 1024 * 1024;
/// Between two looks at refunds that are due.
const TICK: Duration = Duration::from_millis(50);
/// The longest delay of a rule.
const DELAY: Duration = Duration::from_secs(60);

/// How to run it.
#[derive(Debug, Clone)]
pub struct SimSettings {
    /// The ledger's file.
    pub ledger: PathBuf,
    /// The key it takes.
    pub api_key: Secret,
    /// How it misbehaves at first.
    pub script: Script,
    /// Where webhooks go.
    pub receiver: Option<Receiver>,
}

/// The carrier, and what it knows.
#[derive(Debug)]
struct Sim {
    ledger: Mutex<Ledger>,
    stage: Mutex<Stage>,
    news: Option<mpsc::Sender<News>>,
    authorization: String,
}

/// Opens the ledger and serves until the future is dropped.
///
/// # Errors
/// When the ledger can't be used.
pub async fn serve(
    settings: SimSettings,
    listener: TcpListener,
    http: HttpClient,
) -> Result<(), LedgerError> {
    let ledger = Ledger::open(&settings.ledger)?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let news = settings.receiver.as_ref().map(|_| sender);
    let key = settings.api_key.expose();
    let sim = Arc::new(Sim {
        ledger: Mutex::new(ledger),
        stage: Mutex::new(Stage::new(settings.script, Instant::now())),
        news,
        authorization: format!("Basic {}", STANDARD.encode(format!("{key}:"))),
    });
    let accept = accept(sim.clone(), listener);
    let settle = settle(sim);
    let deliver = async {
        match settings.receiver {
            Some(to) => deliver(to, http, receiver).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = accept => Ok(()),
        result = settle => result,
        () = deliver => Ok(()),
    }
}

async fn accept(sim: Arc<Sim>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(TICK).await;
                continue;
            }
        };
        let sim = sim.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(sim, stream).await {
                tracing::debug!(%peer, "a connection ended: {error}");
            }
            drop(place);
        });
    }
}

async fn converse(sim: Arc<Sim>, stream: TcpStream) -> Result<(), hyper::Error> {
    // Without a second handle there are farewells instead of resets.
    let resetter = stream.as_fd().try_clone_to_owned().map(|fd| Arc::new(Resetter::new(fd.into()))).ok();
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(sim.clone(), request, resetter.clone()));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(
    sim: Arc<Sim>,
    request: Request<Incoming>,
    resetter: Option<Arc<Resetter>>,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY).collect().await.map_err(io::Error::other)?.to_bytes();
    let (method, path) = (head.method.as_str().to_owned(), head.uri.path().to_owned());
    let query = head.uri.query().unwrap_or_default().to_owned();
    let Some((route, _)) = api::route(&method, &path) else {
        let reply = on_disk(move || sim.control(&method, &path, &body)).await?;
        return Ok(right(&reply));
    };
    let given = head.headers.get(AUTHORIZATION).map(hyper::header::HeaderValue::as_bytes);
    if given != Some(sim.authorization.as_bytes()) {
        return Ok(right(&error(401, "APIKEY.INACTIVE", "This api key is not known.")));
    }
    let rule = sim.stage().hit(route, Instant::now(), rand::random());
    if let Some(rule) = &rule {
        tokio::time::sleep(Duration::from_millis(rule.delay_ms).min(DELAY)).await;
    }
    let reply = if rule.as_ref().is_none_or(|rule| rule.work) {
        on_disk(move || sim.work(&method, &path, &query, &body)).await?
    } else {
        error(500, "NOT_DONE", "Nothing was done.")
    };
    match (rule, resetter) {
        (Some(rule), Some(resetter)) => spoil(&rule, &reply, resetter).await,
        _ => Ok(right(&reply)),
    }
}

/// Work that syncs a file does so on a thread of its own.
async fn on_disk(
    work: impl FnOnce() -> Result<Reply, LedgerError> + Send + 'static,
) -> Result<Reply, io::Error> {
    match spawn_blocking(work).await.map_err(io::Error::other)? {
        Ok(reply) => Ok(reply),
        Err(error) => {
            tracing::error!("{}", crate::cause::chain(&error));
            Err(io::Error::other(error))
        }
    }
}

/// Decides refunds when they are due.
async fn settle(sim: Arc<Sim>) -> Result<(), LedgerError> {
    loop {
        tokio::time::sleep(TICK).await;
        let sim = sim.clone();
        let settle = move || {
            let news = api::settle(&mut sim.ledger(), now())?;
            news.into_iter().for_each(|news| sim.tell(news));
            Ok::<(), LedgerError>(())
        };
        match spawn_blocking(settle).await {
            Ok(result) => result?,
            Err(error) => tracing::error!("refunds could not be decided: {error}"),
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Sim {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, news: News) {
        if let Some(sender) = &self.news
            && sender.try_send(news).is_err()
        {
            tracing::warn!("a webhook is dropped: {QUEUE} are waiting");
        }
    }

    fn told(&self, mut reply: Reply) -> Reply {
        if let Some(news) = reply.news.take() {
            self.tell(news);
        }
        reply
    }

    fn work(&self, method: &str, path: &str, query: &str, body: &[u8]) -> Result<Reply, LedgerError> {
        let Some((route, id)) = api::route(method, path) else { return Ok(unknown()) };
        let refund = self.stage().refund();
        let call = Call { route, id, query, body, now: now(), refund };
        let reply = api::work(&mut self.ledger(), &call)?;
        Ok(self.told(reply))
    }

    /// Calls that are about the simulator, not of the carrier's API.
    fn control(&self, method: &str, path: &str, body: &[u8]) -> Result<Reply, LedgerError> {
        let script = |script: &Script| serde_json::to_value(script).unwrap_or(Value::Null);
        let ok = |body| Ok(Reply { status: 200, body, news: None });
        match (method, path) {
            ("GET", "/_ledger") => ok(self.ledger().book().summary()),
            ("GET", "/_script") => ok(script(self.stage().script())),
            ("PUT", "/_script") => match serde_json::from_slice::<Script>(body) {
                Ok(new) => {
                    *self.stage() = Stage::new(new, Instant::now());
                    ok(json!({}))
                }
                Err(wrong) => Ok(error(422, "SCRIPT.INVALID", &wrong.to_string())),
            },
            ("DELETE", "/_script") => {
                *self.stage() = Stage::new(Script::default(), Instant::now());
                ok(json!({}))
            }
            ("POST", "/_track") => {
                let reply = api::track(&mut self.ledger(), body, now())?;
                Ok(self.told(reply))
            }
            _ => Ok(unknown()),
        }
    }
}

fn unknown() -> Reply {
    error(404, "NOT_FOUND", "There is no such call.")
}
