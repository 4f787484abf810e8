//! How a command ends.

use std::{io::Write, process::ExitCode};

use crate::{
    amqp::AmqpError,
    app::Unusable,
    config::ConfigErrors,
    drain::Ended,
    postgres::connect::{DatabaseError, Trouble},
};

/// Exit codes: those of sysexits.h where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// Failed.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// Some of it was done.
    Partly,
    /// A server can't be reached (`EX_UNAVAILABLE`).
    Unavailable,
    /// The configuration is wrong (`EX_CONFIG`).
    Config,
    /// `status --warn`, and warnings of `doctor`: as a Nagios plugin says it.
    Warning,
    /// `status --crit`, and failures of `doctor`: likewise.
    Critical,
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Drained => Self::Ok,
            Ended::GraceOver => Self::Partly,
            Ended::Aborted | Ended::Failed => Self::Failed,
        }
    }
}

/// They, at the end of every help.
pub(crate) const EXIT_CODES: &str =
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 partly done, 69 a server is unreachable, 78 bad configuration.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failed | Exit::Warning => 1,
            Exit::Usage | Exit::Critical => 2,
            Exit::Partly => 3,
            Exit::Unavailable => 69,
            Exit::Config => 78,
        })
    }
}

/// Why a command failed, told once, by `main`.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration has errors.
    #[error("the configuration is not usable:\n{0}")]
    Config(#[from] ConfigErrors),
    /// A value is unusable.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The database.
    #[error("{}", .0.with_cure())]
    Database(#[from] DatabaseError),
    /// The broker.
    #[error("{}", crate::cause::chain(.0))]
    Amqp(#[from] AmqpError),
    /// The command line makes no sense beyond its grammar.
    #[error("{0}")]
    Usage(String),
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Unusable(_) => Exit::Config,
            Self::Usage(_) => Exit::Usage,
            Self::Database(error) if error.kind() == Trouble::Unreachable => Exit::Unavailable,
            Self::Amqp(error) if !error.is_configuration() => Exit::Unavailable,
            Self::Database(_) | Self::Amqp(_) | Self::Io { .. } | Self::Failed(_) => Exit::Failed,
        }
    }
}

/// Instead of a command: tells what is wrong with the command line. Help and version come as errors, too, with a code of 0.
pub(crate) fn not_run(error: &clap::Error) -> Exit {
    let _ = error.print();
    if error.exit_code() == 0 { Exit::Ok } else { Exit::Usage }
}

/// After a command: tells why it failed, if it did.
pub(crate) fn ended(result: Result<Exit, Failure>) -> Exit {
    result.unwrap_or_else(|failure| {
        say(&format!("error: {failure}"));
        failure.exit()
    })
}

/// Says something to the person at the terminal.
pub(crate) fn say(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{message}");
}

/// Writes a command's result. A reader that stopped reading (`| head`) is no error.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = stdout.write_all(b"\n");
    }
    let _ = stdout.flush();
}

/// A runtime for a command that talks to servers.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| Failure::Io { what: "cannot start the runtime".to_owned(), source })
}
