//! A TCP (and TLS) connection of which relay itself keeps a handle.

use std::{io, net::SocketAddr, os::fd::AsFd, path::Path, sync::Arc, time::Duration};

use async_compat::{Compat, CompatExt};
use lapin::{AsyncTcpStream, tcp::RustlsConnector};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};

use super::{AmqpError, AmqpSettings, link::KillHandle};

/// What lapin reads from and writes to.
pub(super) type Stream = AsyncTcpStream<Compat<TcpStream>>;

/// Finds a peer that vanished while nothing was due from it; heartbeats find the others.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Connects, and encrypts if the URI says so, by `deadline`. Dropping the handle shuts the connection down.
pub(super) async fn open(
    settings: &AmqpSettings,
    deadline: Instant,
) -> Result<(Stream, KillHandle), AmqpError> {
    let tcp = connect(settings, deadline).await?;
    let handle = tune(&tcp).map_err(|source| unreachable(settings, source))?;
    let plain = AsyncTcpStream::Plain(tcp.compat());
    if !settings.uri.is_tls() {
        return Ok((plain, handle));
    }
    let connector = connector(settings.ca_file.as_deref())?;
    // Names rustls, where `into_tls` would stay plaintext if lapin were compiled without a TLS feature.
    let encrypted = plain.into_rustls(&connector, settings.uri.host());
    match timeout_at(deadline, encrypted).await {
        Ok(Ok(stream)) => Ok((stream, handle)),
        Ok(Err(source)) => {
            Err(AmqpError::Tls { host: settings.uri.host().to_owned(), port: settings.uri.port(), source })
        }
        Err(_) => Err(AmqpError::handshake_timeout(settings, "TLS")),
    }
}

/// Tries every address the name resolves to, none of them for more than its share of the time.
async fn connect(settings: &AmqpSettings, deadline: Instant) -> Result<TcpStream, AmqpError> {
    let host = (settings.uri.host(), settings.uri.port());
    let addresses: Vec<SocketAddr> = timeout_at(deadline, lookup_host(host))
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the name lookup took too long")))
        .map_err(|source| unreachable(settings, source))?
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(now) / left;
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{address} did not answer")),
        }
    }
    Err(unreachable(settings, last))
}

/// Sets the socket's options and duplicates it.
///
/// TCP_USER_TIMEOUT is left alone on purpose: Linux applies it to a peer that answers but takes nothing in, and
/// that is how RabbitMQ behaves while an alarm blocks its publishers. Measured on Linux 6.18: with 2 s, writing
/// to a live peer that didn't read ended in ETIMEDOUT after 2.3 s. Heartbeats find a dead peer without it.
fn tune(tcp: &TcpStream) -> io::Result<KillHandle> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)?;
    Ok(KillHandle::new(Socket::from(tcp.as_fd().try_clone_to_owned()?)))
}

/// TLS that trusts the operating system's roots and those in `ca_file`. The provider is named, so neither a
/// missing nor a second process-wide one can matter.
fn connector(ca_file: Option<&Path>) -> Result<RustlsConnector, AmqpError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let unusable = |source| AmqpError::CaFile { path: path.to_owned(), source };
        let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
        let certificates = read().map_err(|error| unusable(Box::new(error)))?;
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(unusable("it holds no certificate".into()));
        }
    }
    if roots.is_empty() {
        return Err(AmqpError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| AmqpError::Client { source: Box::new(error) })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(RustlsConnector::from(config))
}

fn unreachable(settings: &AmqpSettings, source: io::Error) -> AmqpError {
    AmqpError::Unreachable { host: settings.uri.host().to_owned(), port: settings.uri.port(), source }
}
