//! What every task of a consumer shares.

use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{
    delivery::Delivery,
    failure::Failure,
    inbox::Sessions,
    lines::{Lines, about},
    settings::ConsumerSettings,
};
use crate::{
    health::{Health, Part},
    message::Message,
    metrics::ConsumerMetrics,
    postgres::{
        connect::{DatabaseError, Trouble},
        pool::Pool,
    },
    publisher::Outcome,
    reconnect::Reconnect,
    telemetry::{Consumer, Processed, Server, processed, unix_nanos},
    trace_context::Begun,
};

/// After a setback nobody tries again sooner, though others may be lucky meanwhile.
const SOONEST: Duration = Duration::from_millis(200);

/// As of [`Health`].
pub(super) const CONNECTION: &str = "connection";

/// A dead letter to publish, and whom to tell what became of it.
pub(super) type Posting = (Message, oneshot::Sender<Outcome>);

/// Shared by the tasks of one consumer.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: ConsumerSettings,
    pub(super) pool: Pool<Sessions>,
    pub(super) metrics: ConsumerMetrics,
    pub(super) health: Health,
    pub(super) letters: mpsc::Sender<Posting>,
    pub(super) lines: Lines,
    /// The broker, as spans name it.
    pub(super) server: Server,
    /// Something in the inbox has become due earlier than anybody expects.
    pub(super) due: Notify,
    /// Somebody has had the database do something: who waits for that need wait no longer. A worker that slept on would
    /// have its claim run out, while the next attempt is claimed already.
    pub(super) recovered: Notify,
    pub(super) stop: watch::Receiver<bool>,
}

/// Why a step could not be taken for now; nothing about the message.
#[derive(Debug)]
pub(super) enum Setback {
    Database(DatabaseError),
    /// The connection went away while a handler used it.
    Lost(String),
}

impl From<DatabaseError> for Setback {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<tokio_postgres::Error> for Setback {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl Shared {
    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Begins an attempt at a message: what follows belongs to it. Lines that are logged in what this returns are about it.
    pub(super) fn attempt(&self, delivery: &mut Delivery) -> tracing::Span {
        self.begin(delivery);
        about(&self.settings.name, delivery)
    }

    pub(super) fn begin(&self, delivery: &mut Delivery) {
        let span = self.settings.tracer.begin(delivery.context());
        delivery.span = span.map(|span| (span, span.context.to_string()));
    }

    /// The time, if anybody will ask for it.
    pub(super) fn now(&self) -> u64 {
        if self.settings.tracer.is_on() { unix_nanos() } else { 0 }
    }

    /// The attempt ended so, now.
    pub(super) fn attempted(&self, delivery: &Delivery, failure: Option<&Failure>) {
        if let Some((span, _)) = &delivery.span {
            self.attempted_within(delivery, (span.since, self.now()), failure);
        }
    }

    /// The attempt was made within these times.
    pub(super) fn attempted_within(
        &self,
        delivery: &Delivery,
        (since, until): (u64, u64),
        failure: Option<&Failure>,
    ) {
        let Some((span, _)) = delivery.span.as_ref().filter(|(span, _)| span.context.sampled) else { return };
        let error = match failure {
            // What waits for somebody else was not even tried.
            None | Some(Failure::Held { .. }) => None,
            Some(Failure::Retry { .. }) => Some("retry"),
            Some(Failure::Final { reason, .. }) => Some(*reason),
        };
        let message = Processed {
            id: &delivery.message_id,
            exchange: &delivery.origin.exchange,
            routing_key: &delivery.origin.routing_key,
            correlation_id: &delivery.origin.correlation_id,
            state: delivery.tracestate(),
            request_id: delivery.request_id(),
            attempt: delivery.attempt,
        };
        let (name, queue) = (&self.settings.name, &self.settings.queue.name);
        let consumer = Consumer { name, queue, server: &self.server };
        let times = (Begun { since, ..*span }, until);
        self.settings.tracer.record(vec![processed(&message, &consumer, times, error)]);
    }

    /// Counts what became of a message.
    pub(super) fn count(&self, result: &str) {
        self.metrics.processed.with_label_values(&[self.settings.name.as_str(), result]).inc();
    }

    /// A message's effect is committed.
    pub(super) fn done(&self, delivery: &Delivery) {
        self.count("done");
        if let Some(created) = delivery.created_us {
            let late =
                Duration::from_micros(u64::try_from(unix_now_us().saturating_sub(created)).unwrap_or(0));
            self.metrics
                .consistency
                .with_label_values(&[self.settings.name.as_str()])
                .observe(late.as_secs_f64());
        }
    }

