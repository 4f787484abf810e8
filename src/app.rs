//! From the configuration to the settings of each part: the only place that knows both.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    amqp::{AmqpSettings, Topology, Uri},
    config::{Config, Keep, Listen, OnDead, Ordering as ConfigOrdering, Secret, Tls as ConfigTls},
    daemon::OutboxSettings,
    envelope::Policy,
    health::Health,
    metrics::Metrics,
    operator::doctor::Operators,
    page::PageOutbox,
    postgres::settings::{DatabaseSettings, Tls},
    relay::{
        engine::{REACH, Settings},
        keys::Ordering,
    },
    retry::RetryPolicy,
};

impl Unusable {
    /// Names the key and what is wrong with its value.
    #[must_use]
    pub fn new(key: &'static str, reason: String) -> Self {
        Self { key, reason }
    }
}

/// Rows that all batches together carry at most: 64 unconfirmed messages cost a third of the throughput, 4,096 gain
/// nothing. The default four publishers share it in batches of 256. Eight in batches of 128 drained 13,500 and 14,200 rows
/// a second to a quorum queue where four drained 16,000 and 18,700, and cost relay and Postgres a fifth more CPU; to a
/// classic queue 7,300 and 7,900 against 6,400 and 7,700 (two runs each, on two shared cores).
const WINDOW: usize = 1024;

/// A value that passed the configuration's checks and is unusable all the same.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Unusable {
    key: &'static str,
    reason: String,
}

/// How to reach the database.
///
/// # Errors
/// When the URL can't be parsed.
pub fn database(config: &Config, url: &Secret) -> Result<DatabaseSettings, Unusable> {
    reached_by(config, "database.url", url)
}

fn reached_by(config: &Config, key: &'static str, url: &Secret) -> Result<DatabaseSettings, Unusable> {
    let parsed = url
        .expose()
        .parse()
        .map_err(|_| Unusable { key, reason: "it is no connection string that can be used".to_owned() })?;
    Ok(DatabaseSettings {
        config: parsed,
        tls: match config.database.tls {
            ConfigTls::Auto => Tls::Auto,
            ConfigTls::Require => Tls::Require,
            ConfigTls::Disable => Tls::Disable,
        },
        ca_file: config.database.ca_file.clone(),
        connect_timeout: config.database.connect_timeout,
        statement_timeout: config.database.statement_timeout,
        pooled: config.database.pooled,
        schema: config.database.schema.clone(),
    })
}

/// How operators reach the database, by commands or the page: by `database.operator_url`, or else as `relay` does.
///
/// # Errors
/// When the URL can't be parsed.
pub fn operators_database(config: &Config, relay: &DatabaseSettings) -> Result<DatabaseSettings, Unusable> {
    let own = config.database.operator_url.as_ref();
    own.map_or_else(|| Ok(relay.clone()), |url| reached_by(config, "database.operator_url", url))
}

fn direct(config: &Config, url: &Secret) -> Result<DatabaseSettings, Unusable> {
    Ok(DatabaseSettings { pooled: false, ..reached_by(config, "database.listen_url", url)? })
}

/// How to reach the database without a pooler, for what needs a session of its own: `database.listen_url`, where the other
/// leads through one.
///
/// # Errors
/// When there is none, or the URL can't be parsed.
pub fn unpooled(config: &Config, url: &Secret) -> Result<DatabaseSettings, Unusable> {
    match &config.database.listen_url {
        _ if !config.database.pooled => database(config, url),
        Some(url) => direct(config, url),
        None => Err(Unusable::new(
            "database.pooled",
            "this needs a session of its own, which no pooler gives: name Postgres itself in database.listen_url"
                .to_owned(),
        )),
    }
}

/// How to reach the broker.
///
/// # Errors
/// When the URL can't be parsed.
pub fn amqp(config: &Config, url: &Secret) -> Result<AmqpSettings, Unusable> {
    let uri: Uri =
        url.expose().parse().map_err(|error| Unusable { key: "amqp.url", reason: format!("{error}") })?;
    Ok(AmqpSettings {
        connect_timeout: config.amqp.connect_timeout,
        confirm_timeout: config.amqp.confirm_timeout,
        heartbeat: config.amqp.heartbeat,
        ca_file: config.amqp.ca_file.clone(),
        // Whether plaintext is meant was checked, and warned about, when the configuration was read.
        insecure: true,
        uri,
    })
}

