//! One connection to Postgres: TLS, time limits, and errors an operator can act on.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};
use thiserror::Error;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_postgres::{
    AsyncMessage, NoTls, Notification,
    config::{SslMode, TargetSessionAttrs},
    error::SqlState,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    client::Client,
    settings::DatabaseSettings,
    transaction::{Of, Statements, Tx},
};

/// Why a connection could not be had, or a statement not be run.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// No answer to a statement in time, not even that of its own timeout: the session is stuck.
    #[error("Postgres at {server} did not answer within {timeout:?}")]
    Silent {
        /// Which server.
        server: String,
        /// The limit.
        timeout: Duration,
    },
    /// No answer within the connect timeout.
    #[error("Postgres at {server} did not get ready within {timeout:?}")]
    Timeout {
        /// Which server.
        server: String,
        /// The limit.
        timeout: Duration,
    },
    /// The server could not be reached or refused the connection.
    #[error("cannot connect to Postgres at {server}: {}", describe(source))]
    Connect {
        /// Which server.
        server: String,
        /// The library's error.
        source: tokio_postgres::Error,
    },
    /// Certificates could not be read.
    #[error("cannot read certificate authorities from {}: {reason}", path.display())]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A statement failed.
    #[error("{}", describe(.0))]
    Statement(#[from] tokio_postgres::Error),
    /// The tables are missing or older than this version.
    #[error("{0}")]
    Schema(String),
}

/// A library error in one line: the server's message and code, never its detail, which quotes row values.
#[must_use]
pub fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", db.message(), db.code().code());
    }
    crate::cause::chain(error)
}

impl DatabaseError {
    /// What kind of trouble it is, for pacing and for the exit code.
    #[must_use]
    pub fn kind(&self) -> Trouble {
        let source = match self {
            Self::Timeout { .. } | Self::Silent { .. } => return Trouble::Unreachable,
            Self::Certificates { .. } | Self::Schema(_) => return Trouble::NeedsOperator,
            Self::Connect { source, .. } | Self::Statement(source) => source,
        };
        let Some(code) = source.code() else {
            // No answer of the server's: the connection is gone, or the client itself could not make the request.
            return if matches!(self, Self::Connect { .. }) || is_outage(source) {
                Trouble::Unreachable
            } else {
                Trouble::Statement
            };
        };
        let needs_operator = [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            SqlState::INVALID_CATALOG_NAME,
            SqlState::INSUFFICIENT_PRIVILEGE,
            SqlState::UNDEFINED_TABLE,
            SqlState::UNDEFINED_COLUMN,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::INVALID_SCHEMA_NAME,
            SqlState::INVALID_SQL_STATEMENT_NAME,
            SqlState::DUPLICATE_PSTATEMENT,
        ];
        if needs_operator.contains(code) {
            Trouble::NeedsOperator
        } else if is_outage(source) {
            Trouble::Unreachable
        } else {
            Trouble::Statement
        }
    }

