//! The API's connections to Postgres: a bounded number, opened when they are needed, lent to one request at a time.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::problem::{Code, Problem};
use crate::{
    postgres::connect::{Connection, DatabaseError, DatabaseSettings, connect},
    shipping::store::{Prepared, Store},
};

/// For the sessions of requests. A lock is waited for a moment only: whoever waits holds a connection. Plans are made once.
const SESSION: &str =
    "set lock_timeout = '2s'; set time zone 'UTC'; set plan_cache_mode = force_generic_plan; set jit = off";

/// A connection with its statements.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) connection: Connection,
    pub(super) prepared: Prepared,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Pool {
    settings: DatabaseSettings,
    store: Store,
    wait: Duration,
    permits: Semaphore,
    idle: Mutex<Vec<Seat>>,
}

/// A connection on loan. It comes back only by [`Lent::settle`]: whoever drops it was interrupted, and the connection is
/// closed, for nobody knows what it is in the middle of.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    pub(super) seat: Seat,
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(settings: DatabaseSettings, store: Store, size: usize, wait: Duration) -> Self {
        Self { settings, store, wait, permits: Semaphore::new(size), idle: Mutex::default() }
    }

    /// Waits for a connection that is free, not for ever, or opens one.
    ///
    /// # Errors
    /// When none becomes free, or the database can't be reached, refuses, or lacks the tables.
    pub(super) async fn lend(&self) -> Result<Lent<'_>, Problem> {
        let Ok(Ok(permit)) = tokio::time::timeout(self.wait, self.permits.acquire()).await else {
            return Err(Problem::new(Code::Overloaded, "no connection to the database became free in time"));
        };
        while let Some(seat) = self.take_idle() {
            if !seat.connection.client.is_closed() {
                return Ok(Lent { seat, pool: self, _permit: permit });
            }
        }
        let seat = self.open().await?;
        Ok(Lent { seat, pool: self, _permit: permit })
    }

    async fn open(&self) -> Result<Seat, DatabaseError> {
        let connection = connect(&self.settings, "shipments api").await?;
        connection.client.batch_execute(SESSION).await?;
        let prepared = self.store.prepare(&connection.client).await?;
        Ok(Seat { connection, prepared })
    }

    /// Whether there is a database to work with, asked on a connection of its own when none is idle.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn probe(&self) -> Result<(), DatabaseError> {
        let seat = match self.take_idle() {
            Some(seat) if !seat.connection.client.is_closed() => seat,
            _ => self.open().await?,
        };
        seat.connection.client.batch_execute("").await?;
        self.put(seat);
        Ok(())
    }

    fn take_idle(&self) -> Option<Seat> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Puts a connection where the next one looks, unless there are enough.
    fn put(&self, seat: Seat) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !seat.connection.client.is_closed() && idle.len() < self.permits.available_permits().max(1) {
            idle.push(seat);
        }
    }
}

impl Lent<'_> {
    /// Ends the loan with what came of it. A connection that may be broken is closed.
    pub(super) fn settle<T>(self, result: Result<T, Problem>) -> Result<T, Problem> {
        let Self { seat, pool, _permit: permit } = self;
        let broken = matches!(&result, Err(problem) if problem.code == Code::DatabaseUnavailable);
        drop(permit);
        if !broken {
            pool.put(seat);
        }
        result
    }
}
