//! The consumer's connections to Postgres: a bounded number, opened when they are needed, lent to one task at a time.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{inbox::Inbox, settings::ConsumerSettings};
use crate::postgres::connect::{Connection, DatabaseError, connect};

/// A connection with its statements.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) connection: Connection,
    pub(super) inbox: Inbox,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Pool {
    settings: ConsumerSettings,
    permits: Semaphore,
    idle: Mutex<Vec<Seat>>,
}

/// A connection on loan. It comes back only by [`Lent::give_back`]: whoever drops it was interrupted, and the connection
/// is closed, for nobody knows what it is in the middle of.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    pub(super) seat: Seat,
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(settings: &ConsumerSettings) -> Self {
        Self {
            settings: settings.clone(),
            permits: Semaphore::new(settings.connections),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Waits for a connection that is free, or opens one.
    ///
    /// # Errors
    /// When the database can't be reached, refuses, or lacks the tables.
    pub(super) async fn lend(&self) -> Result<Lent<'_>, DatabaseError> {
        let Ok(permit) = self.permits.acquire().await else {
            return Err(DatabaseError::Schema("the consumer has ended".to_owned()));
        };
        while let Some(seat) = self.take_idle() {
            if !seat.connection.client.is_closed() {
                return Ok(Lent { seat, pool: self, _permit: permit });
            }
        }
        let connection = connect(&self.settings.database, &format!("relay {}", self.settings.name)).await?;
        let inbox = Inbox::prepare(&connection.client, &self.settings).await?;
        Ok(Lent { seat: Seat { connection, inbox }, pool: self, _permit: permit })
    }

    fn take_idle(&self) -> Option<Seat> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl Lent<'_> {
    /// For the next one.
    pub(super) fn give_back(self) {
        let Self { seat, pool, _permit } = self;
        if !seat.connection.client.is_closed() {
            pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(seat);
        }
    }
}
