//! Why a request has no answer, and whether it may have done its work all the same.

use std::{io, net::IpAddr, time::Duration};

/// A request without an answer. The difference decides whether it may simply be repeated.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not a byte of the request left: it certainly had no effect.
    #[error("the request was not sent")]
    NotSent(#[source] Cause),
    /// The request was sent, or partly, and no whole answer came back: it may have had its effect.
    #[error("the request was sent, and what became of it is not known")]
    MaybeDone(#[source] Cause),
}

impl HttpError {
    /// Why.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        match self {
            Self::NotSent(cause) | Self::MaybeDone(cause) => cause,
        }
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The URL or a header can't be used; nothing of it was tried.
    #[error("the request is not usable: {0}")]
    Unusable(String),
    /// The name has no address.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// Every address was refused by the check of addresses.
    #[error("{address} is not an address to connect to: {reason}")]
    Forbidden {
        /// The first that was refused.
        address: IpAddr,
        /// The check's reason.
        reason: &'static str,
    },
    /// No address could be connected to; this is the last one's error.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The other side is not who it should be, or does not speak TLS.
    #[error("cannot agree on TLS")]
    Tls(#[source] io::Error),
    /// Resolving, connecting and TLS took longer than this.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// Nothing came for this long.
    #[error("nothing came for {0:?}")]
    ReadTimeout(Duration),
    /// The whole exchange took longer than this.
    #[error("no whole answer within {0:?}")]
    Deadline(Duration),
    /// The connection broke, or what came over it is no HTTP.
    #[error("the exchange broke off")]
    Broken(#[source] hyper::Error),
    /// The body is longer than this many bytes.
    #[error("the answer's body is longer than {0} bytes")]
    TooLong(usize),
    /// The body is compressed, which was not asked for.
    #[error("the answer is encoded as {0:?}, which was not asked for")]
    Encoded(String),
}
