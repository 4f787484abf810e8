//! The workers: one consumer a step, each with a queue of its own and, if need be, a database role and a process of its
//! own; and two more that apply what the carrier tells and keep the orders' read model.
//!
//! | part | consumers | kind |
//! |---|---|---|
//! | address | `shipping.address` | calls the carrier |
//! | label | `shipping.label` | calls the carrier: buys, looks up, voids |
//! | tracking | `shipping.tracking`, `shipping.carrier_events` | writes the database |
//! | invoice | `shipping.invoice` | writes the database |
//! | fulfilment | `shipping.fulfilment`, `shipping.order_views` | writes the database |
//! | notify | `shipping.notify` | mails and webhooks: a handler that is given |
//!
//! What is to be done next the saga says ([`super::saga`]); a worker takes a work order up, does what it is told, and
//! reports.

mod address;
mod attempt;
mod bookkeeping;
mod calling;
mod carrier_events;
mod journal;
mod label;
mod order;
mod postal;
mod side;
mod sweeper;
mod views;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

pub use label::Rates;

use super::{
    carrier::client::Carrier,
    event::{ORDER, OrderFact, SHIPMENT},
    roles::Part,
    saga::Limits,
    step::Step,
    store::Store,
};
use crate::{
    amqp::{AmqpSettings, QueueSpec},
    consumer::{self, ConsumerSettings, Handler, SettingsError},
    drain::{Ended, signalled},
    health::Health,
    metrics::WorkerMetrics,
    postgres::settings::DatabaseSettings,
    retry::RetryPolicy,
    telemetry::Tracer,
};
use calling::{Caller, Lines, left_out};
use sweeper::Sweeper;

/// `aggregate_type` of the events by which the API says that a webhook of the carrier's is stored; its id is the
/// `aggregate_id`.
pub const CARRIER: &str = "carrier";
/// Their `event_type`.
pub const EVENT_RECEIVED: &str = "event_received";

/// What the workers of a process need to know.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The parts to run, each with its database.
    pub parts: Vec<(Part, DatabaseSettings)>,
    /// The broker.
    pub amqp: AmqpSettings,
    /// What relay publishes to.
    pub exchange: String,
    /// Where dead letters go.
    pub dead_letter_exchange: String,
    /// Queues are called after it: `shipping.label`.
    pub queue_prefix: String,
    /// Whether to declare queues and bindings, or only to check that they are there.
    pub declare: bool,
    /// The carrier's API, behind its breaker. Address and label need it.
    pub carrier: Option<Carrier>,
    /// Which rates are bought.
    pub rates: Rates,
    /// How long the carrier may be at work on a call whose answer was lost.
    pub settling: Duration,
    /// Between two looks at a refund.
    pub refund_poll: Duration,
    /// How often something is tried.
    pub limits: Limits,
    /// After which delays; its number of attempts is for workers that die and handlers that fail.
    pub retry: RetryPolicy,
    /// What one attempt may take, all its calls together.
    pub deadline: Duration,
    /// What a claim holds beyond it: a worker that died is followed after both.
    pub claim_margin: Duration,
    /// Attempts of a step that are under way at a time.
    pub concurrency: usize,
    /// How long a work order is out before it is missed.
    pub sweep_after: Duration,
    /// How long a drain may take.
    pub grace: Duration,
    /// Makes spans of what is processed.
    pub tracer: Tracer,
}

/// Settings that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A part lacks what it works with.
    #[error("{0} needs {1}")]
    Lacks(Part, &'static str),
    /// A consumer's settings can't be.
    #[error(transparent)]
    Consumer(#[from] SettingsError),
}

/// What tells parties: it is given, for it has settings of its own.
pub struct Notifier {
    /// The handler of its work orders.
    pub handler: Handler,
    /// Gives its consumer what it needs.
    pub adjust: Box<dyn FnOnce(&mut ConsumerSettings) + Send>,
}

impl std::fmt::Debug for Notifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Notifier")
    }
}

