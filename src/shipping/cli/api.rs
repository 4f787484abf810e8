//! `shipments api`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use tokio::net::TcpListener;

use super::servers::{Database, given, missing, secret, unusable};
use crate::{
    cli::{Exit, Failure, end_tracing, listen, runtime, signals, start_logging, start_tracing},
    config::{Log, LogFormat, Secret},
    metrics::ApiMetrics,
    shipping::{
        api::{self, ApiSettings, Callers, CarrierWebhooks, Code, Limits, Listeners, Rate},
        carrier::signature::SignaturePolicy,
    },
    telemetry::Tracer,
};

/// Serve the HTTP API: orders, shipments, webhook endpoints, and the carrier's webhooks
///
/// Needs the database alone: with the broker down it goes on accepting.
#[derive(Debug, Args)]
pub(super) struct Api {
    #[command(flatten)]
    database: Database,
    /// Where to listen; port 0 picks a free one and logs it
    #[arg(long, value_name = "ADDRESS", env = "SHIPMENTS_API_LISTEN", default_value = "127.0.0.1:9650")]
    listen: SocketAddr,
    /// Where /metrics, /livez and /readyz are
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SHIPMENTS_API_ADMIN_LISTEN",
        default_value = "127.0.0.1:9651"
    )]
    admin_listen: SocketAddr,
    /// Who may call: lines of a name, a colon and the SHA-256 of a bearer token in hex
    #[arg(long, value_name = "FILE", env = "SHIPMENTS_API_TOKENS_FILE")]
    tokens_file: Option<PathBuf>,
    /// Requests a second of each caller; twice as many at once
    #[arg(long, value_name = "NUMBER", env = "SHIPMENTS_API_RATE", default_value_t = 500)]
    rate: u32,
    /// Requests at a time, of all callers
    #[arg(long, value_name = "NUMBER", env = "SHIPMENTS_API_REQUESTS", default_value_t = 256)]
    requests: u16,
    /// Connections of clients at a time
    #[arg(long, value_name = "NUMBER", env = "SHIPMENTS_API_CONNECTIONS", default_value_t = 1024)]
    connections: u16,
    /// Connections to the database
    #[arg(long, value_name = "NUMBER", env = "SHIPMENTS_API_DATABASE_CONNECTIONS", default_value_t = 8)]
    database_connections: u16,
    /// Bytes of a body; an order may have 4 times, a batch 8 times as many
    #[arg(long, value_name = "BYTES", env = "SHIPMENTS_API_BODY_BYTES", default_value_t = 262_144)]
    body_bytes: u32,
    /// How long a request may take to arrive, its head and its body each
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_API_ARRIVAL_TIMEOUT", default_value = "10s", value_parser = time)]
    arrival_timeout: Duration,
    /// How long a request may be worked at
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_API_WORK_TIMEOUT", default_value = "10s", value_parser = time)]
    work_timeout: Duration,
    /// How long the answer to an idempotency key is kept
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_API_KEY_LIFETIME", default_value = "7days", value_parser = time)]
    key_lifetime: Duration,
    /// How long an endpoint's previous secret signs beside a new one
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_API_SECRET_OVERLAP", default_value = "1day", value_parser = time)]
    secret_overlap: Duration,
    /// Take webhook endpoints with plain http on loopback: for development
    #[arg(long, env = "SHIPMENTS_API_LOOPBACK_ENDPOINTS")]
    loopback_endpoints: bool,
    /// What the carrier signs its webhooks with [default: none are taken]
    #[arg(long, value_name = "SECRET", env = "SHIPMENTS_CARRIER_WEBHOOK_SECRET", hide_env_values = true, value_parser = secret)]
    carrier_webhook_secret: Option<Secret>,
    /// A file that holds it
    #[arg(
        long,
        value_name = "FILE",
        env = "SHIPMENTS_CARRIER_WEBHOOK_SECRET_FILE",
        conflicts_with = "carrier_webhook_secret"
    )]
    carrier_webhook_secret_file: Option<PathBuf>,
    /// A file that holds the secret before it, while it is being replaced
    #[arg(long, value_name = "FILE", env = "SHIPMENTS_CARRIER_WEBHOOK_PREVIOUS_SECRET_FILE")]
    carrier_webhook_previous_secret_file: Option<PathBuf>,
    /// The path that the carrier was told to call, if a proxy changes it
    #[arg(
        long,
        value_name = "PATH",
        env = "SHIPMENTS_CARRIER_WEBHOOK_PATH",
        default_value = "/webhooks/carrier"
    )]
    carrier_webhook_path: String,
    /// How far the time of the carrier's signature may be from now
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_CARRIER_WEBHOOK_TOLERANCE", default_value = "5m", value_parser = time)]
    carrier_webhook_tolerance: Duration,
    /// Refuse webhooks of the carrier with only the first version of its signature, which never goes out of date
    #[arg(long, env = "SHIPMENTS_CARRIER_WEBHOOK_REQUIRE_V2")]
    carrier_webhook_require_v2: bool,
    /// How long a drain may take
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_API_GRACE", default_value = "20s", value_parser = time)]
    grace: Duration,
    /// What to log: error, warn, info (a line a request), debug
    #[arg(long, value_name = "LEVEL", env = "SHIPMENTS_LOG_LEVEL", default_value = "info")]
    log_level: String,
}

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("it must be more than nothing".to_owned()) } else { Ok(time) }
}

