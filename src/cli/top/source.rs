//! Where samples come from: one connection, made anew when it is lost.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::listener::{Asked, Asker};
use crate::{
    cli::{Failure, connection::operators},
    config::Config,
    operator::sample::{Sample, Sampler},
    postgres::{
        connect::{Connection, DatabaseError, Trouble, connect},
        settings::DatabaseSettings,
        sql::STEADY_PLANS,
    },
    reconnect::Reconnect,
};

/// A statement of a view may take no longer, whatever those of relay may.
const STATEMENT: Duration = Duration::from_secs(5);

/// An outbox that can be looked at.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The outbox's name.
    pub(super) name: String,
    /// Where the database is, without user and password.
    pub(super) server: String,
    /// From which age on a transaction that holds back vacuum matters.
    pub(super) old_transaction: Duration,
    settings: DatabaseSettings,
}

impl Place {
    /// As configured.
    pub(super) fn of(config: &Config) -> Result<Self, Failure> {
        let mut settings = operators(config)?;
        settings.statement_timeout = settings.statement_timeout.min(STATEMENT);
        Ok(Self {
            name: config.outbox.name.clone(),
            server: settings.server(),
            old_transaction: config.database.old_transaction,
            settings,
        })
    }
}

/// What was read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) sample: Result<Sample, DatabaseError>,
    pub(super) asked: Vec<Asked>,
}

/// Reads one outbox, again and again.
#[derive(Debug)]
pub(super) struct Source {
    place: Place,
    every: Duration,
    asker: Asker,
    sampler: Sampler,
    connection: Option<Connection>,
    reconnect: Reconnect,
    due: Instant,
}

impl Source {
    /// The first reading is due at once, each further one so much later.
    pub(super) fn new(place: Place, every: Duration, asker: Asker) -> Self {
        let sampler = Sampler::new(&place.settings.schema);
        let reconnect = Reconnect::default();
        Self { place, every, asker, sampler, connection: None, reconnect, due: Instant::now() }
    }

    /// Waits until the next reading is due, and reads. A database that is away is asked again, ever less often. Whoever
    /// stops waiting loses nothing but that reading.
    pub(super) async fn next(&mut self) -> Reading {
        sleep_until(self.due).await;
        let begun = Instant::now();
        let asker = self.asker.clone();
        let name = self.place.name.clone();
        let (sample, asked) = tokio::join!(Box::pin(self.sample()), asker.ask(&name));
        self.due = match &sample {
            Ok(_) => {
                self.reconnect.succeeded();
                begun + self.every
            }
            Err(error) => {
                self.connection = None;
                let pause = match error.kind() {
                    Trouble::Unreachable | Trouble::Statement => self.reconnect.failed(),
                    Trouble::NeedsOperator => self.reconnect.refused(),
                };
                Instant::now() + pause
            }
        };
        Reading { sample, asked }
    }

    async fn sample(&mut self) -> Result<Sample, DatabaseError> {
        // Taken, so that one that was cut off in the midst of an answer is not asked again.
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = connect(&self.place.settings, "relay top").await?;
                connection.client.configure(STEADY_PLANS).await?;
                connection
            }
        };
        let sample = connection.answer(Box::pin(self.sampler.read(&connection.client))).await?;
        self.connection = Some(connection);
        Ok(sample)
    }
}
