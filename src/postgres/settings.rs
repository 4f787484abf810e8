//! How to reach a database.

use std::{path::PathBuf, time::Duration};

use tokio_postgres::{Config, config::Host};

/// Whether connections are encrypted. A connection that is encrypted is always verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// Verified TLS, but for loopback and Unix sockets.
    #[default]
    Auto,
    /// Verified TLS, always.
    Require,
    /// None.
    Disable,
}

/// How to reach a database.
#[derive(Clone)]
pub struct DatabaseSettings {
    /// Hosts, user, password, database; parsed from a URL.
    pub config: Config,
    /// Whether to encrypt.
    pub tls: Tls,
    /// PEM file with further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// For everything until the server is ready for queries. `connect_timeout` of the URL covers only TCP, so a server
    /// that accepts and then says nothing would hold us for ever.
    pub connect_timeout: Duration,
    /// The server gives a statement up after this.
    pub statement_timeout: Duration,
    /// Whether a pooler is in between that lends a session for a transaction at a time.
    pub pooled: bool,
    /// The schema relay lives in.
    pub schema: String,
}

impl std::fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseSettings")
            .field("server", &self.server())
            .field("tls", &self.tls)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl DatabaseSettings {
    /// Where the database is, without user and password: for messages.
    #[must_use]
    pub fn server(&self) -> String {
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(index, host)| {
                let ports = self.config.get_ports();
                let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
                match host {
                    Host::Tcp(name) => format!("{name}:{port}"),
                    Host::Unix(path) => path.display().to_string(),
                }
            })
            .collect();
        format!("{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or("?"))
    }

    fn is_local(&self) -> bool {
        self.config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
            && self.config.get_hosts().iter().all(|host| match host {
                Host::Tcp(name) => {
                    name == "localhost"
                        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
                }
                Host::Unix(_) => true,
            })
    }

    /// Whether its connections are encrypted, and then verified.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        match self.tls {
            Tls::Require => true,
            Tls::Disable => false,
            // Whatever the URL's sslmode says: one setting decides, and it is this one.
            Tls::Auto => !self.is_local(),
        }
    }
}
