//! Transactions whose statements are planned once a connection, not each time, and whose answers are not waited for for
//! ever.
//!
//! Measured on the workers of shipping: parsing and planning took 38% of all the time that Postgres took.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::try_join;
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{
    Client, Error, Row, Statement, ToStatement, Transaction,
    types::{ToSql, Type},
};

/// Values for a statement, each with its type.
pub type Typed<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// How many statements a connection keeps; another one takes the place of any.
const MOST: usize = 256;

/// The statements that a connection has prepared, by their text.
#[derive(Debug, Default)]
pub struct Statements(Mutex<HashMap<Box<str>, Statement>>);

impl Statements {
    fn all(&self) -> MutexGuard<'_, HashMap<Box<str>, Statement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a transaction needs to know of its connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) statements: &'a Statements,
    /// The task that serves the connection: without it the connection is closed.
    pub(super) task: &'a JoinHandle<()>,
    /// How long an answer may take.
    pub(super) patience: Duration,
}

impl Of<'_> {
    /// Waits for the answer, but not for ever: what takes longer than the server allows a statement, and somewhat more,
    /// will not come. Then the connection is closed, and that is the answer.
    pub(super) async fn answer<T>(
        self,
        mut work: impl Future<Output = Result<T, Error>> + Unpin,
    ) -> Result<T, Error> {
        if let Ok(answer) = timeout(self.patience, &mut work).await {
            return answer;
        }
        self.task.abort();
        work.await
    }
}

/// A transaction. What is asked by [`Tx::query_typed`] and its like is prepared when the connection is asked it first;
/// all else is as of the library's [`Transaction`], which this is, too. Its methods given here close the connection when
/// the server does not answer.
#[expect(missing_debug_implementations, reason = "the library's has none")]
pub struct Tx<'a> {
    inner: Transaction<'a>,
    /// None: it has everything planned each time, and waits for as long as it takes.
    of: Option<Of<'a>>,
}

impl<'a> Deref for Tx<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.inner
    }
}

impl<'a> From<Transaction<'a>> for Tx<'a> {
    /// One that keeps no statements, and waits for as long as it takes.
    fn from(inner: Transaction<'a>) -> Self {
        Self { inner, of: None }
    }
}

impl<'a> Tx<'a> {
    pub(super) fn of(inner: Transaction<'a>, of: Of<'a>) -> Self {
        Self { inner, of: Some(of) }
    }

    async fn answer<T>(&self, work: impl Future<Output = Result<T, Error>> + Unpin) -> Result<T, Error> {
        answer(self.of, work).await
    }

    /// Commits.
    ///
    /// # Errors
    /// When it can't be committed, or nobody knows.
    pub async fn commit(self) -> Result<(), Error> {
        answer(self.of, Box::pin(self.inner.commit())).await
    }