/// A consumer that is to run.
#[derive(Debug)]
struct Job {
    settings: ConsumerSettings,
    handler: Handler,
    health: Health,
}

/// Everything that is to run.
#[derive(Debug)]
pub struct Workers {
    jobs: Vec<Job>,
    sweepers: Vec<Sweeper>,
    settings: WorkerSettings,
    journal: Health,
    metrics: WorkerMetrics,
    lines: Arc<Lines>,
}

impl Workers {
    /// Prepares the workers of these parts. Without a notifier, work orders to tell parties wait in their queue for a
    /// process that has one.
    ///
    /// # Errors
    /// When the settings can't be used.
    pub fn new(
        settings: WorkerSettings,
        mut notifier: Option<Notifier>,
        metrics: WorkerMetrics,
    ) -> Result<Self, WorkerError> {
        let (journal, parts) = (Health::default(), settings.parts.clone());
        let lines = Arc::new(Lines::new());
        let mut workers = Self { jobs: vec![], sweepers: vec![], settings, journal, metrics, lines };
        for (part, database) in parts {
            workers.add(part, &database, notifier.take_if(|_| part == Part::Notify))?;
        }
        for job in &workers.jobs {
            job.settings.check()?;
        }
        Ok(workers)
    }

    /// The match that says which part does what.
    fn add(
        &mut self,
        part: Part,
        database: &DatabaseSettings,
        notifier: Option<Notifier>,
    ) -> Result<(), WorkerError> {
        let store = Store::new(&database.schema, self.settings.limits);
        let carrier =
            || self.settings.carrier.clone().ok_or(WorkerError::Lacks(part, "the carrier's settings"));
        let (retry, metrics) = (self.settings.retry, self.metrics.clone());
        let lines = Arc::clone(&self.lines);
        let name = part.as_str();
        let mut adjust: Box<dyn FnOnce(&mut ConsumerSettings) + Send> = Box::new(|_| {});
        let (step, handler) = match part {
            Part::Api => return Err(WorkerError::Lacks(part, "a command of its own")),
            Part::Address => {
                let calls = address::Address { carrier: carrier()? };
                let caller = Caller { calls, store: store.clone(), retry, metrics, lines };
                (Step::ValidateAddress, Handler::external(caller))
            }
            Part::Label => {
                let calls = label::Labels {
                    carrier: carrier()?,
                    store: store.clone(),
                    side: side::Side::new(database.clone(), "shipments label"),
                    rates: self.settings.rates.clone(),
                    settling: self.settings.settling,
                    refund_poll: self.settings.refund_poll,
                };
                let caller = Caller { calls, store: store.clone(), retry, metrics, lines };
                (Step::BuyLabel, Handler::external(caller))
            }
            Part::Tracking => {
                let events = carrier_events::CarrierEvents { store: store.clone(), lines };
                let keys = vec![format!("{CARRIER}.{EVENT_RECEIVED}")];
                self.consume("carrier_events", keys, database, Handler::transactional(events));
                self.keeps_books(Step::RecordTracking, &store)
            }
            Part::Invoice => self.keeps_books(Step::CreateInvoice, &store),
            Part::Fulfilment => {
                let views = views::Views { store: store.clone() };
                let keys = OrderFact::ALL.iter().map(|fact| format!("{ORDER}.{fact}")).collect();
                self.consume("order_views", keys, database, Handler::transactional(views));
                self.keeps_books(Step::FulfilOrder, &store)
            }
            Part::Notify => {
                let Notifier { handler, adjust: own } =
                    notifier.ok_or(WorkerError::Lacks(part, "settings of its own"))?;
                adjust = own;
                (Step::Notify, handler)
            }
        };
        let consumer = self.consume(name, vec![format!("{SHIPMENT}.{step}")], database, handler);
        if let Some(job) = self.jobs.last_mut() {
            adjust(&mut job.settings);
        }
        self.sweepers.push(Sweeper {
            store,
            database: database.clone(),
            step,
            consumer,
            after: self.settings.sweep_after,
            // Whose role may.
            house: (part == Part::Fulfilment).then(|| self.metrics.clone()),
        });
        Ok(())
    }

