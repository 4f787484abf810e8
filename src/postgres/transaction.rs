//! Transactions whose statements are planned once a connection, not each time.
//!
//! Measured on the workers of shipping: parsing and planning took 38% of all the time that Postgres took.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::future::try_join;
use tokio_postgres::{
    Client, Error, Row, Statement, Transaction,
    types::{ToSql, Type},
};

/// Values for a statement, each with its type.
pub type Typed<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// How many statements a connection keeps. Whoever makes up texts as it goes has the rest planned each time.
const MOST: usize = 256;

/// The statements that a connection has prepared, by their text.
#[derive(Debug, Default)]
pub struct Statements(Mutex<HashMap<Box<str>, Statement>>);

impl Statements {
    fn all(&self) -> MutexGuard<'_, HashMap<Box<str>, Statement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transaction. What is asked by [`Tx::query_typed`] and its like is prepared when the connection is asked it first;
/// all else is as of the library's [`Transaction`], which this is, too.
#[expect(missing_debug_implementations, reason = "the library's has none")]
pub struct Tx<'a> {
    inner: Transaction<'a>,
    /// None: it has everything planned each time.
    statements: Option<&'a Statements>,
}

impl<'a> Deref for Tx<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.inner
    }
}

impl<'a> From<Transaction<'a>> for Tx<'a> {
    /// One that keeps no statements.
    fn from(inner: Transaction<'a>) -> Self {
        Self { inner, statements: None }
    }
}

impl<'a> Tx<'a> {
    pub(super) fn keeping(inner: Transaction<'a>, statements: &'a Statements) -> Self {
        Self { inner, statements: Some(statements) }
    }

    /// Commits.
    ///
    /// # Errors
    /// When it can't be committed, or nobody knows.
    pub async fn commit(self) -> Result<(), Error> {
        self.inner.commit().await
    }

    /// Rolls back, and waits for it.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn rollback(self) -> Result<(), Error> {
        self.inner.rollback().await
    }

    /// All rows of a statement's result.
    ///
    /// # Errors
    /// When it fails.
    pub async fn query_typed(&self, sql: &str, parameters: Typed<'_>) -> Result<Vec<Row>, Error> {
        match self.prepared(sql) {
            Some(statement) => self.again(sql, self.inner.query(&statement, &values(parameters)).await),
            None => self.first(sql, parameters, self.inner.query_typed(sql, parameters)).await,
        }
    }

    /// Its only row, if there is one.
    ///
    /// # Errors
    /// When it fails, or there are several rows.
    pub async fn query_typed_opt(&self, sql: &str, parameters: Typed<'_>) -> Result<Option<Row>, Error> {
        match self.prepared(sql) {
            Some(statement) => self.again(sql, self.inner.query_opt(&statement, &values(parameters)).await),
            None => self.first(sql, parameters, self.inner.query_typed_opt(sql, parameters)).await,
        }
    }

    /// Its only row.
    ///
    /// # Errors
    /// When it fails, or there is not exactly one.
    pub async fn query_typed_one(&self, sql: &str, parameters: Typed<'_>) -> Result<Row, Error> {
        match self.prepared(sql) {
            Some(statement) => self.again(sql, self.inner.query_one(&statement, &values(parameters)).await),
            None => self.first(sql, parameters, self.inner.query_typed_one(sql, parameters)).await,
        }
    }

    fn prepared(&self, sql: &str) -> Option<Statement> {
        self.statements?.all().get(sql).cloned()
    }

    /// Asks it unprepared, and prepares it for the next time. Both are sent at once, the question first: of statements
    /// that are sent together none overtakes another for being known already.
    async fn first<T>(
        &self,
        sql: &str,
        parameters: Typed<'_>,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(statements) = self.statements.filter(|statements| statements.all().len() < MOST) else {
            return answer.await;
        };
        let types: Vec<Type> = parameters.iter().map(|(_, of)| of.clone()).collect();
        let (answer, statement) = try_join(answer, self.inner.prepare_typed(sql, &types)).await?;
        statements.all().insert(sql.into(), statement);
        Ok(answer)
    }

    /// A prepared statement that failed is prepared anew next time: a change of the schema may be why.
    fn again<T>(&self, sql: &str, answer: Result<T, Error>) -> Result<T, Error> {
        if let (Err(_), Some(statements)) = (&answer, self.statements) {
            statements.all().remove(sql);
        }
        answer
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
