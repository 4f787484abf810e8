//! What can go wrong with the broker, told apart by what an operator has to do about it.

use std::{error::Error as StdError, io, path::PathBuf, time::Duration};

use lapin::ErrorKind;

use super::AmqpSettings;
use crate::publisher::ChannelFailure;

type Source = Box<dyn StdError + Send + Sync>;

/// Why a session could not be opened or used. No variant carries a password or a payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AmqpError {
    /// `amqp://` to another host, without consent.
    #[error(
        "amqp:// would send the password to {host} in plaintext: use amqps://, or set amqp.insecure = true"
    )]
    Plaintext {
        /// The host of the URI.
        host: String,
    },
    /// The file of certificate authorities is of no use.
    #[error("cannot read certificate authorities from {}", path.display())]
    CaFile {
        /// The configured path.
        path: PathBuf,
        /// What failed.
        source: Source,
    },
    /// Nothing to verify the broker's certificate against.
    #[error(
        "the operating system trusts no certificate authority: install ca-certificates or set amqp.ca_file"
    )]
    NoRoots,
    /// No TCP connection: name lookup, refused, no route, no answer.
    #[error("cannot reach {host}:{port}")]
    Unreachable {
        /// The host of the URI.
        host: String,
        /// The port of the URI.
        port: u16,
        /// The last address's failure.
        source: io::Error,
    },
    /// The TLS handshake failed: the certificate, its name, or a port that speaks plaintext.
    #[error("TLS with {host}:{port} failed")]
    Tls {
        /// The host of the URI.
        host: String,
        /// The port of the URI.
        port: u16,
        /// What rustls or the socket said.
        source: io::Error,
    },
    /// TCP connected, but the peer did not finish a handshake in time.
    #[error(
        "{host}:{port} accepted the connection but did not finish the {protocol} handshake within {limit:?}"
    )]
    HandshakeTimeout {
        /// The host of the URI.
        host: String,
        /// The port of the URI.
        port: u16,
        /// `TLS` or `AMQP`.
        protocol: &'static str,
        /// The time allowed for connecting altogether.
        limit: Duration,
    },
    /// The AMQP handshake broke off without a reply code.
    #[error("the AMQP handshake with {host}:{port} broke off")]
    Handshake {
        /// The host of the URI.
        host: String,
        /// The port of the URI.
        port: u16,
        /// What the client saw.
        source: Source,
    },
    /// Wrong user or password.
    #[error("the broker refused the login of user {user:?}: {text}; check user and password in amqp.url")]
    LoginRefused {
        /// The user of the URI.
        user: String,
        /// The broker's words.
        text: String,
    },
    /// The virtual host does not exist, or the user may not use it.
    #[error(
        "the broker refused virtual host {vhost:?} to user {user:?}: {text}; check the path in amqp.url, and the user's permissions"
    )]
    VhostRefused {
        /// The virtual host of the URI.
        vhost: String,
        /// The user of the URI.
        user: String,
        /// The broker's words.
        text: String,
    },
    /// The broker closed the channel or the connection for any other reason.
    #[error("the broker closed the {what}: {code} {text}")]
    Closed {
        /// `channel` or `connection`.
        what: &'static str,
        /// AMQP reply code.
        code: u16,
        /// The broker's words.
        text: String,
    },
    /// The connection is gone.
    #[error("the connection to the broker is lost: {reason}")]
    Lost {
        /// What was seen first.
        reason: String,
    },
    /// The broker did not answer a request on an open connection, as happens while it blocks the connection.
    #[error("the broker did not answer within {limit:?}: {request}{}", if *blocked { " (it blocks the connection)" } else { "" })]
    Unanswered {
        /// What was asked.
        request: String,
        /// The time allowed.
        limit: Duration,
        /// Whether an alarm of the broker blocked the connection meanwhile.
        blocked: bool,
    },
    /// The channel opened, but confirms are not in effect on it.
    #[error("the broker opened a channel without publisher confirms")]
    NoConfirms,
    /// `verify` did not find an object.
    #[error("{object} {name:?} does not exist: create it, or let relay do it (outbox.declare = true)")]
    Missing {
        /// `exchange` or `queue`.
        object: &'static str,
        /// Its name.
        name: String,
        /// The broker's words.
        text: String,
    },
    /// An object exists with other properties.
    #[error(
        "{object} {name:?} exists but differs: {text}; delete it once it is empty, name another one, or declare it yourself and set outbox.declare = false"
    )]
    Mismatch {
        /// `exchange` or `queue`.
        object: &'static str,
        /// Its name.
        name: String,
        /// The broker's words, which name the property.
        text: String,
    },
    /// The user lacks a permission on an object.
    #[error("user {user:?} lacks the {permission} permission on {object} {name:?}: {text}")]
    Denied {
        /// `exchange` or `queue`.
        object: &'static str,
        /// Its name.
        name: String,
        /// The user of the URI.
        user: String,
        /// RabbitMQ's name of the permission: `configure`, `write` or `read`.
        permission: &'static str,
        /// The broker's words.
        text: String,
    },
    /// A name AMQP cannot carry.
    #[error("{object} name of {length} bytes: AMQP allows 1 to 255")]
    Name {
        /// `exchange` or `queue`.
        object: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// The client library failed, not the broker.
    #[error("the AMQP client failed")]
    Client {
        /// What it said.
        source: Source,
    },
}

impl AmqpError {
    /// Whether only a human can mend it, so that trying again helps nobody until somebody did.
    ///
    /// Still no reason to exit: the broker's users and objects may be mended while relay waits.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Plaintext { .. }
            | Self::CaFile { .. }
            | Self::NoRoots
            | Self::LoginRefused { .. }
            | Self::VhostRefused { .. }
            | Self::NoConfirms
            | Self::Missing { .. }
            | Self::Mismatch { .. }
            | Self::Denied { .. }
            | Self::Name { .. } => true,
            // rustls reports a bad certificate, or a peer that speaks no TLS, as invalid data.
            Self::Tls { source, .. } => source.kind() == io::ErrorKind::InvalidData,
            _ => false,
        }
    }

    pub(super) fn handshake_timeout(settings: &AmqpSettings, protocol: &'static str) -> Self {
        Self::HandshakeTimeout {
            host: settings.uri.host().to_owned(),
            port: settings.uri.port(),
            protocol,
            limit: settings.connect_timeout,
        }
    }

    /// What the AMQP handshake's failure means.
    pub(super) fn from_handshake(settings: &AmqpSettings, error: lapin::Error) -> Self {
        let user = || settings.uri.user().to_owned();
        if let ErrorKind::ProtocolError(reply) = error.kind() {
            let text = reply.get_message().to_string();
            return match reply.get_id() {
                403 => Self::LoginRefused { user: user(), text },
                530 => Self::VhostRefused { vhost: settings.uri.vhost().to_owned(), user: user(), text },
                code => Self::Closed { what: "connection", code, text },
            };
        }
        let (host, port) = (settings.uri.host().to_owned(), settings.uri.port());
        Self::Handshake { host, port, source: Box::new(error) }
    }
}

impl From<ChannelFailure> for AmqpError {
    fn from(failure: ChannelFailure) -> Self {
        match failure {
            ChannelFailure::ChannelClosed { code, text } => Self::Closed { what: "channel", code, text },
            ChannelFailure::ConnectionClosed { code, text } => {
                Self::Closed { what: "connection", code, text }
            }
            ChannelFailure::ConnectionLost { reason } => Self::Lost { reason },
        }
    }
}