    /// Rolls back, and waits for it.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn rollback(self) -> Result<(), Error> {
        answer(self.of, Box::pin(self.inner.rollback())).await
    }

    /// As the library's.
    ///
    /// # Errors
    /// As there.
    pub async fn query<T: ToStatement + ?Sized + Sync>(
        &self,
        statement: &T,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.answer(Box::pin(self.inner.query(statement, values))).await
    }

    /// As the library's.
    ///
    /// # Errors
    /// As there.
    pub async fn query_opt<T: ToStatement + ?Sized + Sync>(
        &self,
        statement: &T,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        self.answer(Box::pin(self.inner.query_opt(statement, values))).await
    }

    /// As the library's.
    ///
    /// # Errors
    /// As there.
    pub async fn query_one<T: ToStatement + ?Sized + Sync>(
        &self,
        statement: &T,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        self.answer(Box::pin(self.inner.query_one(statement, values))).await
    }

    /// As the library's.
    ///
    /// # Errors
    /// As there.
    pub async fn execute<T: ToStatement + ?Sized + Sync>(
        &self,
        statement: &T,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.answer(Box::pin(self.inner.execute(statement, values))).await
    }

    /// As the library's.
    ///
    /// # Errors
    /// As there.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.answer(Box::pin(self.inner.batch_execute(sql))).await
    }

    /// All rows of a statement's result.
    ///
    /// # Errors
    /// When it fails.
    pub async fn query_typed(&self, sql: &str, parameters: Typed<'_>) -> Result<Vec<Row>, Error> {
        match self.prepared(sql, parameters) {
            Some(statement) => self.again(sql, self.query(&statement, &values(parameters)).await),
            None => self.first(sql, parameters, Box::pin(self.inner.query_typed(sql, parameters))).await,
        }
    }

    /// Its only row, if there is one.
    ///
    /// # Errors
    /// When it fails, or there are several rows.
    pub async fn query_typed_opt(&self, sql: &str, parameters: Typed<'_>) -> Result<Option<Row>, Error> {
        match self.prepared(sql, parameters) {
            Some(statement) => self.again(sql, self.query_opt(&statement, &values(parameters)).await),
            None => self.first(sql, parameters, Box::pin(self.inner.query_typed_opt(sql, parameters))).await,
        }
    }

    /// Its only row.
    ///
    /// # Errors
    /// When it fails, or there is not exactly one.
    pub async fn query_typed_one(&self, sql: &str, parameters: Typed<'_>) -> Result<Row, Error> {
        match self.prepared(sql, parameters) {
            Some(statement) => self.again(sql, self.query_one(&statement, &values(parameters)).await),
            None => self.first(sql, parameters, Box::pin(self.inner.query_typed_one(sql, parameters))).await,
        }
    }

    /// The statement, if it is prepared for values of these types.
    fn prepared(&self, sql: &str, parameters: Typed<'_>) -> Option<Statement> {
        let statement = self.of?.statements.all().get(sql).cloned()?;
        statement.params().iter().eq(parameters.iter().map(|(_, of)| of)).then_some(statement)
    }

    /// Asks it unprepared, and prepares it for the next time. Both are sent at once, the question first: of statements
    /// that are sent together none overtakes another for being known already.
    async fn first<T>(
        &self,
        sql: &str,
        parameters: Typed<'_>,
        answer: impl Future<Output = Result<T, Error>> + Unpin,
    ) -> Result<T, Error> {
        let Some(Of { statements, .. }) = self.of else { return self.answer(answer).await };
        let types: Vec<Type> = parameters.iter().map(|(_, of)| of.clone()).collect();
        let both = Box::pin(try_join(answer, self.inner.prepare_typed(sql, &types)));
        let (answer, statement) = self.answer(both).await?;
        let mut kept = statements.all();
        if kept.len() >= MOST
            && let Some(any) = kept.keys().next().cloned()
        {
            kept.remove(&any);
        }
        kept.insert(sql.into(), statement);
        Ok(answer)
    }

    /// A prepared statement that failed is prepared anew next time: a change of the schema may be why.
    fn again<T>(&self, sql: &str, answer: Result<T, Error>) -> Result<T, Error> {
        if let (Err(_), Some(of)) = (&answer, self.of) {
            of.statements.all().remove(sql);
        }
        answer
    }
}

/// Waits, for ever only if nothing is known of the connection. What is waited for is boxed, or every handler's future would
/// hold several copies of it.
async fn answer<T>(
    of: Option<Of<'_>>,
    work: impl Future<Output = Result<T, Error>> + Unpin,
) -> Result<T, Error> {
    match of {
        Some(of) => of.answer(work).await,
        None => work.await,
    }
}

fn values<'a>(parameters: Typed<'a>) -> Vec<&'a (dyn ToSql + Sync)> {
    parameters.iter().map(|(value, _)| *value).collect()
}

/// Whom a statement can be put to: a transaction, or a client, which has it planned each time.
pub trait Asked: Sync {
    /// As [`Tx::query_typed`].
    ///
    /// # Errors
    /// As there.
    fn query_typed(
        &self,
        sql: &str,
        parameters: Typed<'_>,
    ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send;

    /// As [`Tx::query_typed_opt`].
    ///
    /// # Errors
    /// As there.
    fn query_typed_opt(
        &self,
        sql: &str,
        parameters: Typed<'_>,
    ) -> impl Future<Output = Result<Option<Row>, Error>> + Send;

    /// As [`Tx::query_typed_one`].
    ///
    /// # Errors
    /// As there.
    fn query_typed_one(
        &self,
        sql: &str,
        parameters: Typed<'_>,
    ) -> impl Future<Output = Result<Row, Error>> + Send;
}

macro_rules! asked {
    ($for:ty) => {
        impl Asked for $for {
            async fn query_typed(&self, sql: &str, parameters: Typed<'_>) -> Result<Vec<Row>, Error> {
                Self::query_typed(self, sql, parameters).await
            }

            async fn query_typed_opt(&self, sql: &str, parameters: Typed<'_>) -> Result<Option<Row>, Error> {
                Self::query_typed_opt(self, sql, parameters).await
            }

            async fn query_typed_one(&self, sql: &str, parameters: Typed<'_>) -> Result<Row, Error> {
                Self::query_typed_one(self, sql, parameters).await
            }
        }
    };
}

asked!(Tx<'_>);
asked!(Client);
asked!(super::client::Client);