    /// Whether a value was too large for Postgres to build.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        let code = match self {
            Self::Statement(source) => source.code(),
            _ => None,
        };
        code.is_some_and(|code| [SqlState::PROGRAM_LIMIT_EXCEEDED, SqlState::OUT_OF_MEMORY].contains(code))
    }

    /// Whether a statement gave up waiting for a lock of somebody else's.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Statement(source) if source.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
    }

    /// Whether the role may not do it.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Statement(source) if source.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE))
    }

    /// Whether a statement names a table that is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        let missing = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
        matches!(self, Self::Statement(source) if source.code().is_some_and(|code| missing.contains(code)))
    }

    /// Whether a statement lost to another one, or took too long: the same may well work in a moment.
    #[must_use]
    pub fn is_contention(&self) -> bool {
        let lost = [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::QUERY_CANCELED,
        ];
        matches!(self, Self::Statement(source) if source.code().is_some_and(|code| lost.contains(code)))
    }

    /// The error with what to do about it, where that is known.
    #[must_use]
    pub fn with_cure(&self) -> String {
        match self.cure() {
            Some(cure) => format!("{self}; {cure}"),
            None => self.to_string(),
        }
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn cure(&self) -> Option<&'static str> {
        let code = match self {
            Self::Connect { source, .. } | Self::Statement(source) => source.code(),
            _ => None,
        };
        if let Self::Connect { source, .. } = self
            && let Some(cure) = tls_cure(source)
        {
            return Some(cure);
        }
        Some(match code {
            Some(code)
                if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION]
                    .contains(code) =>
            {
                "check user and password in database.url, or for what operators do in database.operator_url"
            }
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
                "create the database, or name another in database.url"
            }
            Some(code)
                if [
                    SqlState::UNDEFINED_TABLE,
                    SqlState::UNDEFINED_COLUMN,
                    SqlState::UNDEFINED_FUNCTION,
                    SqlState::INVALID_SCHEMA_NAME,
                ]
                .contains(code) =>
            {
                "run `relay migrate`"
            }
            // Nobody but a pooler mixes sessions up.
            Some(code)
                if [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT].contains(code) =>
            {
                "a pooler in transaction mode is in between: set database.pooled = true, or name Postgres itself in \
                 database.url"
            }
            Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => {
                "somebody holds locks on relay's tables; see pg_locks"
            }
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                "grant the role what it needs: `relay migrate --grant-run-to ROLE` for relay itself; for operators' commands \
                 `--grant-operate-to ROLE`, and name that role in database.operator_url"
            }
            _ => return None,
        })
    }
}

/// What to do about a connection that could not be encrypted or verified.
fn tls_cure(error: &tokio_postgres::Error) -> Option<&'static str> {
    // Both libraries keep the kind of such an error to themselves; what is behind it is public, but for one text.
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    for cause in causes {
        let io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = io.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if matches!(tls.or_else(|| cause.downcast_ref()), Some(rustls::Error::InvalidCertificate(_))) {
            return Some(
                "database.ca_file names authorities to trust besides the system's, and the host in database.url \
                 must be one that the certificate is for",
            );
        }
        if cause.to_string() == "server does not support TLS" {
            return Some("turn ssl on there; database.tls decides whether it is needed");
        }
    }
    None
}

/// Whether the library lost the server, or the server is going away: nothing about the statement.
#[must_use]
pub fn is_outage(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => {
            code.code().starts_with("08") || code.code().starts_with("57P") || code.code() == "53300"
        }
        None => {
            let io = std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>());
            io || error.is_closed()
        }
    }
}

/// Kinds of trouble with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It can't be reached; it may come back by itself.
    Unreachable,
    /// Somebody has to change something: a password, a grant, a migration.
    NeedsOperator,
    /// One statement failed.
    Statement,
}

/// How much longer than the statement timeout an answer may take.
const OVERDUE: Duration = Duration::from_secs(5);

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    /// For statements.
    pub client: Client,
    statements: Statements,
    task: JoinHandle<()>,
    server: String,
    patience: Duration,
}

/// Waits for the answer to statements, but not for ever: see [`Connection::answer`]. This is for a connection that is being
/// made ready and belongs to the work itself.
///
/// # Errors
/// As there.
pub async fn answered<T>(
    settings: &DatabaseSettings,
    work: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    in_time(settings.statement_timeout + OVERDUE, || settings.server(), work).await
}

/// Waits for the answer to statements for so long and no longer; then the server is [`DatabaseError::Silent`].
pub(crate) async fn in_time<T>(
    timeout: Duration,
    server: impl FnOnce() -> String,
    work: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    tokio::time::timeout(timeout, work)
        .await
        .unwrap_or_else(|_| Err(DatabaseError::Silent { server: server(), timeout }))
}

impl Connection {
    fn of(client: tokio_postgres::Client, task: JoinHandle<()>, settings: &DatabaseSettings) -> Self {
        Self {
            client: Client::new(client, settings.pooled),
            statements: Statements::default(),
            task,
            server: settings.server(),
            patience: settings.statement_timeout + OVERDUE,
        }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn begin(&mut self) -> Result<Tx<'_>, tokio_postgres::Error> {
        let of = Of { statements: &self.statements, task: &self.task, patience: self.patience };
        Ok(Tx::of(of.answer(Box::pin(self.client.transaction())).await?, of))
    }

