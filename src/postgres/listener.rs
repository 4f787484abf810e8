//! The connection that listens, and that holds the sleep locks.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_postgres::Notification;

use super::{
    connect::{Connection, DatabaseError, Ear, answered, connect_listening},
    settings::DatabaseSettings,
    sql::{channel, quoted},
};
use crate::row::Lane;

/// Notifications that may wait unread. One that finds no room may have been a wake-up, and counts as one.
const BUFFER: usize = 64;

/// A session that listens on an outbox's channel. With the session go its listening and its locks.
#[derive(Debug)]
pub struct Listener {
    connection: Connection,
    notifications: mpsc::Receiver<Notification>,
    missed: Arc<Notify>,
    class: i32,
}

impl Listener {
    /// Connects and listens.
    ///
    /// # Errors
    /// When that fails.
    pub async fn connect(settings: &DatabaseSettings, name: &str) -> Result<Self, DatabaseError> {
        let (heard, notifications) = mpsc::channel(BUFFER);
        let missed = Arc::new(Notify::new());
        let ear = Ear { heard, missed: Arc::clone(&missed) };
        let connection = connect_listening(settings, name, Some(ear)).await?;
        answered(settings, async {
            // The schema's name was checked to be an identifier when the configuration was read; LISTEN takes no parameter.
            connection.client.batch_execute(&format!("listen \"{}\"", channel(&settings.schema))).await?;
            let class = connection
                .client
                .query_one(&format!("select {}.wake_class()", quoted(&settings.schema)), &[])
                .await?
                .try_get(0)?;
            Ok(Self { connection, notifications, missed, class })
        })
        .await
    }

    /// The next notification's payload, which is empty as well when some were missed; `None` when the session is gone.
    ///
    /// Safe to cancel.
    pub async fn next(&mut self) -> Option<String> {
        tokio::select! {
            () = self.missed.notified() => Some(String::new()),
            heard = self.notifications.recv() => heard.map(|notification| notification.payload().to_owned()),
        }
    }

    /// Tries for the sleep locks of these lanes: all, or none. Never waits, so it can't deadlock.
    ///
    /// # Errors
    /// When the statement fails; the session is then to be dropped, and the locks with it.
    pub async fn sleep(&self, lanes: &[Lane]) -> Result<bool, DatabaseError> {
        let lanes: Vec<i32> = lanes.iter().map(|lane| i32::from(*lane)).collect();
        let row = self
            .connection
            .client
            .query_one(
                "select coalesce(bool_and(pg_try_advisory_lock($1, lane)), false) from unnest($2::integer[]) as lane",
                &[&self.class, &lanes],
            )
            .await?;
        let all: bool = row.try_get(0)?;
        if !all {
            self.wake().await?;
        }
        Ok(all)
    }

    /// Gives the sleep locks back.
    ///
    /// # Errors
    /// When the statement fails; the session is then to be dropped.
    pub async fn wake(&self) -> Result<(), DatabaseError> {
        self.connection.client.batch_execute("select pg_advisory_unlock_all()").await?;
        Ok(())
    }
}
