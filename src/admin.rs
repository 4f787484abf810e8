//! The admin listener of every daemon: `/metrics`, `/livez`, `/readyz`. It answers questions and takes no orders; what
//! else is served beside it, whoever starts it decides.
//!
//! Whoever reaches it may open connections, a scanner thousands, and each takes a descriptor that the daemon may need for its
//! servers. So there are so many at a time, and none that asks for nothing, or does not read its answer, stays.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use crate::accept::Entrance;

/// Connections at a time; others wait in the system's queue. Far below the 1,024 descriptors that a process often may have.
const CONNECTIONS: usize = 256;
/// The longest head, in bytes: more is answered with 431. A browser may send what others on this machine had it remember.
const HEAD_BYTES: usize = 32 * 1024;
/// The page asks every five seconds, and nothing that is asked for here takes longer than a minute.
const LIMITS: Limits = Limits {
    head: Duration::from_secs(10),
    life: Duration::from_secs(300),
    parting: Duration::from_secs(90),
};

/// What a connection may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// The head of a request, from the start or from the answer before it.
    head: Duration,
    /// Then it ends with the answer under way.
    life: Duration,
    /// And this much later without it.
    parting: Duration,
}

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
    let mut door = Entrance::new(listener, Arc::new(Semaphore::new(CONNECTIONS)));
    while let Some((stream, place)) = door.next().await {
        let router = router.clone();
        tokio::spawn(async move {
            converse(router, stream, LIMITS).await;
            drop(place);
        });
    }
}

/// Answers on a connection for as long as it may last.
async fn converse(router: Router, stream: TcpStream, limits: Limits) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    // Whatever goes wrong on it is the other side's trouble.
    if timeout(limits.life, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(limits.parting, connection).await;
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What comes back on a connection to which this is sent, until it ends.
    async fn answers(path: &str, limits: Limits) -> String {
        let router = Router::new()
            .route("/never", get(std::future::pending::<()>))
            .route("/at-once", get(|| async { "here" }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("it has one")).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("somebody came");
        let serving = tokio::spawn(converse(router, stream, limits));
        client.write_all(format!("GET {path} HTTP/1.1\r\nhost: relay\r\n").as_bytes()).await.expect("sent");
        if path != "/half" {
            client.write_all(b"\r\n").await.expect("sent");
        }
        let mut answer = String::new();
        let reading = timeout(Duration::from_secs(30), client.read_to_string(&mut answer));
        reading.await.expect("the connection ends").expect("it is text");
        serving.await.expect("it ended well");
        answer
    }

    #[tokio::test]
    async fn no_connection_lasts_whatever_it_asks_for() {
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(3600));
        let head = Limits { head: short, life: long, parting: long };
        assert_eq!(answers("/half", head).await, "", "no head came");
        assert!(answers("/at-once", head).await.ends_with("here"), "and then no other");
        let life = Limits { head: long, life: short, parting: long };
        assert!(answers("/at-once", life).await.ends_with("here"));
        let parting = Limits { head: long, life: short, parting: short };
        assert_eq!(answers("/never", parting).await, "");
    }
}
