//! From a URL to a connection. Whatever fails here, nothing was sent.

use std::{
    fmt,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use hyper::http::Uri;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::TlsConnector;

use super::error::Cause;

/// Addresses tried of one name. A name may have hundreds.
const ADDRESSES: usize = 4;

/// Says of an address whether it may be connected to, and if not, why. It sees the very address that is then connected
/// to, so a name that resolves differently the next moment does not get around it.
pub type AddressCheck = Arc<dyn Fn(IpAddr) -> Result<(), &'static str> + Send + Sync>;

/// A file of certificates that is not usable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file can't be read, or holds no certificate.
    #[error("{path} is not a file of PEM certificates: {reason}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The TLS library does not support what this was built with.
    #[error("TLS is unusable")]
    Unusable(#[source] rustls::Error),
}

/// A connection, encrypted or not.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    /// For the header `Host`.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: Uri,
}

impl Target {
    /// Takes a URL apart: http or https, a host, no user or password.
    pub(super) fn of(url: &str) -> Result<Self, Cause> {
        // A query may hold what is nobody's business, so the URL itself is not told.
        let unusable = |reason: &str| Cause::Unusable(format!("its URL {reason}"));
        let uri: Uri = url.parse().map_err(|error| unusable(&format!("cannot be parsed: {error}")))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(unusable("must start with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| unusable("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(unusable("holds a user name; pass credentials in a header"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(unusable("names no host"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = path.parse().map_err(|error| unusable(&format!("cannot be parsed: {error}")))?;
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { host, port, tls, authority: authority.as_str().to_owned(), path })
    }
}

/// Connects.
#[derive(Clone)]
pub(super) struct Transport {
    tls: TlsConnector,
    check: Option<AddressCheck>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("check", &self.check.is_some()).finish_non_exhaustive()
    }
}

impl Transport {
    /// Trusts the system's certificates, and those of a file.
    pub(super) fn new(ca_file: Option<PathBuf>, check: Option<AddressCheck>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            let bad = |reason: String| TlsError::Certificates { path: path.clone(), reason };
            let mut count = 0;
            for certificate in CertificateDer::pem_file_iter(&path).map_err(|error| bad(error.to_string()))? {
                let certificate = certificate.map_err(|error| bad(error.to_string()))?;
                roots.add(certificate).map_err(|error| bad(error.to_string()))?;
                count += 1;
            }
            if count == 0 {
                return Err(bad("it holds no certificate".to_owned()));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config =
            builder.map_err(TlsError::Unusable)?.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), check })
    }

    /// Resolves, checks, connects, and agrees on TLS. Has no time limit of its own.
    pub(super) async fn connect(&self, target: &Target) -> Result<Box<dyn Connection>, Cause> {
        let stream = self.tcp(target).await?;
        if !target.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|error| Cause::Unusable(format!("{} is no name for TLS: {error}", target.host)))?;
        Ok(Box::new(self.tls.connect(name, stream).await.map_err(Cause::Tls)?))
    }

    async fn tcp(&self, target: &Target) -> Result<TcpStream, Cause> {
        let resolve = |source| Cause::Resolve { host: target.host.clone(), source };
        let found = lookup_host((target.host.as_str(), target.port)).await.map_err(resolve)?;
        let addresses: Vec<SocketAddr> = found.take(ADDRESSES).collect();
        let mut cause = resolve(io::Error::new(ErrorKind::NotFound, "it has no address"));
        for address in addresses {
            if let Some(Err(reason)) = self.check.as_ref().map(|check| check(address.ip())) {
                // What was refused is told rather than that some other address did not answer.
                if !matches!(cause, Cause::Forbidden { .. }) {
                    cause = Cause::Forbidden { address: address.ip(), reason };
                }
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Only slower without it.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) if matches!(cause, Cause::Forbidden { .. }) => drop(error),
                Err(error) => cause = Cause::Connect(error),
            }
        }
        Err(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, host, port, tls, path) in [
            ("https://api.example.com/v2/x?a=b", "api.example.com", 443, true, "/v2/x?a=b"),
            ("http://127.0.0.1:9640", "127.0.0.1", 9640, false, "/"),
            ("https://[::1]:8443/hook", "::1", 8443, true, "/hook"),
        ] {
            let target = Target::of(url).expect(url);
            assert_eq!((target.host.as_str(), target.port, target.tls), (host, port, tls), "{url}");
            assert_eq!(target.path.to_string(), path, "{url}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_meant_is_refused_and_its_secrets_are_not_told() {
        for url in ["", "/v2", "ftp://x/", "https://", "https://user:hunter2@x/", "http://a b/?hunter2"] {
            let error = Target::of(url).expect_err(url).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
