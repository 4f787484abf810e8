//! The mail server's URL. Pure.

use std::{fmt, str::FromStr};

/// A mail server: `smtps://mail.example.com` with TLS from the first byte, `smtp://mail.example.com:587` with STARTTLS,
/// which must then be offered. Only to this machine mail goes in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServer {
    /// Its name or address, without the brackets of IPv6.
    pub host: String,
    /// Its port.
    pub port: u16,
    implicit: bool,
}

/// A text that is no URL of a mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Another scheme.
    #[error("it has to begin with smtps:// or smtp://")]
    Scheme,
    /// Credentials in the URL.
    #[error("it holds a user name; give user and password apart from it")]
    Credentials,
    /// No host, or one with characters that no host has.
    #[error("it names no host")]
    Host,
    /// A port that is none.
    #[error("its port is no number from 1 to 65535")]
    Port,
    /// A path or a query.
    #[error("nothing follows its host and port")]
    Rest,
}

impl FromStr for MailServer {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        let (implicit, rest) = match (text.strip_prefix("smtps://"), text.strip_prefix("smtp://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(ServerError::Scheme),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(ServerError::Credentials);
        }
        if authority.contains(['/', '?', '#']) {
            return Err(ServerError::Rest);
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(ServerError::Port)?)),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let is_host =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(ServerError::Host);
        }
        let port = match port {
            None => {
                if implicit {
                    465
                } else {
                    587
                }
            }
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(ServerError::Port)?,
        };
        Ok(Self { host: host.to_owned(), port, implicit })
    }
}

impl fmt::Display for MailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl MailServer {
    /// Whether TLS begins with the connection, not by STARTTLS.
    #[must_use]
    pub const fn is_implicit(&self) -> bool {
        self.implicit
    }

    /// Whether mail and password travel by TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        let address = self.host.parse::<core::net::IpAddr>();
        let local = self.host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        self.implicit || !local
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_only_this_machine_is_spoken_to_in_the_clear() {
        for (url, host, port, encrypted) in [
            ("smtps://mail.example.com", "mail.example.com", 465, true),
            ("smtp://mail.example.com", "mail.example.com", 587, true),
            ("smtp://mail.example.com:25/", "mail.example.com", 25, true),
            ("smtp://localhost:1025", "localhost", 1025, false),
            ("smtp://127.0.0.1:1025", "127.0.0.1", 1025, false),
            ("smtp://[::1]:1025", "::1", 1025, false),
            ("smtps://localhost", "localhost", 465, true),
            ("smtp://127.0.0.1.example.com", "127.0.0.1.example.com", 587, true),
        ] {
            let server: MailServer = url.parse().expect(url);
            let found = (server.host.as_str(), server.port, server.is_encrypted());
            assert_eq!(found, (host, port, encrypted), "{url}");
        }
    }

    #[test]
    fn what_is_no_mail_server_is_refused_with_the_reason() {
        for (url, error) in [
            ("mail.example.com", ServerError::Scheme),
            ("https://mail.example.com", ServerError::Scheme),
            ("smtp://", ServerError::Host),
            ("smtp://a b", ServerError::Host),
            ("smtp://u:p@mail.example.com", ServerError::Credentials),
            ("smtp://mail.example.com:0", ServerError::Port),
            ("smtp://mail.example.com:99999", ServerError::Port),
            ("smtp://[::1]1025", ServerError::Port),
            ("smtp://mail.example.com/x", ServerError::Rest),
            ("smtp://mail.example.com?tls=off", ServerError::Rest),
        ] {
            assert_eq!(url.parse::<MailServer>(), Err(error), "{url}");
        }
    }
}
