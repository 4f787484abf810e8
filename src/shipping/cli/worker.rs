//! `shipments worker`.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use tokio::sync::watch;

use super::{
    notify::NotifyArgs,
    servers::{Broker, Database, given, missing, secret, unusable},
};
use crate::{
    admin::{self, Admin, readiness},
    breaker::BreakerSettings,
    cause::chain,
    cli::{Exit, Failure, end_tracing, listen, runtime, signals, start_logging, start_tracing},
    config::{Log, LogFormat, Secret},
    consumer::Handler,
    drain::Ended,
    http::{
        client::{HttpClient, HttpSettings},
        gate::Gate,
    },
    metrics::WorkerMetrics,
    retry::RetryPolicy,
    shipping::{
        carrier::{
            client::{BREAKER_TARGET, Carrier, CarrierSettings},
            lookup::SETTLING,
        },
        money::Currency,
        notify::Notify,
        roles::Part,
        saga::Limits,
        step::Step,
        worker::{Notifier, Rates, WorkerSettings, Workers},
    },
    telemetry::Tracer,
};

/// The parts that run unless some are named.
const PARTS: [Part; 6] =
    [Part::Address, Part::Label, Part::Tracking, Part::Invoice, Part::Fulfilment, Part::Notify];
/// As a destination in `relay_breaker_state`.
const MAIL: &str = "mail";

/// Run the workers that ship: each step's, together or apart.
///
/// A part's database may be another than DATABASE_URL, or the same under a role of its own:
/// `SHIPMENTS_LABEL_DATABASE_URL`, or `SHIPMENTS_LABEL_DATABASE_URL_FILE`, and so on for every part.
#[derive(Debug, Args)]
pub(super) struct Worker {
    /// Only these: address, label, tracking, invoice, fulfilment, notify; a step's name stands for its part
    #[arg(long, value_name = "PART,..", value_delimiter = ',', value_parser = part)]
    only: Vec<Part>,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    broker: Broker,
    #[command(flatten)]
    carrier: CarrierArgs,
    #[command(flatten)]
    notify: NotifyArgs,
    #[command(flatten)]
    pace: Pace,
    /// The exchange that relay publishes to
    #[arg(long, value_name = "NAME", env = "SHIPMENTS_EXCHANGE", default_value = "outbox.events")]
    exchange: String,
    /// Where dead letters go
    #[arg(long, value_name = "NAME", env = "SHIPMENTS_DEAD_LETTER_EXCHANGE", default_value = "outbox.dlx")]
    dead_letter_exchange: String,
    /// What queues are called after: NAME.label
    #[arg(long, value_name = "NAME", env = "SHIPMENTS_QUEUE_PREFIX", default_value = "shipping")]
    queue_prefix: String,
    /// Do not declare queues, only check that they are there
    #[arg(long)]
    no_declare: bool,
    /// Where /metrics, /livez and /readyz are; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", env = "SHIPMENTS_ADMIN_LISTEN", default_value = "127.0.0.1:9631")]
    admin_listen: SocketAddr,
    /// How long a drain may take
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_GRACE", default_value = "20s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// What is logged: a level, or directives of a tracing filter
    #[arg(long, value_name = "LEVEL", env = "SHIPMENTS_LOG_LEVEL", default_value = "info")]
    log_level: String,
}

/// The carrier.
#[derive(Debug, Args)]
struct CarrierArgs {
    /// The carrier's API
    #[arg(
        long,
        value_name = "URL",
        env = "SHIPMENTS_CARRIER_URL",
        default_value = "https://api.easypost.com/v2"
    )]
    carrier_url: String,
    /// The key to it
    #[arg(long, value_name = "KEY", env = "SHIPMENTS_CARRIER_API_KEY", hide_env_values = true, value_parser = secret)]
    carrier_api_key: Option<Secret>,
    /// A file that holds it
    #[arg(
        long,
        value_name = "FILE",
        env = "SHIPMENTS_CARRIER_API_KEY_FILE",
        conflicts_with = "carrier_api_key"
    )]
    carrier_api_key_file: Option<PathBuf>,
    /// A PEM file with further certificate authorities for it
    #[arg(long, value_name = "FILE", env = "SHIPMENTS_CARRIER_CA_FILE")]
    carrier_ca_file: Option<PathBuf>,
    /// For connecting to it
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_CARRIER_CONNECT_TIMEOUT", default_value = "5s", value_parser = humantime::parse_duration)]
    carrier_connect_timeout: Duration,
    /// For one call, in all
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_CARRIER_TIMEOUT", default_value = "15s", value_parser = humantime::parse_duration)]
    carrier_timeout: Duration,
    /// How long it may still be at work on a call whose answer was lost: after that, what is not there will not come
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_CARRIER_SETTLING", default_value_t = humantime::Duration::from(SETTLING))]
    carrier_settling: humantime::Duration,
    /// Between two looks at a refund
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_CARRIER_REFUND_POLL", default_value = "10m", value_parser = humantime::parse_duration)]
    carrier_refund_poll: Duration,
    /// The cheapest rate in this currency is bought
    #[arg(long, value_name = "CODE", env = "SHIPMENTS_CARRIER_CURRENCY", default_value = "USD", value_parser = Currency::new)]
    carrier_currency: Currency,
    /// Only of this service, as the carrier calls it [default: any]
    #[arg(long, value_name = "NAME", env = "SHIPMENTS_CARRIER_SERVICE")]
    carrier_service: Option<String>,
}