    fn keeps_books(&self, step: Step, store: &Store) -> (Step, Handler) {
        let (store, metrics) = (store.clone(), self.metrics.clone());
        (step, Handler::transactional(bookkeeping::Bookkeeper { step, store, metrics }))
    }

    /// Adds a consumer; returns what the inbox knows it by.
    fn consume(
        &mut self,
        name: &str,
        routing_keys: Vec<String>,
        database: &DatabaseSettings,
        handler: Handler,
    ) -> String {
        let own = &self.settings;
        let queue = QueueSpec {
            name: format!("{}.{name}", own.queue_prefix),
            exchange: own.exchange.clone(),
            routing_keys,
            single_active: false,
        };
        let consumer = format!("shipping.{name}");
        let settings = ConsumerSettings {
            declare: own.declare,
            dead_letter_exchange: own.dead_letter_exchange.clone(),
            workers: own.concurrency,
            connections: own.concurrency.min(4),
            // Each locks a shipment, and two that lock several of them in different orders would wait for each other.
            batch: 1,
            retry: own.retry,
            deadline: own.deadline,
            claim_margin: own.claim_margin,
            grace: own.grace,
            tracer: own.tracer.clone(),
            ..ConsumerSettings::new(&consumer, queue, database.clone(), own.amqp.clone())
        };
        self.jobs.push(Job { settings, handler, health: Health::new() });
        consumer
    }

    /// What is wrong, by consumer; empty when all can work.
    pub fn troubles(&self) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
        let healths: Vec<(String, Health)> =
            self.jobs.iter().map(|job| (job.settings.name.clone(), job.health.clone())).collect();
        let journal = self.journal.clone();
        move || {
            let of = |(name, health): &(String, Health)| {
                health.troubles().into_iter().map(|trouble| format!("{name}: {trouble}")).collect::<Vec<_>>()
            };
            healths.iter().flat_map(of).chain(journal.troubles()).collect()
        }
    }

    /// Runs until `stop` says 1 (drain) and, if need be, 2 (at once).
    pub async fn run(self, mut stop: watch::Receiver<u8>) -> Ended {
        let Self { jobs, sweepers, settings, journal, metrics, lines } = self;
        let (told, stopped) = watch::channel(false);
        let mut consumers = JoinSet::new();
        for Job { settings, handler, health } in jobs {
            consumers.spawn(consumer::run(
                settings,
                handler,
                metrics.consumers.clone(),
                health,
                stopped.clone(),
            ));
        }
        let mut beside = JoinSet::new();
        for sweeper in sweepers {
            beside.spawn(sweeper.run());
        }
        beside.spawn({
            let lines = Arc::clone(&lines);
            async move { lines.summarize(left_out).await }
        });
        if settings.declare {
            let queue = format!("{}.facts", settings.queue_prefix);
            beside.spawn(journal::declare(settings.amqp, queue, settings.exchange, journal));
        }
        let mut second = stop.clone();
        tokio::select! {
            Some(_) = consumers.join_next() => return Ended::Failed,
            () = signalled(&mut stop, 1) => {}
        }
        told.send_replace(true);
        beside.abort_all();
        let all = async {
            let mut worst = Ended::Drained;
            while let Some(ended) = consumers.join_next().await {
                worst = match ended {
                    Ok(Ok(consumer::Ended::Drained)) => worst,
                    Ok(Ok(consumer::Ended::GraceOver)) if worst == Ended::Drained => Ended::GraceOver,
                    Ok(Ok(consumer::Ended::GraceOver)) => worst,
                    Ok(Err(_)) | Err(_) => Ended::Failed,
                };
            }
            worst
        };
        let ended = tokio::select! {
            worst = all => worst,
            () = signalled(&mut second, 2) => Ended::Aborted,
        };
        lines.finish(left_out);
        ended
    }
}