    /// A message is done or dead: what waited behind it is due. Where no order is asked for nothing ever waits so.
    pub(super) fn released(&self) {
        if self.settings.in_order {
            self.due.notify_one();
        }
    }

    /// How long an effect took.
    pub(super) fn took(&self, time: Duration) {
        self.metrics.effect.with_label_values(&[self.settings.name.as_str()]).observe(time.as_secs_f64());
    }

    /// The database works.
    pub(super) fn database_up(&self, reconnect: &mut Reconnect) {
        reconnect.succeeded();
        self.health.up(Part::Database, CONNECTION);
        self.recovered.notify_waiters();
    }

    /// Says what is wrong, and waits before the next try, or until somebody else's has worked. False when the consumer is
    /// to stop.
    pub(super) async fn pause(&self, setback: &Setback, reconnect: &mut Reconnect) -> bool {
        let (text, refused) = match setback {
            Setback::Database(error) => (error.with_cure(), error.kind() == Trouble::NeedsOperator),
            Setback::Lost(text) => (format!("the connection to Postgres is lost: {text}"), false),
        };
        self.health.down(Part::Database, CONNECTION, &text);
        let wait = if refused { reconnect.refused() } else { reconnect.failed() };
        let soonest = wait.min(SOONEST);
        if !self.sleep(soonest).await {
            return false;
        }
        tokio::select! {
            goes_on = self.sleep(wait - soonest) => goes_on,
            () = self.recovered.notified() => !self.is_stopping(),
        }
    }

    /// Sleeps, unless the consumer is to stop meanwhile: then it is false.
    pub(super) async fn sleep(&self, time: Duration) -> bool {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(time) => !self.is_stopping(),
            // An error means that whoever could say so is gone, and nobody will.
            _ = stop.wait_for(|stop| *stop) => false,
        }
    }

    /// Publishes a dead letter; returns the broker's verdict, or that there is none.
    pub(super) async fn post(&self, letter: Message) -> Outcome {
        let (answer, verdict) = oneshot::channel();
        match self.letters.send((letter, answer)).await {
            Ok(()) => verdict.await.unwrap_or(Outcome::Unknown),
            Err(_) => Outcome::Unknown,
        }
    }
}

/// After a handler failed: whether that was because the connection it was lent is gone, and no fault of the message's.
/// Only that connection is asked: another one, of the handler's own, is its own affair.
pub(super) async fn is_databases_fault(shared: &Shared, client: &tokio_postgres::Client) -> bool {
    let limit = shared.settings.database.statement_timeout;
    client.is_closed() || !matches!(tokio::time::timeout(limit, client.simple_query("")).await, Ok(Ok(_)))
}

/// Microseconds since the Unix epoch.
pub(super) fn unix_now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::{
        amqp::{AmqpSettings, QueueSpec},
        postgres::settings::{DatabaseSettings, Tls},
    };

    fn shared(stop: watch::Receiver<bool>) -> Shared {
        let queue = QueueSpec {
            name: "q".into(),
            exchange: "e".into(),
            routing_keys: vec!["#".into()],
            single_active: false,
        };
        let database = DatabaseSettings {
            config: "postgres://localhost/none".parse().unwrap(),
            tls: Tls::Auto,
            ca_file: None,
            connect_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(1),
            pooled: false,
            schema: "relay".to_owned(),
        };
        let amqp = AmqpSettings::new("amqp://localhost".parse().unwrap());
        let settings = ConsumerSettings::new("shop", queue, database, amqp);
        Shared {
            pool: Pool::new(1, Sessions(settings.clone())),
            metrics: ConsumerMetrics::new().unwrap(),
            health: Health::new(),
            letters: mpsc::channel(1).0,
            lines: Lines::new(),
            server: Server::default(),
            due: Notify::new(),
            recovered: Notify::new(),
            stop,
            settings,
        }
    }

    #[tokio::test]
    async fn who_waits_for_the_database_goes_on_when_it_works_for_somebody_else() {
        let (_stop, stopping) = watch::channel(false);
        let shared = shared(stopping);
        // Waits for an operator, five seconds at least.
        let setback = Setback::Database(DatabaseError::Schema("no table".to_owned()));
        let mut reconnect = Reconnect::default();
        let pause = timeout(Duration::from_secs(4), shared.pause(&setback, &mut reconnect));
        let others = async {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                shared.database_up(&mut Reconnect::default());
            }
        };
        tokio::select! {
            paused = pause => assert!(paused.expect("it does not sleep on")),
            () = others => {}
        }
    }
}