impl Api {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        start_logging(&Log { format: LogFormat::Auto, level: self.log_level.clone() });
        let runtime = runtime()?;
        let telemetry = start_tracing("shipments-api", &runtime);
        let settings = ApiSettings { tracer: telemetry.tracer(), ..self.settings()? };
        let codes = Code::ALL.iter().map(|code| code.as_str());
        let metrics = ApiMetrics::new(codes).map_err(|error| Failure::Failed(error.to_string()))?;
        runtime.block_on(async {
            let listeners = Listeners {
                api: listen("SHIPMENTS_API_LISTEN", self.listen).await?,
                admin: listen("SHIPMENTS_API_ADMIN_LISTEN", self.admin_listen).await?,
            };
            let bound = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
            let address = bound(&listeners.api, self.listen);
            tracing::info!(
                address = %address,
                admin = %bound(&listeners.admin, self.admin_listen),
                "shipments api {} listens on http://{address}, database {}",
                env!("CARGO_PKG_VERSION"),
                settings.database.server()
            );
            let ended = api::run(settings, metrics, listeners, signals()?).await;
            end_tracing(telemetry, ended).await;
            Ok(ended.into())
        })
    }

    fn settings(&self) -> Result<ApiSettings, Failure> {
        let least = |name, number: u32| {
            if number > 0 { Ok(number) } else { Err(unusable(name, "it must be at least 1".to_owned())) }
        };
        let rate = f64::from(least("--rate", self.rate)?);
        let rate = Rate { per_second: rate, burst: rate * 2.0 };
        let bytes = least("--body-bytes", self.body_bytes)?;
        let limits = Limits {
            sessions: usize::from(self.database_connections.max(1)),
            connections: usize::from(self.connections.max(1)),
            requests: usize::from(self.requests.max(1)),
            body: usize::try_from(bytes).unwrap_or(usize::MAX),
            rate,
            arrival: self.arrival_timeout,
            work: self.work_timeout,
            ..Limits::default()
        };
        let mut database = self.database.settings()?;
        database.connect_timeout = self.work_timeout;
        database.statement_timeout = self.work_timeout;
        Ok(ApiSettings {
            database,
            callers: self.callers(rate)?,
            carrier: self.carrier()?,
            limits,
            key_lifetime: self.key_lifetime,
            secret_overlap: self.secret_overlap,
            loopback_endpoints: self.loopback_endpoints,
            grace: self.grace,
            tracer: Tracer::default(),
        })
    }

    fn callers(&self, rate: Rate) -> Result<Callers, Failure> {
        const NAME: &str = "SHIPMENTS_API_TOKENS_FILE";
        let file = self.tokens_file.as_ref().ok_or_else(|| missing(NAME, "--tokens-file"))?;
        let wrong = |error: String| unusable(NAME, format!("{}: {error}", file.display()));
        let text =
            std::fs::read_to_string(file).map_err(|error| wrong(format!("it can't be read: {error}")))?;
        Callers::read(&text, rate).map_err(|error| wrong(error.to_string()))
    }

    fn carrier(&self) -> Result<Option<CarrierWebhooks>, Failure> {
        const NAME: &str = "SHIPMENTS_CARRIER_WEBHOOK_SECRET";
        let current =
            given(NAME, self.carrier_webhook_secret.as_ref(), self.carrier_webhook_secret_file.as_ref())?;
        let Some(current) = current else { return Ok(None) };
        let previous = given(
            "SHIPMENTS_CARRIER_WEBHOOK_PREVIOUS_SECRET",
            None,
            self.carrier_webhook_previous_secret_file.as_ref(),
        )?;
        let secrets = std::iter::once(current).chain(previous).collect();
        let policy =
            SignaturePolicy::new(secrets, self.carrier_webhook_tolerance, self.carrier_webhook_require_v2)
                .map_err(|error| unusable(NAME, error.to_string()))?;
        Ok(Some(CarrierWebhooks { policy, path: self.carrier_webhook_path.clone() }))
    }
}
