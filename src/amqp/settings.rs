//! What a session needs to know.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use super::{AmqpError, Uri};

/// Where the broker is and how long it may take.
#[derive(Debug, Clone)]
pub struct AmqpSettings {
    /// Address, user, password and virtual host. A `heartbeat` in its query wins over [`Self::heartbeat`].
    pub uri: Uri,
    /// For name lookup, TCP, TLS and the AMQP handshake together; and for opening a channel or declaring an object.
    pub connect_timeout: Duration,
    /// How long not a single confirm may arrive while some are due, before the connection is given up. Time
    /// during which the broker blocks the connection does not count.
    pub confirm_timeout: Duration,
    /// Heartbeat interval offered to the broker; a silent connection is lost after about twice this. Whole
    /// seconds, at least one; RabbitMQ advises against less than five.
    pub heartbeat: Duration,
    /// PEM file of certificate authorities to trust beside the operating system's.
    pub ca_file: Option<PathBuf>,
    /// Allow `amqp://`, and so a password in plaintext, to a host that is not this one.
    pub insecure: bool,
}

impl AmqpSettings {
    /// The defaults: 10 s to connect, 30 s for a confirm, a heartbeat each 10 s, encrypted off this host.
    #[must_use]
    pub fn new(uri: Uri) -> Self {
        Self {
            uri,
            connect_timeout: Duration::from_secs(10),
            confirm_timeout: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            ca_file: None,
            insecure: false,
        }
    }

    /// Refuses what would send the password over a network in plaintext.
    ///
    /// # Errors
    /// [`AmqpError::Plaintext`] for `amqp://` to a host other than loopback, unless [`Self::insecure`] is set.
    pub fn check(&self) -> Result<(), AmqpError> {
        if self.uri.is_tls() || self.insecure || is_loopback(self.uri.host()) {
            return Ok(());
        }
        Err(AmqpError::Plaintext { host: self.uri.host().to_owned() })
    }

    /// The heartbeat in seconds as AMQP carries it. Zero would mean "as the server likes", which is 60 s.
    pub(super) fn heartbeat_seconds(&self) -> u16 {
        let configured = u16::try_from(self.heartbeat.as_secs()).unwrap_or(u16::MAX);
        self.uri.heartbeat().unwrap_or(configured).max(1)
    }
}

/// Judged by the name alone: what a resolver answers now it need not answer later.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(uri: &str) -> Option<AmqpSettings> {
        uri.parse().ok().map(AmqpSettings::new)
    }

    #[test]
    fn plaintext_leaves_this_host_only_when_asked_to() {
        let refused = |uri, insecure| {
            settings(uri).map(|settings| AmqpSettings { insecure, ..settings }.check().is_err())
        };
        for uri in ["amqp://localhost", "amqp://127.0.0.9", "amqp://[::1]", "amqps://broker.example"] {
            assert_eq!(refused(uri, false), Some(false), "{uri}");
        }
        for uri in
            ["amqp://broker.example", "amqp://10.0.0.1", "amqp://localhost.example", "amqp://[2001:db8::7]"]
        {
            assert_eq!(refused(uri, false), Some(true), "{uri}");
            assert_eq!(refused(uri, true), Some(false), "{uri}");
        }
    }

    #[test]
    fn a_heartbeat_is_never_switched_off() {
        let seconds = |uri, heartbeat| {
            settings(uri).map(|settings| AmqpSettings { heartbeat, ..settings }.heartbeat_seconds())
        };
        assert_eq!(seconds("amqp://localhost", Duration::from_secs(10)), Some(10));
        assert_eq!(seconds("amqp://localhost?heartbeat=7", Duration::from_secs(10)), Some(7));
        assert_eq!(seconds("amqp://localhost?heartbeat=0", Duration::from_secs(10)), Some(1));
        assert_eq!(seconds("amqp://localhost", Duration::from_millis(300)), Some(1));
    }
}
