//! Connection URLs: checked by the parsers that will read them, never quoted.
//!
//! The parsers' own messages may repeat a piece of the URL (a password with a space or an `@` in it becomes an
//! "unknown option" or a host), so only words from fixed lists pass through.

use std::error::Error;
use std::net::IpAddr;

use lapin::uri::{AMQPScheme, AMQPUri};
use tokio_postgres::config::{Host, SslMode};

use super::secret::Secret;

/// What is wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlProblem {
    /// Not the scheme of this server.
    #[error("does not begin with postgres:// or postgresql://, nor is it a list of key=value pairs")]
    NotPostgres,
    /// Not the scheme of this server.
    #[error("does not begin with amqp:// or amqps://")]
    NotAmqp,
    /// The parser gave up.
    #[error(
        "cannot be parsed; special characters in user and password must be percent-encoded (@ is %40, / is %2F)"
    )]
    Malformed,
    /// Nothing to connect to.
    #[error("names no host")]
    NoHost,
    /// tokio-postgres knows three modes and verifies through the connector, so the others have no meaning there.
    #[error(
        "has an sslmode besides disable, prefer and require; database.tls and database.ca_file decide about verification"
    )]
    SslMode,
    /// A parameter that libpq or another client knows, and this one does not.
    #[error("has the parameter {0}, which relay's client does not know; remove it")]
    Parameter(&'static str),
    /// A parameter of TLS files.
    #[error("has the parameter {0}; remove it and use database.tls and database.ca_file")]
    TlsParameter(&'static str),
    /// A known parameter with a bad value.
    #[error("has a bad value for {0}")]
    BadParameter(&'static str),
    /// lapin's parser reads `amqp://[::1]/` as localhost, without an error.
    #[error("has an IPv6 address for a host, which relay's client mistakes for localhost; use a host name")]
    Ipv6Literal,
}

/// What the rest of the configuration needs to know about a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Every host is this machine.
    pub(super) local: bool,
    /// The URL asks for plaintext.
    pub(super) plaintext: bool,
}

/// Parameters that are common in URLs for Postgres and unknown to tokio-postgres.
const TLS_PARAMETERS: &[&str] = &["sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword"];
const FOREIGN_PARAMETERS: &[&str] = &[
    "schema",
    "search_path",
    "currentSchema",
    "pgbouncer",
    "pool_timeout",
    "connection_limit",
    "client_encoding",
    "gssencmode",
    "krbsrvname",
    "passfile",
    "service",
    "sslsni",
    "uselibpqcompat",
    "statement_timeout",
];
const OWN_PARAMETERS: &[&str] = &[
    "port",
    "host",
    "hostaddr",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
    "sslnegotiation",
];

/// Checks a connection string for Postgres.
pub(super) fn postgres(secret: &Secret) -> Result<Endpoint, UrlProblem> {
    let text = secret.expose();
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if !is_url && (text.contains("://") || !text.contains('=')) {
        return Err(UrlProblem::NotPostgres);
    }
    let config: tokio_postgres::Config = text.parse().map_err(|error| explain(&error))?;
    let hosts = config.get_hosts();
    if hosts.is_empty() && config.get_hostaddrs().is_empty() {
        return Err(UrlProblem::NoHost);
    }
    // A bare `@` in a password ends it early: its rest is now part of the "host", which errors and logs would name.
    if hosts.iter().any(|host| matches!(host, Host::Tcp(name) if name.contains(['@', '/', ' ']))) {
        return Err(UrlProblem::Malformed);
    }
    let local = hosts.iter().all(|host| match host {
        Host::Tcp(name) => is_loopback(name),
        Host::Unix(_) => true,
    }) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    Ok(Endpoint { local, plaintext: config.get_ssl_mode() == SslMode::Disable })
}

fn explain(error: &tokio_postgres::Error) -> UrlProblem {
    let Some(cause) = error.source().map(ToString::to_string) else { return UrlProblem::Malformed };
    let names =
        |names: &[&'static str]| names.iter().copied().find(|name| cause.ends_with(&format!(" `{name}`")));
    if names(&["sslmode"]).is_some() {
        UrlProblem::SslMode
    } else if let Some(name) = names(TLS_PARAMETERS) {
        UrlProblem::TlsParameter(name)
    } else if let Some(name) = names(FOREIGN_PARAMETERS) {
        UrlProblem::Parameter(name)
    } else if let Some(name) = names(OWN_PARAMETERS) {
        UrlProblem::BadParameter(name)
    } else {
        UrlProblem::Malformed
    }
}

/// Checks a URL for RabbitMQ.
pub(super) fn amqp(secret: &Secret) -> Result<Endpoint, UrlProblem> {
    let text = secret.expose();
    let Some(rest) = text.strip_prefix("amqp://").or_else(|| text.strip_prefix("amqps://")) else {
        return Err(UrlProblem::NotAmqp);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.starts_with('[') {
        return Err(UrlProblem::Ipv6Literal);
    }
    if host.is_empty() || host.starts_with(':') {
        return Err(UrlProblem::NoHost);
    }
    // The error is a string that may hold the URL.
    let uri: AMQPUri = text.parse().map_err(|_| UrlProblem::Malformed)?;
    Ok(Endpoint { local: is_loopback(&uri.authority.host), plaintext: uri.scheme == AMQPScheme::AMQP })
}

/// Whether two connection strings lead to one database, whoever logs in.
pub(super) fn same_database(one: &Secret, other: &Secret) -> bool {
    let place = |secret: &Secret| {
        let config: tokio_postgres::Config = secret.expose().parse().ok()?;
        let ports = match config.get_ports() {
            [] => vec![5432],
            ports => ports.to_vec(),
        };
        let database = config.get_dbname().or(config.get_user())?.to_owned();
        Some((config.get_hosts().to_vec(), config.get_hostaddrs().to_vec(), ports, database))
    };
    one == other || place(one).is_some_and(|one| place(other) == Some(one))
}

/// Whether two URLs lead to one virtual host of a broker, whoever logs in.
pub(super) fn same_vhost(one: &Secret, other: &Secret) -> bool {
    let place = |secret: &Secret| {
        let uri: AMQPUri = secret.expose().parse().ok()?;
        Some((uri.authority.host, uri.authority.port, uri.vhost))
    };
    one == other || place(one).is_some_and(|one| place(other) == Some(one))
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres_problem(url: &str) -> Option<UrlProblem> {
        postgres(&Secret::new(url)).err()
    }

    fn amqp_problem(url: &str) -> Option<UrlProblem> {
        amqp(&Secret::new(url)).err()
    }

    #[test]
    fn postgres_urls_and_key_value_pairs_are_told_from_anything_else() {
        for url in [
            "postgres://app@localhost/app",
            "postgresql://app:p%40ss@db.example:6432/app?sslmode=require",
            "host=/var/run/postgresql user=app",
            "host=db user=app password='a b'",
            "postgres:///app?host=/tmp",
        ] {
            assert_eq!(postgres_problem(url), None, "{url}");
        }
        for (url, problem) in [
            ("mysql://app@localhost/app", UrlProblem::NotPostgres),
            ("localhost", UrlProblem::NotPostgres),
            ("postgres://", UrlProblem::NoHost),
            ("user=app", UrlProblem::NoHost),
            ("postgres://app:p@ss@db/app", UrlProblem::Malformed),
            ("host=db password=two words", UrlProblem::Malformed),
            ("postgres://db:port/app", UrlProblem::BadParameter("port")),
            ("postgres://db/app?sslmode=verify-full", UrlProblem::SslMode),
            ("postgres://db/app?sslrootcert=ca.pem", UrlProblem::TlsParameter("sslrootcert")),
            ("postgres://db/app?pgbouncer=true", UrlProblem::Parameter("pgbouncer")),
            ("postgres://db/app?hunter2=1", UrlProblem::Malformed),
        ] {
            assert_eq!(postgres_problem(url), Some(problem), "{url}");
        }
    }

    #[test]
    fn amqp_urls_name_a_host_that_the_client_will_really_connect_to() {
        for url in [
            "amqp://localhost",
            "amqps://u:p%40@mq.example:5671/%2f?heartbeat=10",
            "amqp://guest:guest@127.0.0.1:5672/",
        ] {
            assert_eq!(amqp_problem(url), None, "{url}");
        }
        for (url, problem) in [
            ("http://localhost", UrlProblem::NotAmqp),
            ("localhost:5672", UrlProblem::NotAmqp),
            ("amqp://", UrlProblem::NoHost),
            ("amqp://u:p@/vhost", UrlProblem::NoHost),
            ("amqp://mq:port", UrlProblem::Malformed),
            ("amqp://[2001:db8::1]:5672/", UrlProblem::Ipv6Literal),
        ] {
            assert_eq!(amqp_problem(url), Some(problem), "{url}");
        }
    }

    #[test]
    fn the_client_still_mistakes_an_ipv6_address_for_localhost() {
        // When this fails, lapin has learned, and `Ipv6Literal` can go.
        let uri: Result<AMQPUri, _> = "amqp://[2001:db8::1]:5672/".parse();
        assert!(uri.is_ok_and(|uri| uri.authority.host == "localhost"));
    }

    #[test]
    fn one_place_is_recognised_whoever_logs_in_and_however_it_is_written() {
        let same = |one: &str, other: &str| same_database(&Secret::new(one), &Secret::new(other));
        assert!(same("postgres://app:x@db/shop", "postgresql://relay@db:5432/shop?connect_timeout=3"));
        assert!(same("postgres://shop@db", "host=db user=app dbname=shop"));
        for other in ["postgres://app@db/billing", "postgres://app@db:5433/shop", "postgres://app@db2/shop"] {
            assert!(!same("postgres://app@db/shop", other), "{other}");
        }
        let same = |one: &str, other: &str| same_vhost(&Secret::new(one), &Secret::new(other));
        assert!(same("amqp://a:x@mq/shop", "amqp://b@mq:5672/shop?heartbeat=10"));
        for other in ["amqp://mq/", "amqp://mq:5673/shop", "amqp://mq2/shop"] {
            assert!(!same("amqp://mq/shop", other), "{other}");
        }
    }

    #[test]
    fn loopback_and_plaintext_are_recognised() {
        let of = |url: &str| postgres(&Secret::new(url)).map(|end| (end.local, end.plaintext));
        assert_eq!(of("postgres://localhost/a"), Ok((true, false)));
        assert_eq!(of("postgres://127.0.0.2/a?sslmode=disable"), Ok((true, true)));
        assert_eq!(of("postgres://[::1]/a"), Ok((true, false)));
        assert_eq!(of("host=/tmp"), Ok((true, false)));
        assert_eq!(of("postgres://localhost,db/a"), Ok((false, false)));
        let of = |url: &str| amqp(&Secret::new(url)).map(|end| (end.local, end.plaintext));
        assert_eq!(of("amqp://127.0.0.1"), Ok((true, true)));
        assert_eq!(of("amqps://mq"), Ok((false, false)));
    }
}
