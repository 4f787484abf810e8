//! The broker's address, which never shows its password.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use lapin::uri::{AMQPScheme, AMQPUri};

/// AMQP 0-9-1 carries the virtual host's name as a short string.
const VHOST_LIMIT: usize = 255;

/// `amqp[s]://user:password@host:port/vhost?heartbeat=..&frame_max=..`, after RabbitMQ's URI specification.
///
/// `Debug` and `Display` show `***` for the password; nothing but the handshake ever reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri(AMQPUri);

/// What is wrong with an AMQP URI. None of these carries any part of the URI that could hold the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Neither `amqp://` nor `amqps://`.
    #[error("the AMQP URI must begin with amqp:// or amqps://")]
    Scheme,
    /// The host is missing. lapin would quietly take localhost.
    #[error("the AMQP URI names no host")]
    Host,
    /// The port is no number up to 65535.
    #[error("the AMQP URI's port is not a number between 1 and 65535")]
    Port,
    /// A `/`, `?`, `#` or `@` of the user name or password stands there unencoded.
    #[error(
        "the AMQP URI's user name or password must have /, ?, # and @ percent-encoded (%2F, %3F, %23, %40)"
    )]
    NotEncoded,
    /// The virtual host's name is longer than AMQP allows.
    #[error("the AMQP URI's virtual host is longer than 255 bytes")]
    Vhost,
    /// `heartbeat`, `frame_max`, `channel_max` or `auth_mechanism` has a value that cannot be.
    #[error("the AMQP URI's query has an invalid heartbeat, frame_max, channel_max or auth_mechanism")]
    Query,
    /// Anything else.
    #[error("the AMQP URI cannot be parsed: expected amqps://user:password@host:port/vhost")]
    Malformed,
}

impl Uri {
    /// The host, without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.authority.host
    }

    /// The port, 5672 or 5671 unless given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.authority.port
    }

    /// The user that logs in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.0.authority.userinfo.username
    }

    /// The virtual host. `amqp://host/` names the one called "", `amqp://host` the default one, `/`.
    #[must_use]
    pub fn vhost(&self) -> &str {
        &self.0.vhost
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme == AMQPScheme::AMQPS
    }

    /// The heartbeat asked for in the query, in seconds.
    pub(super) fn heartbeat(&self) -> Option<u16> {
        self.0.query.heartbeat
    }

    /// What lapin shakes hands with, password included.
    pub(super) fn with_heartbeat(&self, seconds: u16) -> AMQPUri {
        let mut uri = self.0.clone();
        uri.query.heartbeat = Some(seconds);
        uri
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once("://").ok_or(UriError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("amqp") && !scheme.eq_ignore_ascii_case("amqps") {
            return Err(UriError::Scheme);
        }
        // A password's bare '/', '?' or '#' ends the authority early, and its rest would be shown as a path.
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if tail.contains('@') || tail.contains('#') || authority.matches('@').count() > 1 {
            return Err(UriError::NotEncoded);
        }
        let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
        let (host, port) = split_server(server)?;
        if host.is_empty() {
            return Err(UriError::Host);
        }
        if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err(UriError::Port);
        }
        if server.starts_with('[') && host.parse::<Ipv6Addr>().is_err() {
            return Err(UriError::Host);
        }
        // lapin's messages may quote the whole text, so they go nowhere.
        let mut uri: AMQPUri = text.parse().map_err(|_| reason(tail))?;
        if server.starts_with('[') {
            // lapin takes an IPv6 address for "no host" and connects to localhost.
            host.clone_into(&mut uri.authority.host);
        }
        if uri.vhost.len() > VHOST_LIMIT {
            return Err(UriError::Vhost);
        }
        Ok(Self(uri))
    }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_server(server: &str) -> Result<(&str, Option<&str>), UriError> {
    if let Some(rest) = server.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(UriError::Host)?;
        return match port {
            "" => Ok((host, None)),
            _ => port.strip_prefix(':').map(|port| (host, Some(port))).ok_or(UriError::Port),
        };
    }
    Ok(server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port))))
}

fn reason(tail: &str) -> UriError {
    if tail.contains('?') { UriError::Query } else { UriError::Malformed }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host();
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{}://{}:***@{open}{host}{close}:{}/", self.0.scheme, self.user(), self.port())?;
        f.write_str(&self.vhost().replace('/', "%2f"))
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uri({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::{Uri, UriError};

    #[test]
    fn the_password_is_shown_by_neither_debug_nor_display() {
        let uri: Result<Uri, _> = "amqps://relay:hunter2@broker.example:5679/%2forders".parse();
        let shown = uri.map(|uri| format!("{uri} {uri:?} {uri:#?}"));
        assert_eq!(
            shown.as_deref().map(|shown| (shown.contains("hunter2"), shown.split(' ').next())),
            Ok((false, Some("amqps://relay:***@broker.example:5679/%2forders")))
        );
    }

    #[test]
    fn every_malformed_uri_is_named_and_none_is_quoted() {
        let cases = [
            ("relay:hunter2@broker", UriError::Scheme),
            ("postgres://relay:hunter2@broker", UriError::Scheme),
            ("amqp://relay:hunter2@/v", UriError::Host),
            ("amqp://relay:hunter2@[nonsense]/v", UriError::Host),
            ("amqp://relay:hunter2@broker:amqp/v", UriError::Port),
            ("amqp://relay:hunter2@broker:0/v", UriError::Port),
            ("amqp://relay:12/hunter2@broker/v", UriError::NotEncoded),
            ("amqp://relay:12#hunter2@broker/v", UriError::NotEncoded),
            ("amqp://relay:12@hunter2@broker/v", UriError::NotEncoded),
            ("amqp://relay:hunter2@broker/v?heartbeat=soon", UriError::Query),
            ("amqp://relay:hunter2@broker/%ff", UriError::Malformed),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Uri>();
            assert_eq!(error, Err(expected), "{text}");
            assert!(!format!("{error:?}").contains("hunter2"), "{text}");
        }
        assert_eq!(format!("amqp://h/{}", "v".repeat(256)).parse::<Uri>(), Err(UriError::Vhost));
    }

    #[test]
    fn an_ipv6_host_is_that_host_and_not_localhost() {
        let uri: Result<Uri, _> = "amqp://guest:guest@[2001:db8::7]:5673/".parse();
        assert_eq!(
            uri.as_ref().map(|uri| (uri.host(), uri.port(), uri.vhost())),
            Ok(("2001:db8::7", 5673, ""))
        );
        assert_eq!(uri.map(|uri| uri.to_string()).as_deref(), Ok("amqp://guest:***@[2001:db8::7]:5673/"));
    }
}
