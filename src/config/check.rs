//! What values must be to each other, and what is allowed but probably not meant.

use std::time::Duration;

use super::error::{ConfigError, Origin, readable};
use super::keys;
use super::load::Setting;
use super::secret::Secret;
use super::settings::{Config, Tls};
use super::url;
use super::value::format_size;

/// A lease is renewed thrice in its duration, and a renewal needs a round trip on a busy database.
const SHORTEST_LEASE: Duration = Duration::from_secs(2);

/// Headers travel in one frame of at most 131,072 bytes (RabbitMQ's default `frame_max`), with the other
/// properties, which are short strings; a larger frame closes the connection under everybody's messages.
const LARGEST_HEADERS: usize = 120_000;

/// Below this, RabbitMQ's documentation warns of false positives.
const SAFE_HEARTBEAT: Duration = Duration::from_secs(5);

/// RabbitMQ 4's default `max_message_size`.
const BROKER_MESSAGE: usize = 16 << 20;

/// What is tried or buried apart leaves room for other rows only if memory has at least so many, and room for so many of the
/// largest payloads: see "Retries, poison, dead letters" in docs/architecture.md.
const ROOM_ROWS: usize = 24;
const ROOM_PAYLOADS: usize = 4;

/// Checks a configuration of which every value is valid alone.
pub(super) fn relations(
    config: &Config,
    settings: &[Setting],
    errors: &mut Vec<ConfigError>,
    warnings: &mut Vec<String>,
) {
    let mut review = Review { settings, errors, warnings };
    review.timing(config);
    review.names(config);
    review.limits(config);
    review.links(config);
    review.page(config);
    review.files(config);
}

struct Review<'a> {
    settings: &'a [Setting],
    errors: &'a mut Vec<ConfigError>,
    warnings: &'a mut Vec<String>,
}

