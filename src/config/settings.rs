//! The configuration as the rest of relay sees it: plain values, one struct per concern.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::keys::{self, KEYS};
use super::secret::Secret;
use super::value::{FromValue, Value};

/// Everything that can be configured. Each field's meaning, unit and default also stand in [`KEYS`].
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The Postgres server and the schema in it.
    pub database: Database,
    /// The RabbitMQ server and the link to it.
    pub amqp: Amqp,
    /// What is published, where to, and in which order.
    pub outbox: Outbox,
    /// When a row that failed is tried again.
    pub retry: Retry,
    /// Where rows go that cannot be published.
    pub dead_letter: DeadLetter,
    /// Who may publish a lane.
    pub lease: Lease,
    /// How long rows stay that nobody needs any more.
    pub retention: Retention,
    /// Bounds on memory and on single messages.
    pub limits: Limits,
    /// How relay stops.
    pub shutdown: Shutdown,
    /// The listener for metrics and probes.
    pub admin: Admin,
    /// The operators' page.
    pub page: Page,
    /// What is logged, and how.
    pub log: Log,
}

/// `[database]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// A `postgres://` URL or a `key=value` connection string. Absent only for commands that need no database.
    pub url: Option<Secret>,
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether the link is encrypted and verified.
    pub tls: Tls,
    /// The schema that holds relay's tables: a plain lower-case identifier.
    pub schema: String,
    /// Whether relay may be woken by notifications.
    pub listen: Listen,
    /// A direct connection for LISTEN, where `url` leads through a transaction-mode pooler.
    pub listen_url: Option<Secret>,
    /// A connection for operators' commands and page, if not `url`.
    pub operator_url: Option<Secret>,
    /// Whether `url` leads through a transaction-mode pooler.
    pub pooled: bool,
    /// Longest wait for a connection, startup and login included.
    pub connect_timeout: Duration,
    /// Longest run of one statement.
    pub statement_timeout: Duration,
    /// From which age on a transaction that holds cleanup back is named in the log.
    pub old_transaction: Duration,
}

/// `[amqp]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Amqp {
    /// An `amqp://` or `amqps://` URL. Absent only for commands that need no broker.
    pub url: Option<Secret>,
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Plaintext `amqp://` beyond this machine is meant, not an oversight.
    pub insecure: bool,
    /// Longest wait for a connection, handshake included.
    pub connect_timeout: Duration,
    /// Longest wait for a batch's confirms; past it their outcome is unknown.
    pub confirm_timeout: Duration,
    /// AMQP heartbeat, in whole seconds.
    pub heartbeat: Duration,
    /// Publisher tasks, each with a channel of its own.
    pub publishers: usize,
}

/// `[outbox]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Outbox {
    /// The value of the metric label `outbox`.
    pub name: String,
    /// The exchange of rows that name none.
    pub exchange: String,
    /// The routing key of rows that name none; a template over `{aggregate_type}`, `{aggregate_id}` and
    /// `{event_type}`.
    pub routing_key: String,
    /// Exchanges that rows may name besides `exchange`.
    pub allowed_exchanges: Vec<String>,
    /// Declare the exchanges and the queue of dead letters; otherwise they are only verified.
    pub declare: bool,
    /// How strictly rows of one key keep their order.
    pub ordering: Ordering,
    /// AMQP `app_id`.
    pub app_id: String,
    /// Longest sleep between two looks at the table.
    pub poll_interval: Duration,
    /// What a dead row means for the rest of its key.
    pub on_dead: OnDead,
}

/// `[retry]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Failures charged to a row before it is dead.
    pub max_attempts: u32,
    /// Shortest delay before a retry.
    pub floor: Duration,
    /// Longest delay before a retry.
    pub cap: Duration,
}

/// `[dead_letter]`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The dead-letter exchange.
    pub exchange: String,
    /// The queue bound to it.
    pub queue: String,
    /// Deaths a minute past which further ones wait; 0 for no limit.
    pub flood_limit: u32,
}

/// `[lease]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// How long a lane stays owned without a renewal.
    pub duration: Duration,
}

/// `[retention]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Retention {
    /// How long a row stays after it was published, or after it died and was discarded.
    pub published: Keep,
}

/// How long something stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// For ever: `off`.
    Forever,
    /// For so long.
    For(Duration),
}

impl FromValue for Keep {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Choice(super::kind::OFF) => Some(Self::Forever),
            Value::Duration(duration) => Some(Self::For(duration)),
            _ => None,
        }
    }
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Rows fetched and not yet settled.
    pub in_flight_rows: usize,
    /// Their payloads and headers together, in bytes.
    pub in_flight_bytes: usize,
    /// One payload, in bytes. A larger one is poison.
    pub payload_bytes: usize,
    /// The names and values of a row's headers, in bytes. Larger ones are poison.
    pub header_bytes: usize,
    /// Rows fetched by one scan.
    pub scan_rows: usize,
}

