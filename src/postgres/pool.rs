//! A bounded number of connections, opened when they are needed, lent to one task at a time.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::connect::{Connection, DatabaseError};

/// Opens connections, and prepares the statements of those who borrow them.
pub trait Opens: Send + Sync {
    /// The statements.
    type Prepared: Send;

    /// Opens one.
    ///
    /// # Errors
    /// When the database can't be reached, refuses, or lacks the tables.
    fn open(&self) -> impl Future<Output = Result<Seat<Self::Prepared>, DatabaseError>> + Send;
}

/// A connection with its prepared statements.
#[derive(Debug)]
pub struct Seat<P> {
    /// The connection.
    pub connection: Connection,
    /// Its statements.
    pub prepared: P,
}

/// The connections.
#[derive(Debug)]
pub struct Pool<O: Opens> {
    /// Who opens them.
    pub opener: O,
    permits: Semaphore,
    idle: Mutex<Vec<Seat<O::Prepared>>>,
}

/// Leave to borrow a connection.
pub type Turn<'a> = SemaphorePermit<'a>;

/// A connection on loan. It comes back only by [`Lent::give_back`]: whoever drops it was interrupted, and the connection
/// is closed, for nobody knows what it is in the middle of.
#[derive(Debug)]
pub struct Lent<'a, O: Opens> {
    /// The connection.
    pub seat: Seat<O::Prepared>,
    pool: &'a Pool<O>,
    turn: Turn<'a>,
}

impl<O: Opens> Pool<O> {
    /// At most so many connections.
    #[must_use]
    pub fn new(size: usize, opener: O) -> Self {
        Self { opener, permits: Semaphore::new(size), idle: Mutex::default() }
    }

    /// Waits until fewer connections are on loan than there may be.
    ///
    /// # Errors
    /// Never: the pool is not closed while it is there to be asked.
    pub async fn turn(&self) -> Result<Turn<'_>, DatabaseError> {
        let closed = |_| DatabaseError::Schema("the connections are closed for good".to_owned());
        self.permits.acquire().await.map_err(closed)
    }

    /// Lends a connection that is idle, or a new one.
    ///
    /// # Errors
    /// When none can be opened.
    pub async fn lend_in<'a>(&'a self, turn: Turn<'a>) -> Result<Lent<'a, O>, DatabaseError> {
        Ok(Lent { seat: self.idle_or_new().await?, pool: self, turn })
    }

    /// Waits for its turn, and lends a connection.
    ///
    /// # Errors
    /// When none can be opened.
    pub async fn lend(&self) -> Result<Lent<'_, O>, DatabaseError> {
        self.lend_in(self.turn().await?).await
    }

    /// Whether there is a database to work with. It takes no turn: whether all connections are busy is another question.
    ///
    /// # Errors
    /// Why not.
    pub async fn probe(&self) -> Result<(), DatabaseError> {
        let seat = self.idle_or_new().await?;
        let asked = async { Ok(seat.connection.client.batch_execute("").await?) };
        seat.connection.answer(asked).await?;
        self.put(seat, self.permits.available_permits().max(1));
        Ok(())
    }

    async fn idle_or_new(&self) -> Result<Seat<O::Prepared>, DatabaseError> {
        while let Some(seat) = self.take_idle() {
            if !seat.connection.client.is_closed() {
                return Ok(seat);
            }
        }
        self.opener.open().await
    }

    fn take_idle(&self) -> Option<Seat<O::Prepared>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Puts a connection where the next one looks, unless so many are there.
    fn put(&self, seat: Seat<O::Prepared>, most: usize) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !seat.connection.client.is_closed() && idle.len() < most {
            idle.push(seat);
        }
    }
}

impl<O: Opens> Lent<'_, O> {
    /// For the next one.
    pub fn give_back(self) {
        let Self { seat, pool, turn } = self;
        // Before the turn ends: whoever has the next one finds the connection, and opens none.
        pool.put(seat, pool.permits.available_permits() + 1);
        drop(turn);
    }
}
