//! The table of keys.

use std::time::Duration;

use super::kind::{Invalid, Kind};
use super::settings::{Config, Listen, LogFormat, OnDead, Ordering, Tls};
use super::value::{Raw, Value, put};

/// One key: everything there is to know about it.
#[derive(Clone, Copy)]
pub struct Key {
    /// The section, `lease` in `lease.duration`.
    pub section: &'static str,
    /// The name within the section, `duration` in `lease.duration`.
    pub name: &'static str,
    /// What a value may be.
    pub kind: Kind,
    /// The default, as it could be written in the environment; `None` for a key that may go without a value.
    pub default: Option<&'static str>,
    /// What it means, in a sentence.
    pub doc: &'static str,
    /// A widely used variable that is understood too, below `RELAY_SECTION_KEY`.
    pub alias: Option<&'static str>,
    apply: fn(&mut Config, Value) -> Option<()>,
}

impl Key {
    /// `lease.duration`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// `RELAY_LEASE_DURATION`.
    pub fn variable(&self) -> String {
        format!("RELAY_{}_{}", self.section, self.name).to_ascii_uppercase()
    }

    /// `lease-duration`, to which a command line adds the dashes.
    pub fn flag(&self) -> String {
        format!("{}-{}", self.section, self.name).replace('_', "-")
    }

    /// Whether it is one for the whole process, rather than each outbox's.
    pub fn of_process(&self) -> bool {
        matches!(self.section, "shutdown" | "admin" | "page" | "log")
    }

    /// Its path in a `[[outbox]]`, where those of `[outbox]` stand by themselves: `retry.cap`, `exchange`.
    pub fn path_in_block(&self) -> String {
        if self.section == OUTBOX { self.name.to_owned() } else { self.path() }
    }

    /// Whether the value is redacted wherever it is shown, and may come from a file named by `VARIABLE_FILE`.
    pub fn secret(&self) -> bool {
        matches!(self.kind, Kind::PostgresUrl | Kind::AmqpUrl | Kind::Token)
    }

    /// The variables that set this key, highest first.
    pub(super) fn variables(&self) -> impl Iterator<Item = String> {
        [Some(self.variable()), self.alias.map(str::to_owned)].into_iter().flatten()
    }

    /// What was written, understood. Nothing written unsets a key that may go without a value.
    pub(super) fn parse(&self, raw: &Raw) -> Result<Value, Invalid> {
        if self.default.is_none() && raw.is_empty() {
            return Ok(Value::Unset);
        }
        self.kind.parse(raw)
    }

    /// The default, understood.
    pub(super) fn default_value(&self) -> Result<Value, Invalid> {
        self.parse(&Raw::Text(self.default.unwrap_or_default().to_owned()))
    }

    /// Puts a value of this key's kind into its field.
    pub(super) fn apply(&self, config: &mut Config, value: Value) -> Result<(), Invalid> {
        (self.apply)(config, value).ok_or(Invalid::Unfit)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (self.section, self.name) == (other.section, other.name)
    }
}

/// The key with this path, `lease.duration`.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    let (section, name) = path.split_once('.')?;
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// The section of which there may be several.
pub(super) const OUTBOX: &str = "outbox";

/// Paths that code refers to.
pub(super) const DATABASE_URL: &str = "database.url";
pub(super) const AMQP_URL: &str = "amqp.url";
pub(super) const OUTBOX_NAME: &str = "outbox.name";

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const HOUR: Duration = secs(3600);
/// In seconds.
const DAY: u64 = 24 * 3600;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How long a wait may be: long enough to be of use, short enough that nobody takes it for a hang.
const WAIT: Kind = Kind::Duration { min: ms(10), max: HOUR };

/// One row of the table. The field's path is the key's name, so the two cannot drift apart.
macro_rules! key {
    ($section:ident.$name:ident, $kind:expr, $default:expr, $doc:literal) => {
        key!($section.$name, $kind, $default, $doc, None)
    };
    ($section:ident.$name:ident, $kind:expr, $default:expr, $doc:literal, $alias:expr) => {
        Key {
            section: stringify!($section),
            name: stringify!($name),
            kind: $kind,
            default: $default,
            doc: $doc,
            alias: $alias,
            apply: |config, value| put(&mut config.$section.$name, value),
        }
    };
}