    /// Waits for the answer to statements, but not for ever: the statement timeout is kept by the very backend that may
    /// be stuck, and TCP notices nothing while its host acknowledges what was sent. What was asked may happen yet.
    ///
    /// # Errors
    /// [`DatabaseError::Silent`]; then the connection is to be dropped. Else those of the work.
    pub async fn answer<T>(
        &self,
        work: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        in_time(self.patience, || self.server.clone(), work).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects, within the connect timeout, as `name` (`application_name`).
///
/// # Errors
/// When the server can't be reached, refuses, or is not ready in time.
pub async fn connect(settings: &DatabaseSettings, name: &str) -> Result<Connection, DatabaseError> {
    connect_listening(settings, name, None).await
}

/// Where a session's notifications go.
#[derive(Debug)]
pub struct Ear {
    /// To be read in order.
    pub heard: mpsc::Sender<Notification>,
    /// Told when one found no room there, whatever it said.
    pub missed: Arc<Notify>,
}

/// Connects, and passes notifications on.
///
/// # Errors
/// As [`connect`].
pub async fn connect_listening(
    settings: &DatabaseSettings,
    name: &str,
    ear: Option<Ear>,
) -> Result<Connection, DatabaseError> {
    let connecting = async {
        let mut config = settings.config.clone();
        config
            .application_name(name)
            .connect_timeout(settings.connect_timeout)
            .keepalives_idle(Duration::from_secs(10))
            .tcp_user_timeout(Duration::from_secs(20));
        if config.get_target_session_attrs() == TargetSessionAttrs::Any {
            // A replica would serve scans and refuse marks.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let failed = |source| DatabaseError::Connect { server: settings.server(), source };
        let connection = if settings.encrypted() {
            config.ssl_mode(SslMode::Require);
            let tls = MakeRustlsConnect::new(client_config(settings)?);
            let (client, connection) = config.connect(tls).await.map_err(failed)?;
            Connection::of(client, tokio::spawn(serve(connection, ear)), settings)
        } else {
            // Without this the default, prefer, would look like TLS and never be it.
            config.ssl_mode(SslMode::Disable);
            let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
            Connection::of(client, tokio::spawn(serve(connection, ear)), settings)
        };
        let timeout = settings.statement_timeout.as_millis();
        let session = [
            format!("statement_timeout = {timeout}"),
            format!("lock_timeout = {timeout}"),
            "idle_in_transaction_session_timeout = 60000".to_owned(),
            "search_path = ''".to_owned(),
        ];
        connection.client.configure(&session).await?;
        Ok(connection)
    };
    tokio::time::timeout(settings.connect_timeout, connecting).await.unwrap_or_else(|_| {
        Err(DatabaseError::Timeout { server: settings.server(), timeout: settings.connect_timeout })
    })
}

async fn serve<S, T>(mut connection: tokio_postgres::Connection<S, T>, ear: Option<Ear>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // Whoever waits on the client learns of an error there; here it only ends the task.
    while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
        if let (AsyncMessage::Notification(notification), Some(ear)) = (message, &ear)
            && ear.heard.try_send(notification).is_err()
        {
            ear.missed.notify_one();
        }
    }
}

fn client_config(settings: &DatabaseSettings) -> Result<ClientConfig, DatabaseError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &settings.ca_file {
        let bad = |reason: String| DatabaseError::Certificates { path: path.clone(), reason };
        let mut count = 0;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
            roots
                .add(certificate.map_err(|error| bad(error.to_string()))?)
                .map_err(|error| bad(error.to_string()))?;
            count += 1;
        }
        if count == 0 {
            return Err(bad("it holds no certificate".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // ring supports both protocol versions; were that to change, this is the error of a build, not of a user.
    let builder = builder.map_err(|error| DatabaseError::Schema(format!("TLS is unusable: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