impl Review<'_> {
    fn timing(&mut self, config: &Config) {
        let shortest = humantime::format_duration(SHORTEST_LEASE);
        if config.lease.duration <= SHORTEST_LEASE {
            self.conflict(
                &["lease.duration"],
                format!("a lease of {shortest} or less is lost to any hiccup of the database"),
                format!("make it longer than {shortest}; 10s is the default"),
            );
        }
        if config.retry.floor > config.retry.cap {
            self.conflict(
                &["retry.floor", "retry.cap"],
                "the shortest delay is longer than the longest",
                "lower retry.floor or raise retry.cap",
            );
        }
        if config.amqp.heartbeat.subsec_nanos() != 0 {
            self.conflict(
                &["amqp.heartbeat"],
                "AMQP negotiates heartbeats in whole seconds",
                "round it to a whole number of seconds",
            );
        } else if config.amqp.heartbeat < SAFE_HEARTBEAT {
            self.warn("amqp.heartbeat", "below 5s a busy network is mistaken for a dead one");
        }
    }

    fn names(&mut self, config: &Config) {
        let (dead, live) = (&config.dead_letter.exchange, &config.outbox.exchange);
        let cure = "give dead letters an exchange of their own";
        if dead == live {
            self.conflict(
                &["dead_letter.exchange", "outbox.exchange"],
                "dead letters would be published as if they were alive",
                cure,
            );
        }
        if config.outbox.allowed_exchanges.contains(dead) {
            self.conflict(
                &["dead_letter.exchange", "outbox.allowed_exchanges"],
                "rows could pose as dead letters",
                cure,
            );
        }
    }

    fn limits(&mut self, config: &Config) {
        let limits = &config.limits;
        if limits.payload_bytes > limits.in_flight_bytes {
            self.conflict(
                &["limits.payload_bytes", "limits.in_flight_bytes"],
                "a row of the largest payload would never fit into what may be in flight",
                "lower limits.payload_bytes or raise limits.in_flight_bytes",
            );
        }
        if limits.payload_bytes <= limits.in_flight_bytes
            && limits.payload_bytes > limits.in_flight_bytes / ROOM_PAYLOADS
        {
            let room = format!(
                "above a quarter of limits.in_flight_bytes ({}), so rows of that size that fail may hold up all others",
                format_size(limits.in_flight_bytes as u64)
            );
            self.warn("limits.payload_bytes", &room);
        }
        if limits.in_flight_rows < ROOM_ROWS {
            let room = format!("with fewer than {ROOM_ROWS}, rows that fail may hold up all others");
            self.warn("limits.in_flight_rows", &room);
        }
        if limits.scan_rows > limits.in_flight_rows {
            self.conflict(
                &["limits.scan_rows", "limits.in_flight_rows"],
                "a scan would fetch more rows than may be in flight",
                "lower limits.scan_rows or raise limits.in_flight_rows",
            );
        }
        if limits.header_bytes > LARGEST_HEADERS {
            self.conflict(
                &["limits.header_bytes"],
                "headers travel in one AMQP frame of 131072 bytes, and a larger one closes the connection",
                format!("lower it to {LARGEST_HEADERS} or less"),
            );
        }
        if limits.payload_bytes > BROKER_MESSAGE {
            let limit = format_size(BROKER_MESSAGE as u64);
            let reason = format!(
                "RabbitMQ 4 refuses messages above {limit} unless its max_message_size is raised too"
            );
            self.warn("limits.payload_bytes", &reason);
        }
    }

    /// Whether the links are as private as they should be.
    fn links(&mut self, config: &Config) {
        let endpoint = |secret: &Option<Secret>, check: fn(&Secret) -> _| {
            secret.as_ref().map(check).and_then(Result::ok)
        };
        let databases = [
            (keys::DATABASE_URL, &config.database.url),
            ("database.listen_url", &config.database.listen_url),
            ("database.operator_url", &config.database.operator_url),
        ];
        for (path, secret) in databases {
            let Some(database) = endpoint(secret, url::postgres) else { continue };
            if config.database.tls == Tls::Disable && !database.local {
                self.warn("database.tls", &format!("{path} leads off this machine, in plaintext"));
            }
            let plaintext_meant = match config.database.tls {
                Tls::Auto => database.local,
                Tls::Require => false,
                Tls::Disable => true,
            };
            if database.plaintext && !plaintext_meant {
                self.warn(path, "its sslmode=disable has no effect: database.tls decides, and asks for TLS");
            }
        }
        if let Some(broker) = endpoint(&config.amqp.url, url::amqp)
            && broker.plaintext
            && !broker.local
            && !config.amqp.insecure
        {
            let advice =
                "it leads off this machine in plaintext: use amqps://, or set amqp.insecure if that is meant";
            self.warn(keys::AMQP_URL, advice);
        }
        let flags =
            self.settings.iter().filter(|s| s.key.secret() && matches!(s.origin, Origin::Flag { .. }));
        for path in flags.map(|setting| setting.key.path()).collect::<Vec<_>>() {
            self.warn(
                &path,
                "everybody on this machine can read the command line: prefer the environment or a file",
            );
        }
    }

    /// Who may look at the operators' page, and who may do something there.
    fn page(&mut self, config: &Config) {
        let page = &config.page;
        if page.read_token.is_some() && page.read_token == page.operator_token {
            self.conflict(
                &["page.operator_token", "page.read_token"],
                "they are the same, and so every reader could do what operators do",
                "give operators a token of their own",
            );
        }
        let local = config.admin.listen.ip().to_canonical().is_loopback();
        if page.enabled && !local && page.read_token.is_none() && page.operator_token.is_some() {
            let listen = self.stated("admin.listen");
            let reason = format!("it opens nothing: with {listen} the page takes page.read_token, too");
            self.warn("page.operator_token", &reason);
        }
    }

    /// Files that are read later, when a mistake would look like an outage.
    fn files(&mut self, config: &Config) {
        for (path, file) in
            [("database.ca_file", &config.database.ca_file), ("amqp.ca_file", &config.amqp.ca_file)]
        {
            let (Some(file), Some(setting)) = (file, self.setting(path)) else { continue };
            if let Err(cause) = readable(file) {
                let (key, origin) = (setting.key, setting.origin.clone());
                let cure = "name a readable PEM file, or none";
                let cause = Some(cause);
                self.errors.push(ConfigError::UnusableFile { key, origin, path: file.clone(), cause, cure });
            }
        }
    }

    fn setting(&self, path: &str) -> Option<&Setting> {
        let key = keys::find(path)?;
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// `retry.cap = 5m (default)`.
    fn stated(&self, path: &str) -> String {
        match self.setting(path) {
            Some(Setting { key, value, origin }) => format!("{} = {value} ({origin})", key.path()),
            None => path.to_owned(),
        }
    }

    fn conflict(&mut self, keys: &[&'static str], reason: impl Into<String>, cure: impl Into<String>) {
        let stated: Vec<String> = keys.iter().map(|path| self.stated(path)).collect();
        self.errors.push(ConfigError::Conflict {
            keys: keys.to_vec(),
            stated: stated.join(" and "),
            reason: reason.into(),
            cure: cure.into(),
        });
    }

    fn warn(&mut self, path: &str, reason: &str) {
        let warning = format!("{}: {reason}", self.stated(path));
        self.warnings.push(warning);
    }
}