/// Every key, by section.
pub static KEYS: &[Key] = &[
    key!(
        database.url,
        Kind::PostgresUrl,
        None,
        "Where Postgres is: a URL, or a string of key=value pairs.",
        Some("DATABASE_URL")
    ),
    key!(
        database.ca_file,
        Kind::Path,
        None,
        "PEM file of authorities that may vouch for Postgres' certificate, besides the system's."
    ),
    key!(
        database.tls,
        Kind::Choice(Tls::NAMES),
        Some("auto"),
        "auto: verified TLS, except to a loopback address or a Unix socket; require: verified TLS everywhere; \
         disable: plaintext."
    ),
    key!(database.schema, Kind::Identifier, Some("relay"), "The schema that holds relay's tables."),
    key!(
        database.listen,
        Kind::Choice(Listen::NAMES),
        Some("auto"),
        "auto: be woken by notifications as long as they work; off: poll only."
    ),
    key!(
        database.listen_url,
        Kind::PostgresUrl,
        None,
        "A direct connection for LISTEN, where database.url leads through a transaction-mode pooler."
    ),
    key!(
        database.operator_url,
        Kind::PostgresUrl,
        None,
        "A connection for operators' commands and page, whose role may do what operators do; otherwise they use database.url."
    ),
    key!(
        database.pooled,
        Kind::Boolean,
        Some("false"),
        "database.url leads through a pooler that lends sessions for a transaction, such as pgbouncer: keep nothing in them, and \
         listen at database.listen_url alone, if there is one."
    ),
    key!(
        database.connect_timeout,
        WAIT,
        Some("10s"),
        "Longest wait for a connection to Postgres, startup and login included."
    ),
    key!(database.statement_timeout, WAIT, Some("30s"), "Longest run of one SQL statement."),
    key!(
        database.old_transaction,
        Kind::Duration { min: ms(10), max: secs(7 * 24 * 3600) },
        Some("5m"),
        "From which age on a transaction that keeps vacuum from cleaning the table is named in the log."
    ),
    key!(amqp.url, Kind::AmqpUrl, None, "Where RabbitMQ is: an amqp:// or amqps:// URL.", Some("AMQP_URL")),
    key!(
        amqp.ca_file,
        Kind::Path,
        None,
        "PEM file of authorities that may vouch for RabbitMQ's certificate, besides the system's."
    ),
    key!(
        amqp.insecure,
        Kind::Boolean,
        Some("false"),
        "Plaintext amqp:// to a host that is not loopback is meant: do not warn of it."
    ),
    key!(
        amqp.connect_timeout,
        WAIT,
        Some("10s"),
        "Longest wait for a connection to RabbitMQ, handshake included."
    ),
    key!(
        amqp.confirm_timeout,
        WAIT,
        Some("30s"),
        "Longest wait for a batch's confirms, after which its fate is unknown and the connection is given up."
    ),
    key!(
        amqp.heartbeat,
        Kind::Duration { min: secs(1), max: secs(600) },
        Some("10s"),
        "AMQP heartbeat, in whole seconds."
    ),
    key!(
        amqp.publishers,
        Kind::Integer { min: 1, max: 64 },
        Some("4"),
        "Publisher tasks, each with a channel of its own; a key always goes to the same one."
    ),
    key!(
        outbox.name,
        Kind::Name,
        Some("default"),
        "The value of the metric label outbox, and what --outbox calls it."
    ),
    key!(
        outbox.exchange,
        Kind::Exchange,
        Some("outbox.events"),
        "The topic exchange of rows that name none."
    ),
    key!(
        outbox.routing_key,
        Kind::Template,
        Some("{aggregate_type}.{event_type}"),
        "The routing key of rows that name none; {aggregate_type}, {aggregate_id} and {event_type} are replaced."
    ),
    key!(
        outbox.allowed_exchanges,
        Kind::Exchanges,
        Some(""),
        "Exchanges that rows may name besides outbox.exchange; a row that names another is dead-lettered."
    ),
    key!(
        outbox.declare,
        Kind::Boolean,
        Some("true"),
        "Declare outbox.exchange, the dead-letter exchange and its queue; otherwise only verify that they exist."
    ),
    key!(
        outbox.ordering,
        Kind::Choice(Ordering::NAMES),
        Some("strict"),
        "strict: one row of a key in flight at a time; pipelined: runs of a key, which a refusal may invert; \
         none: no order."
    ),
    key!(outbox.app_id, Kind::Name, Some("relay"), "AMQP app_id of every message."),
    key!(
        outbox.poll_interval,
        Kind::Duration { min: ms(1), max: HOUR },
        Some("1s"),
        "Longest sleep between two looks at the table when nothing wakes relay."
    ),
    key!(
        outbox.on_dead,
        Kind::Choice(OnDead::NAMES),
        Some("skip"),
        "What a dead row means for its key. skip: the key goes on; park: it waits for a replay or a discard."
    ),
    key!(
        retry.max_attempts,
        Kind::Integer { min: 1, max: 1000 },
        Some("8"),
        "Failures charged to a row before it is dead-lettered."
    ),
    key!(
        retry.floor,
        Kind::Duration { min: ms(10), max: HOUR },
        Some("1s"),
        "Shortest delay before a row is tried again."
    ),
    key!(
        retry.cap,
        Kind::Duration { min: ms(10), max: secs(7 * DAY) },
        Some("5m"),
        "Longest delay before a row is tried again."
    ),
    key!(dead_letter.exchange, Kind::Exchange, Some("outbox.dlx"), "The dead-letter exchange."),
    key!(
        dead_letter.queue,
        Kind::Name,
        Some("outbox.dlq"),
        "The quorum queue bound to the dead-letter exchange."
    ),
    key!(
        dead_letter.flood_limit,
        Kind::Integer { min: 0, max: 1_000_000 },
        Some("100"),
        "Deaths a minute past which further ones wait while publishing goes on; 0 for no limit."
    ),
    key!(
        lease.duration,
        Kind::Duration { min: ms(1), max: HOUR },
        Some("10s"),
        "How long a lane stays owned without a renewal, hence how long the rows of a relay that died wait."
    ),
    key!(
        retention.published,
        Kind::Age { min: secs(60), max: secs(3650 * DAY) },
        Some("7d"),
        "How long rows stay after they were published, or died and were discarded; off: for ever."
    ),
    key!(
        limits.in_flight_rows,
        Kind::Integer { min: 1, max: 1_000_000 },
        Some("4096"),
        "Rows fetched and not yet settled."
    ),
    key!(
        limits.in_flight_bytes,
        Kind::Size { min: 1024, max: 64 * GIB },
        Some("64MiB"),
        "Payloads and headers of the rows in flight, together."
    ),
    key!(
        limits.payload_bytes,
        Kind::Size { min: 1, max: 512 * MIB },
        Some("16MiB"),
        "Largest payload; a larger one is dead-lettered unsent. RabbitMQ 4 refuses more than 16MiB by default."
    ),
    key!(
        limits.header_bytes,
        Kind::Size { min: 1024, max: GIB },
        Some("65536"),
        "Largest sum of a row's header names and values; rows with more are dead-lettered unsent."
    ),
    key!(limits.scan_rows, Kind::Integer { min: 1, max: 100_000 }, Some("1000"), "Rows fetched by one scan."),
    key!(
        shutdown.grace,
        Kind::Duration { min: ms(1), max: HOUR },
        Some("20s"),
        "How long a drain may wait for confirms; keep it below the orchestrator's own grace period."
    ),
    key!(
        admin.listen,
        Kind::Address,
        Some("127.0.0.1:9630"),
        "Address of /metrics, /livez and /readyz; port 0 picks a free one and logs it."
    ),
    key!(
        page.enabled,
        Kind::Boolean,
        Some("true"),
        "Serve the operators' page at admin.listen; at an address that is not loopback it takes page.read_token, too."
    ),
    key!(
        page.read_token,
        Kind::Token,
        None,
        "What a reader of the operators' page has to know; without it the page is served on loopback only."
    ),
    key!(
        page.operator_token,
        Kind::Token,
        None,
        "What whoever replays, discards or pauses by the operators' page has to know; without it the page only shows."
    ),
    key!(
        log.format,
        Kind::Choice(LogFormat::NAMES),
        Some("auto"),
        "auto: text on a terminal, JSON elsewhere; json; text."
    ),
    key!(log.level, Kind::Filter, Some("info"), "Tracing directives, such as info,relay=debug."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::settings::Keep, *};

    #[test]
    fn every_default_is_valid_and_fits_its_field() {
        let mut config = Config::blank();
        for key in KEYS {
            let applied = key.default_value().and_then(|value| key.apply(&mut config, value));
            assert_eq!(applied, Ok(()), "{key:?}");
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn no_two_keys_share_a_path_a_variable_or_a_flag() {
        let distinct = |name: fn(&Key) -> String| KEYS.iter().map(name).collect::<BTreeSet<_>>().len();
        assert_eq!(distinct(Key::path), KEYS.len());
        assert_eq!(distinct(Key::variable), KEYS.len());
        assert_eq!(distinct(Key::flag), KEYS.len());
    }

    #[test]
    fn every_key_is_documented_in_a_sentence() {
        for key in KEYS {
            assert!(key.doc.ends_with('.') && key.doc.len() > 20, "{key:?}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_design() {
        let config = Config::default();
        assert_eq!(config.retry.max_attempts, 8);
        assert_eq!((config.retry.floor, config.retry.cap), (secs(1), secs(300)));
        assert_eq!(config.dead_letter.flood_limit, 100);
        assert_eq!(config.lease.duration, secs(10));
        assert_eq!(config.outbox.poll_interval, secs(1));
        assert_eq!(config.shutdown.grace, secs(20));
        assert_eq!(config.retention.published, Keep::For(secs(7 * DAY)));
        assert_eq!((config.limits.in_flight_rows, config.limits.in_flight_bytes), (4096, 64 << 20));
        assert_eq!(config.limits.payload_bytes, 16 << 20);
        assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9630");
        assert_eq!(config.outbox.exchange, "outbox.events");
        assert_eq!(config.outbox.routing_key, "{aggregate_type}.{event_type}");
        assert_eq!(
            (config.dead_letter.exchange.as_str(), config.dead_letter.queue.as_str()),
            ("outbox.dlx", "outbox.dlq")
        );
        assert!(config.outbox.declare && !config.amqp.insecure);
    }
}
