//! What statements are put to: a session of Postgres, or one that a pooler lends for a transaction at a time.
//!
//! Behind a pooler nothing outlasts a transaction: no setting, no prepared statement. So each statement goes in a
//! transaction of its own, together with the settings that hold within it, and without a name. All of that is sent at once,
//! so it costs no round trip more. The types of its parameters, which the server would tell of a prepared statement, are
//! asked once a connection.

use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt, TryStreamExt, future::poll_immediate};
use tokio_postgres::{
    Error, Row, RowStream, Statement,
    types::{ToSql, Type},
};

use super::{sql::sets, transaction::Typed};

/// Statements whose types are kept.
const MOST: usize = 256;

/// Values for a statement.
pub type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A statement that is put again and again: known to the session by name, or with its types, to a pooler's.
#[derive(Debug, Clone)]
pub struct Prepared {
    sql: Arc<str>,
    types: Arc<[Type]>,
    named: Option<Statement>,
}

/// A statement: its text, or prepared.
pub trait Asking: Sync {
    /// Its text.
    fn sql(&self) -> &str;
    /// What was found out when it was prepared.
    fn prepared(&self) -> Option<&Prepared>;
    /// As the session knows it.
    fn named(&self) -> Option<&Statement> {
        self.prepared()?.named.as_ref()
    }
}

impl Asking for str {
    fn sql(&self) -> &str {
        self
    }

    fn prepared(&self) -> Option<&Prepared> {
        None
    }
}

impl Asking for String {
    fn sql(&self) -> &str {
        self
    }

    fn prepared(&self) -> Option<&Prepared> {
        None
    }
}

impl Asking for Prepared {
    fn sql(&self) -> &str {
        &self.sql
    }

    fn prepared(&self) -> Option<&Prepared> {
        Some(self)
    }
}

/// A client. It is the library's, too, for what only a session of one's own can do.
#[derive(Debug)]
pub struct Client {
    inner: tokio_postgres::Client,
    pooled: Option<Pooled>,
}

#[derive(Debug, Default)]
struct Pooled {
    /// What begins each transaction.
    preamble: Mutex<String>,
    /// Held until a transaction's last message is on its way: another one's would get into it.
    turn: tokio::sync::Mutex<()>,
    types: Mutex<HashMap<Box<str>, Arc<[Type]>>>,
}

impl Pooled {
    fn preamble(&self) -> MutexGuard<'_, String> {
        self.preamble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The beginning of a transaction.
    fn begin(&self) -> String {
        format!("begin;{}", self.preamble())
    }

    fn types(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<[Type]>>> {
        self.types.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Client {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        &self.inner
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut tokio_postgres::Client {
        &mut self.inner
    }
}

/// What was sent, and is answered later: the library sends when a future is first polled.
struct Sent<F: Future> {
    future: Pin<Box<F>>,
    done: Option<F::Output>,
}

impl<F: Future> Sent<F> {
    async fn now(future: F) -> Self {
        let mut future = Box::pin(future);
        let done = poll_immediate(&mut future).await;
        Self { future, done }
    }

    async fn answer(self) -> F::Output {
        match self.done {
            Some(done) => done,
            None => self.future.await,
        }
    }
}

/// The end of a transaction, on its way.
type Commit<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// Rows as they come. Whoever stops reading loses nothing: what they belong to ends by itself.
#[expect(missing_debug_implementations, reason = "the library's has none")]
pub struct Rows<'a> {
    stream: Pin<Box<RowStream>>,
    commit: Option<Commit<'a>>,
}

impl Rows<'_> {
    /// The next one. After the last, all that the statement did has happened.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn try_next(&mut self) -> Result<Option<Row>, Error> {
        let next = self.stream.try_next().await?;
        if next.is_none()
            && let Some(commit) = self.commit.take()
        {
            commit.await?;
        }
        Ok(next)
    }
}

/// A transaction that prepares a statement; nothing of it stays.
struct Open<'a>(&'a tokio_postgres::Client);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // It is on its way as soon as it has been looked at once; nobody needs the answer.
        let _ = self.0.batch_execute("rollback").now_or_never();
    }
}

impl Client {
    /// A session of Postgres' own, or a pooler's.
    pub(super) fn new(inner: tokio_postgres::Client, pooled: bool) -> Self {
        Self { inner, pooled: pooled.then(Pooled::default) }
    }

    /// Settings that hold for every statement from now on, each as `name = value`.
    ///
    /// # Errors
    /// When the connection is gone, or one is no setting.
    pub async fn configure(&self, settings: &[impl AsRef<str> + Sync]) -> Result<(), Error> {
        let Some(pooled) = &self.pooled else {
            return self.inner.batch_execute(&sets("set", settings)).await;
        };
        pooled.preamble().push_str(&sets("set local", settings));
        Ok(())
    }

    /// Prepares a statement.
    ///
    /// # Errors
    /// When the server does not understand it.
    pub async fn prepare(&self, sql: &str) -> Result<Prepared, Error> {
        let (types, named) = match &self.pooled {
            Some(pooled) => (self.types(pooled, sql).await?, None),
            None => {
                let statement = self.inner.prepare(sql).await?;
                (statement.params().into(), Some(statement))
            }
        };
        Ok(Prepared { sql: sql.into(), types, named })
    }