/// `[shutdown]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Shutdown {
    /// How long a drain may wait for confirms.
    pub grace: Duration,
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// Address of `/metrics`, `/livez` and `/readyz`; port 0 picks a free one.
    pub listen: SocketAddr,
}

/// `[page]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Whether it is served.
    pub enabled: bool,
    /// What a reader has to know, if anything.
    pub read_token: Option<Secret>,
    /// What whoever changes something has to know; without it nobody can.
    pub operator_token: Option<Secret>,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// Directives of a tracing filter, such as `info,relay=debug`.
    pub level: String,
}

/// An enum whose variants have names in the configuration.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// The names in the configuration, in the variants' order.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The name in the configuration.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl FromValue for $name {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    $(Value::Choice($text) => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

choice!(
    /// Encryption of the link to Postgres.
    Tls {
        /// Verified TLS, except to a loopback address or a Unix socket.
        Auto = "auto",
        /// Verified TLS everywhere.
        Require = "require",
        /// Plaintext everywhere.
        Disable = "disable",
    }
);

choice!(
    /// Whether relay listens for notifications.
    Listen {
        /// Listen; poll as well, and alone when listening is found not to work.
        Auto = "auto",
        /// Poll only.
        Off = "off",
    }
);

choice!(
    /// How strictly rows of one key keep their order.
    Ordering {
        /// One row of a key in flight at a time.
        Strict = "strict",
        /// Runs of a key in flight on one channel; a refusal may invert them.
        Pipelined = "pipelined",
        /// No order.
        None = "none",
    }
);

choice!(
    /// What a dead row means for the rest of its key.
    OnDead {
        /// The key goes on without it.
        Skip = "skip",
        /// The key waits until the row is replayed or discarded.
        Park = "park",
    }
);

choice!(
    /// The form of log lines.
    LogFormat {
        /// Text on a terminal, JSON off it.
        Auto = "auto",
        /// JSON, one object a line.
        Json = "json",
        /// Text.
        Text = "text",
    }
);

impl Config {
    /// The database's URL, for commands that cannot do without.
    ///
    /// # Errors
    /// [`ConfigError::Missing`] if none is set; [`super::load()`] has reported it already when the command's
    /// [`super::Needs`] asked for it.
    pub fn database_url(&self) -> Result<&Secret, ConfigError> {
        self.database.url.as_ref().ok_or_else(|| ConfigError::missing(keys::DATABASE_URL))
    }

    /// The broker's URL, for commands that cannot do without.
    ///
    /// # Errors
    /// As for [`Config::database_url`].
    pub fn amqp_url(&self) -> Result<&Secret, ConfigError> {
        self.amqp.url.as_ref().ok_or_else(|| ConfigError::missing(keys::AMQP_URL))
    }

    /// A place to put values into. What stands here is never seen: the loader applies every key of the table.
    pub(super) fn blank() -> Self {
        let (unset, zero) = (String::new, Duration::ZERO);
        Self {
            database: Database {
                url: None,
                ca_file: None,
                tls: Tls::Auto,
                schema: unset(),
                listen: Listen::Auto,
                listen_url: None,
                operator_url: None,
                pooled: false,
                connect_timeout: zero,
                statement_timeout: zero,
                old_transaction: zero,
            },
            amqp: Amqp {
                url: None,
                ca_file: None,
                insecure: false,
                connect_timeout: zero,
                confirm_timeout: zero,
                heartbeat: zero,
                publishers: 0,
            },
            outbox: Outbox {
                name: unset(),
                exchange: unset(),
                routing_key: unset(),
                allowed_exchanges: Vec::new(),
                declare: false,
                ordering: Ordering::Strict,
                app_id: unset(),
                poll_interval: zero,
                on_dead: OnDead::Skip,
            },
            retry: Retry { max_attempts: 0, floor: zero, cap: zero },
            dead_letter: DeadLetter { exchange: unset(), queue: unset(), flood_limit: 0 },
            lease: Lease { duration: zero },
            retention: Retention { published: Keep::Forever },
            limits: Limits {
                in_flight_rows: 0,
                in_flight_bytes: 0,
                payload_bytes: 0,
                header_bytes: 0,
                scan_rows: 0,
            },
            shutdown: Shutdown { grace: zero },
            admin: Admin { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0) },
            page: Page { enabled: false, read_token: None, operator_token: None },
            log: Log { format: LogFormat::Auto, level: unset() },
        }
    }
}

impl Default for Config {
    /// The table's defaults; no URL is set.
    fn default() -> Self {
        let mut config = Self::blank();
        for key in KEYS {
            // Cannot fail: a test of the table applies every default.
            let _ = key.default_value().is_ok_and(|value| key.apply(&mut config, value).is_ok());
        }
        config
    }
}