/// How often, how long, how many.
#[derive(Debug, Args)]
struct Pace {
    /// Attempts at a step
    #[arg(long, value_name = "N", env = "SHIPMENTS_ATTEMPTS", default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..))]
    attempts: i32,
    /// Attempts to look it up, or to undo it
    #[arg(long, value_name = "N", env = "SHIPMENTS_CHECKS", default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..))]
    checks: i32,
    /// The shortest wait before something is tried again
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_RETRY_FLOOR", default_value = "1s", value_parser = humantime::parse_duration)]
    retry_floor: Duration,
    /// The longest
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_RETRY_CAP", default_value = "5m", value_parser = humantime::parse_duration)]
    retry_cap: Duration,
    /// What one attempt may take, all its calls together
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_DEADLINE", default_value = "45s", value_parser = humantime::parse_duration)]
    deadline: Duration,
    /// An attempt whose worker died is taken over after the deadline and this
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_CLAIM_MARGIN", default_value = "15s", value_parser = humantime::parse_duration)]
    claim_margin: Duration,
    /// Attempts of a step that are under way at a time
    #[arg(long, value_name = "N", env = "SHIPMENTS_CONCURRENCY", default_value_t = 8, value_parser = concurrency)]
    concurrency: usize,
    /// A work order that is out for so long, and in no inbox, is sent again
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_SWEEP_AFTER", default_value = "1h", value_parser = humantime::parse_duration)]
    sweep_after: Duration,
}

fn part(text: &str) -> Result<Part, String> {
    let of_step = |step: Step| match step {
        Step::ValidateAddress => Part::Address,
        Step::BuyLabel => Part::Label,
        Step::RecordTracking => Part::Tracking,
        Step::CreateInvoice => Part::Invoice,
        Step::FulfilOrder => Part::Fulfilment,
        Step::Notify => Part::Notify,
    };
    let part = text.parse::<Part>().ok().or_else(|| text.parse().ok().map(of_step));
    part.filter(|part| PARTS.contains(part)).ok_or_else(|| {
        let names: Vec<&str> = PARTS.iter().map(|part| part.as_str()).collect();
        format!("the parts are {}", names.join(", "))
    })
}

fn concurrency(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=256).contains(count)).ok_or_else(|| "1 to 256".to_owned())
}

impl CarrierArgs {
    fn carrier(&self) -> Result<Carrier, Failure> {
        let key = given(
            "SHIPMENTS_CARRIER_API_KEY",
            self.carrier_api_key.as_ref(),
            self.carrier_api_key_file.as_ref(),
        )?;
        let api_key = key.ok_or_else(|| {
            missing("SHIPMENTS_CARRIER_API_KEY", "--carrier-api-key-file, or the variable of that name")
        })?;
        let http = HttpSettings {
            connect_timeout: self.carrier_connect_timeout,
            read_timeout: self.carrier_timeout,
            deadline: self.carrier_timeout,
            ca_file: self.carrier_ca_file.clone(),
            ..HttpSettings::default()
        };
        let http = HttpClient::new(http, None)
            .map_err(|error| unusable("SHIPMENTS_CARRIER_CA_FILE", chain(&error)))?;
        let settings = CarrierSettings { base_url: self.carrier_url.clone(), api_key };
        Carrier::new(&settings, http, Gate::new(BreakerSettings::default()))
            .map_err(|error| unusable("SHIPMENTS_CARRIER_URL", error.to_string()))
    }
}