/// The broker's objects.
#[must_use]
pub fn topology(config: &Config) -> Topology {
    Topology {
        exchange: config.outbox.exchange.clone(),
        dead_letter_exchange: config.dead_letter.exchange.clone(),
        dead_letter_queue: config.dead_letter.queue.clone(),
    }
}

/// Everything that running an outbox takes.
///
/// # Errors
/// When a value is unusable.
pub fn outbox(config: &Config, database_url: &Secret, amqp_url: &Secret) -> Result<OutboxSettings, Unusable> {
    let database_settings = database(config, database_url)?;
    let listen = match (config.database.listen, &config.database.listen_url) {
        (Listen::Off, _) => None,
        (Listen::Auto, Some(url)) => Some(direct(config, url)?),
        (Listen::Auto, None) => (!config.database.pooled).then(|| database_settings.clone()),
    };
    let routing_key =
        config.outbox.routing_key.parse().map_err(|reason| Unusable { key: "outbox.routing_key", reason })?;
    Ok(OutboxSettings {
        listen,
        amqp: amqp(config, amqp_url)?,
        topology: topology(config),
        declare: config.outbox.declare,
        policy: Arc::new(Policy {
            exchange: config.outbox.exchange.clone(),
            allowed_exchanges: config.outbox.allowed_exchanges.iter().cloned().collect::<BTreeSet<_>>(),
            routing_key,
            app_id: config.outbox.app_id.clone(),
            payload_bytes: config.limits.payload_bytes,
            header_bytes: config.limits.header_bytes,
        }),
        engine: Settings {
            ordering: match config.outbox.ordering {
                ConfigOrdering::Strict => Ordering::Strict,
                ConfigOrdering::Pipelined => Ordering::Pipelined,
                ConfigOrdering::None => Ordering::None,
            },
            park: config.outbox.on_dead == OnDead::Park,
            publishers: config.amqp.publishers,
            batch_rows: (WINDOW / config.amqp.publishers).max(32),
            max_rows: config.limits.in_flight_rows,
            max_bytes: config.limits.in_flight_bytes,
            scan_rows: config.limits.scan_rows,
            retry: RetryPolicy {
                max_attempts: config.retry.max_attempts,
                floor: config.retry.floor,
                cap: config.retry.cap,
            },
            flood_limit: usize::try_from(config.dead_letter.flood_limit).unwrap_or(usize::MAX),
            reach: REACH,
            poll: config.outbox.poll_interval,
        },
        old_transaction: config.database.old_transaction,
        lease: config.lease.duration,
        grace: config.shutdown.grace,
        retention: match config.retention.published {
            Keep::For(age) => Some(age),
            Keep::Forever => None,
        },
        database: database_settings,
    })
}

/// What the operators' page has to know of an outbox that reports here.
///
/// # Errors
/// When a value is unusable.
pub fn page_outbox(
    config: &Config,
    settings: &OutboxSettings,
    metrics: Metrics,
    health: Health,
) -> Result<PageOutbox, Unusable> {
    Ok(PageOutbox {
        name: config.outbox.name.clone(),
        metrics,
        health,
        database: operators_database(config, &settings.database)?,
        amqp: settings.amqp.clone(),
        dead_letter_queue: config.dead_letter.queue.clone(),
        exchange: config.outbox.exchange.clone(),
    })
}

/// What operators do in an outbox's database; none where there is neither a page nor a connection for them.
///
/// # Errors
/// When the URL can't be parsed.
pub fn operators(config: &Config, settings: &OutboxSettings) -> Result<Option<Operators>, Unusable> {
    let (page, own) = (&config.page, config.database.operator_url.is_some());
    if !page.enabled && !own {
        return Ok(None);
    }
    let database = operators_database(config, &settings.database)?;
    Ok(Some(Operators { database, own, acts: page.enabled && page.operator_token.is_some() }))
}
