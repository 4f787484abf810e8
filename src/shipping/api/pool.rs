//! The API's connections to Postgres. A request waits for one, but not for ever.

use std::time::Duration;

use super::problem::{Code, Problem};
use crate::{
    postgres::{
        connect::{DatabaseError, connect},
        pool::{Lent, Opens, Pool, Seat},
        settings::DatabaseSettings,
    },
    shipping::store::Store,
};

/// For the sessions of requests. A lock is waited for a moment only: whoever waits holds a connection. Plans are made once.
const SESSION: &str =
    "set lock_timeout = '2s'; set time zone 'UTC'; set plan_cache_mode = force_generic_plan; set jit = off";

/// Opens the sessions of requests.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) settings: DatabaseSettings,
    pub(super) store: Store,
    /// How long a request waits for one to become free.
    pub(super) wait: Duration,
}

impl Opens for Sessions {
    type Prepared = ();

    async fn open(&self) -> Result<Seat<()>, DatabaseError> {
        let connection = connect(&self.settings, "shipments api").await?;
        let preparing = async {
            connection.client.batch_execute(SESSION).await?;
            Ok(self.store.check(&connection.client).await?)
        };
        connection.answer(preparing).await?;
        Ok(Seat { connection, prepared: () })
    }
}

impl Pool<Sessions> {
    /// Lends a connection to a request.
    ///
    /// # Errors
    /// When none becomes free in time, or none can be opened.
    pub(super) async fn lend_soon(&self) -> Result<Lent<'_, Sessions>, Problem> {
        let Ok(turn) = tokio::time::timeout(self.opener.wait, self.turn()).await else {
            return Err(Problem::new(Code::Overloaded, "no connection to the database became free in time"));
        };
        Ok(self.lend_in(turn?).await?)
    }
}

impl Lent<'_, Sessions> {
    /// Ends the loan with what came of it. A connection that may be broken is closed.
    pub(super) fn settle<T>(self, result: Result<T, Problem>) -> Result<T, Problem> {
        if !matches!(&result, Err(problem) if problem.code == Code::DatabaseUnavailable) {
            self.give_back();
        }
        result
    }
}