impl Worker {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        start_logging(&Log { format: LogFormat::Auto, level: self.log_level.clone() });
        let metrics = WorkerMetrics::new().map_err(|error| Failure::Failed(error.to_string()))?;
        let runtime = runtime()?;
        let telemetry = start_tracing("shipments-worker", &runtime);
        let tracer = telemetry.tracer();
        let settings = WorkerSettings { tracer: tracer.clone(), ..self.settings()? };
        let gate = settings.carrier.as_ref().map(|carrier| carrier.gate().clone());
        let names: Vec<&str> = settings.parts.iter().map(|(part, _)| part.as_str()).collect();
        let names = names.join(", ");
        let notify = self.notify(&settings)?;
        let notifier = notify.clone().map(|notify| Notifier {
            handler: Handler::external(Arc::clone(&notify)),
            adjust: Box::new(move |settings| notify.adjust(settings)),
        });
        let workers = Workers::new(settings, notifier, metrics.clone())
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let troubles = workers.troubles();
        let admin = Admin {
            metrics: Arc::new(move || {
                if let Some(gate) = &gate {
                    metrics.breaker(BREAKER_TARGET, gate.state().gauge());
                }
                if let Some(notify) = &notify {
                    metrics.breaker(MAIL, notify.mail_breaker().gauge());
                }
                Ok(metrics.render().map_err(|error| error.to_string())? + &tracer.metrics()?)
            }),
            alive: Arc::new(|| Ok("alive\n".to_owned())),
            ready: Arc::new(move || readiness(&troubles())),
        };
        runtime.block_on(async {
            let address = self.admin_listen;
            let listener = listen("SHIPMENTS_ADMIN_LISTEN", address).await?;
            let bound = listener.local_addr().unwrap_or(address);
            tracing::info!(
                address = %bound,
                "shipments {} starts: {names}; metrics on http://{bound}/metrics",
                env!("CARGO_PKG_VERSION"),
            );
            let stop: watch::Receiver<u8> = signals()?;
            let ended = tokio::select! {
                ended = workers.run(stop) => ended,
                () = admin::serve(listener, admin) => Ended::Failed,
            };
            match ended {
                Ended::Drained => tracing::info!("drained"),
                Ended::GraceOver => {
                    tracing::warn!("the grace is over: what was under way is done again later")
                }
                Ended::Aborted => tracing::warn!("second signal: stopping at once"),
                Ended::Failed => tracing::error!("a task ended early; see above"),
            }
            end_tracing(telemetry, ended).await;
            Ok(ended.into())
        })
    }

    /// Who tells parties, if that part runs here.
    fn notify(&self, settings: &WorkerSettings) -> Result<Option<Arc<Notify>>, Failure> {
        let Some((_, database)) = settings.parts.iter().find(|(part, _)| *part == Part::Notify) else {
            return Ok(None);
        };
        let notify = Notify::new(self.notify.settings(&database.schema)?);
        Ok(Some(Arc::new(notify.map_err(|error| unusable("SHIPMENTS_MAIL_CA_FILE", chain(&error)))?)))
    }

    fn settings(&self) -> Result<WorkerSettings, Failure> {
        let mut parts = if self.only.is_empty() { PARTS.to_vec() } else { self.only.clone() };
        parts.sort_unstable();
        parts.dedup();
        let carrier = match parts.iter().any(|part| matches!(part, Part::Address | Part::Label)) {
            true => Some(self.carrier.carrier()?),
            false => None,
        };
        let databases = parts.iter().map(|part| Ok((*part, self.database.of(*part)?)));
        let pace = &self.pace;
        Ok(WorkerSettings {
            parts: databases.collect::<Result<_, Failure>>()?,
            amqp: self.broker.settings()?,
            exchange: self.exchange.clone(),
            dead_letter_exchange: self.dead_letter_exchange.clone(),
            queue_prefix: self.queue_prefix.clone(),
            declare: !self.no_declare,
            carrier,
            rates: Rates {
                currency: self.carrier.carrier_currency,
                service: self.carrier.carrier_service.clone(),
            },
            settling: self.carrier.carrier_settling.into(),
            refund_poll: self.carrier.carrier_refund_poll,
            limits: Limits { attempts: pace.attempts, checks: pace.checks },
            retry: RetryPolicy { max_attempts: 8, floor: pace.retry_floor, cap: pace.retry_cap },
            deadline: pace.deadline,
            claim_margin: pace.claim_margin,
            concurrency: pace.concurrency,
            sweep_after: pace.sweep_after,
            grace: self.grace,
            tracer: Tracer::default(),
        })
    }
}
