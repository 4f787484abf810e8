//! Accepting connections: so many at a time, and without a line in the log for each try while none can be had.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::storm::Lasting;

/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// A listener with so many places.
#[derive(Debug)]
pub struct Entrance {
    listener: TcpListener,
    places: Arc<Semaphore>,
    trouble: Lasting,
}

impl Entrance {
    /// Lets in as many as there are places: whoever finds none waits in the system's queue.
    #[must_use]
    pub fn new(listener: TcpListener, places: Arc<Semaphore>) -> Self {
        Self { listener, places, trouble: Lasting::default() }
    }

    /// The next connection, with its place, which is free again when that is dropped. None once the places were closed.
    pub async fn next(&mut self) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(lasted) = self.trouble.over(Instant::now()) {
                        tracing::info!(seconds = lasted.as_secs(), "connections are accepted again");
                    }
                    return Some((stream, place));
                }
                Err(error) => {
                    // Out of files, say: then each try fails.
                    if let Some(lasting) = self.trouble.shows(Instant::now()) {
                        tracing::warn!(seconds = lasting.as_secs(), "cannot accept a connection: {error}");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