    /// Its transaction, sent at once: what it answers, and the end of the transaction, which is on its way by then.
    async fn bracketed<T>(
        &self,
        pooled: &Pooled,
        question: impl Future<Output = Result<T, Error>>,
    ) -> Result<(T, Commit<'_>), Error> {
        let turn = pooled.turn.lock().await;
        let begin = pooled.begin();
        let begin = Sent::now(self.inner.batch_execute(&begin)).await;
        let question = Sent::now(question).await;
        let commit = Sent::now(self.inner.batch_execute("commit")).await;
        drop(turn);
        begin.answer().await?;
        Ok((question.answer().await?, Box::pin(commit.answer())))
    }

    /// The types of a statement's parameters.
    async fn types(&self, pooled: &Pooled, statement: &(impl Asking + ?Sized)) -> Result<Arc<[Type]>, Error> {
        if let Some(prepared) = statement.prepared() {
            return Ok(Arc::clone(&prepared.types));
        }
        let sql = statement.sql();
        if let Some(types) = pooled.types().get(sql) {
            return Ok(Arc::clone(types));
        }
        let turn = pooled.turn.lock().await;
        let open = Open(&self.inner);
        let begin = pooled.begin();
        let begun = Sent::now(self.inner.batch_execute(&begin)).await;
        let prepared = Sent::now(self.inner.prepare(sql)).await;
        begun.answer().await?;
        let named = prepared.answer().await?;
        let types: Arc<[Type]> = named.params().into();
        // Its name is known to the session that was lent: it is taken back before the transaction ends.
        drop(named);
        drop(open);
        drop(turn);
        let mut kept = pooled.types();
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(sql.into(), Arc::clone(&types));
        Ok(types)
    }

    /// Puts a statement; its rows come one by one.
    ///
    /// # Errors
    /// When it fails before the first.
    pub async fn query_raw(
        &self,
        statement: &(impl Asking + ?Sized),
        values: Values<'_>,
    ) -> Result<Rows<'_>, Error> {
        let (stream, commit) = match &self.pooled {
            Some(pooled) => {
                let asked = Box::pin(async {
                    let types = self.types(pooled, statement).await?;
                    let question = self.inner.query_typed_raw(statement.sql(), typed(values, &types));
                    self.bracketed(pooled, question).await
                });
                let (stream, commit) = asked.await?;
                (stream, Some(commit))
            }
            None => {
                let values = values.iter().copied();
                let stream = match statement.named() {
                    Some(named) => self.inner.query_raw(named, values).await?,
                    None => self.inner.query_raw(statement.sql(), values).await?,
                };
                (stream, None)
            }
        };
        Ok(Rows { stream: Box::pin(stream), commit })
    }

    /// Runs a statement; says how many rows it concerned.
    ///
    /// # Errors
    /// When it fails.
    pub async fn execute(
        &self,
        statement: &(impl Asking + ?Sized),
        values: Values<'_>,
    ) -> Result<u64, Error> {
        let Some(pooled) = &self.pooled else {
            return match statement.named() {
                Some(named) => self.inner.execute(named, values).await,
                None => self.inner.execute(statement.sql(), values).await,
            };
        };
        Box::pin(async {
            let types = self.types(pooled, statement).await?;
            let values = typed(values, &types);
            let question = self.inner.execute_typed(statement.sql(), &values);
            let (rows, commit) = self.bracketed(pooled, question).await?;
            commit.await?;
            Ok(rows)
        })
        .await
    }
}

/// Each value with its type. Too few or too many of them, and Postgres says so.
fn typed<'a>(values: Values<'a>, types: &[Type]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let unknown = std::iter::repeat(&Type::UNKNOWN);
    values.iter().copied().zip(types.iter().chain(unknown).cloned()).collect()
}

macro_rules! queries {
    ($($(#[$doc:meta])* $query:ident $query_typed:ident -> $rows:ty;)+) => {
        impl Client {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When it fails, or there are other than so many.
            pub async fn $query(
                &self,
                statement: &(impl Asking + ?Sized),
                values: Values<'_>,
            ) -> Result<$rows, Error> {
                let Some(pooled) = &self.pooled else {
                    return match statement.named() {
                        Some(named) => self.inner.$query(named, values).await,
                        None => self.inner.$query(statement.sql(), values).await,
                    };
                };
                // Boxed, or every caller's future would hold it beside its own.
                Box::pin(async {
                    let types = self.types(pooled, statement).await?;
                    self.$query_typed(statement.sql(), &typed(values, &types)).await
                })
                .await
            }

            $(#[$doc])*
            /// With the types of its values it is never prepared.
            ///
            /// # Errors
            /// As above.
            pub async fn $query_typed(&self, sql: &str, values: Typed<'_>) -> Result<$rows, Error> {
                let Some(pooled) = &self.pooled else { return self.inner.$query_typed(sql, values).await };
                Box::pin(async {
                    let (rows, commit) = self.bracketed(pooled, self.inner.$query_typed(sql, values)).await?;
                    commit.await?;
                    Ok(rows)
                })
                .await
            }
        )+}
    };
}

queries! {
    /// All rows of a statement's result.
    query query_typed -> Vec<Row>;
    /// Its only row, if there is one.
    query_opt query_typed_opt -> Option<Row>;
    /// Its only row.
    query_one query_typed_one -> Row;
}
