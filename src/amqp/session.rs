//! One connection to the broker, from its first byte to its first error.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use lapin::{
    Channel, Connection, ConnectionProperties, ConnectionStatus, ErrorKind, Event,
    options::ConfirmSelectOptions,
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};

use super::{
    AmqpError, AmqpSettings, ConfirmChannel,
    failure::failure_of,
    link::{KillHandle, Link},
    socket,
};
use crate::publisher::ChannelFailure;

/// lapin reports no event for a connection that the broker closed with a reply code unknown to lapin.
const STATUS_CHECK: Duration = Duration::from_millis(500);

/// An open AMQP connection. Its first error ends it for good; then open another one.
///
/// Dropping it shuts the socket down, so neither a thread nor an unsent message outlives it.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    link: Arc<Link>,
    settings: AmqpSettings,
}

impl Session {
    /// Connects, logs in and opens the virtual host, all within `settings.connect_timeout`.
    ///
    /// `name` is shown by RabbitMQ's tools as the connection's name. Must be called inside a tokio runtime with
    /// I/O and time enabled. lapin runs a thread of its own for each connection, which ends with it.
    ///
    /// # Errors
    /// Each way to fail is an [`AmqpError`] of its own; [`AmqpError::is_configuration`] says whom it concerns.
    /// Whatever fails, and when the future is dropped, the socket is shut down and lapin's thread ends.
    pub async fn connect(settings: &AmqpSettings, name: &str) -> Result<Self, AmqpError> {
        settings.check()?;
        let deadline = Instant::now() + settings.connect_timeout;
        let (stream, handle) = socket::open(settings, deadline).await?;
        let connection = shake_hands(settings, name, stream, deadline).await?;
        Ok(Self::start(settings, connection, handle))
    }

    fn start(settings: &AmqpSettings, connection: Connection, handle: KillHandle) -> Self {
        let link = Arc::new(Link::new(handle, settings.confirm_timeout, settings.connect_timeout));
        let events = connection.events_listener();
        tokio::spawn(monitor(events, connection.status().clone(), Arc::clone(&link)));
        Self { connection, link, settings: settings.clone() }
    }

    /// Opens a channel in confirm mode, within the connect timeout.
    ///
    /// # Errors
    /// [`AmqpError::Unanswered`], as while the broker blocks the connection; [`AmqpError::Lost`] or
    /// [`AmqpError::Closed`] when the connection is gone; [`AmqpError::NoConfirms`].
    pub async fn confirm_channel(&self) -> Result<ConfirmChannel, AmqpError> {
        let channel = self.channel().await?;
        self.answer("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        if !channel.status().confirm() {
            return Err(AmqpError::NoConfirms);
        }
        Ok(ConfirmChannel::new(channel, Arc::clone(&self.link), self.frame_max()))
    }

    /// `None` while the broker takes messages; its reason, such as "low on memory", while it blocks this connection.
    ///
    /// RabbitMQ says so only after the first publish that it refuses to read, and then reads nothing more.
    #[must_use]
    pub fn blocked(&self) -> watch::Receiver<Option<String>> {
        self.link.blocked()
    }

    /// Resolves once the connection is gone, with the first cause seen.
    pub fn lost(&self) -> impl Future<Output = ChannelFailure> + Send + 'static {
        let mut lost = self.link.lost();
        async move {
            let cause = match lost.wait_for(Option::is_some).await {
                Ok(cause) => cause.clone(),
                Err(_) => None,
            };
            cause.unwrap_or_else(|| ChannelFailure::ConnectionLost { reason: "the session ended".to_owned() })
        }
    }

    /// The largest frame in bytes, as negotiated: 131,072 with RabbitMQ's defaults. All of a message's properties
    /// and headers must fit into one; bodies are split.
    #[must_use]
    pub fn frame_max(&self) -> u32 {
        self.connection.configuration().frame_max()
    }

    /// The heartbeat interval, as negotiated: zero if the broker wants none.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.connection.configuration().heartbeat().into())
    }

    /// How many channels the connection may have, as negotiated; zero for no limit.
    #[must_use]
    pub fn channel_max(&self) -> u16 {
        self.connection.configuration().channel_max()
    }

    /// Shuts the socket down now. Nothing lapin has queued is sent after this returns, so what was in doubt may be
    /// sent again elsewhere.
    pub fn kill(&self) {
        self.link.kill("relay shut the connection down");
    }

    /// Says goodbye to the broker, for at most `limit`, then shuts the socket down. A blocked connection cannot say
    /// goodbye. Returns whether the broker answered.
    pub async fn close(self, limit: Duration) -> bool {
        let Ok(text) = lapin::types::ShortString::try_new("relay closes") else { return false };
        let closed = timeout(limit, self.connection.close(200, text)).await;
        self.link.report_lost(|| ChannelFailure::ConnectionLost { reason: "relay closed it".to_owned() });
        matches!(closed, Ok(Ok(())))
    }

    pub(super) fn user(&self) -> &str {
        self.settings.uri.user()
    }

    pub(super) fn settings(&self) -> &AmqpSettings {
        &self.settings
    }

    /// Opens a plain channel.
    pub(super) async fn channel(&self) -> Result<Channel, AmqpError> {
        self.answer("channel.open", self.connection.create_channel()).await
    }

    /// Bounds the wait for a broker's answer and translates its errors.
    pub(super) async fn answer<T>(
        &self,
        request: &str,
        reply: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, AmqpError> {
        let limit = self.link.answer_timeout;
        match timeout(limit, reply).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.explain(&error).into()),
            Err(_) => {
                let blocked = self.link.is_blocked();
                Err(AmqpError::Unanswered { request: request.to_owned(), limit, blocked })
            }
        }
    }

    /// The cause of the session's end is worth more than what lapin says to whoever comes later.
    fn explain(&self, error: &lapin::Error) -> ChannelFailure {
        match failure_of(error) {
            seen @ ChannelFailure::ConnectionLost { .. } => self.link.cause().unwrap_or(seen),
            seen => seen,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.link.kill("the session ended");
    }
}

/// The AMQP handshake on a stream that is connected already. lapin's own connect would not stop at a deadline.
async fn shake_hands(
    settings: &AmqpSettings,
    name: &str,
    stream: socket::Stream,
    deadline: Instant,
) -> Result<Connection, AmqpError> {
    let runtime =
        lapin::runtime::default_runtime().map_err(|error| AmqpError::Client { source: Box::new(error) })?;
    let uri = settings.uri.with_heartbeat(settings.heartbeat_seconds());
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let stream = Mutex::new(Some(stream));
    let connect = async move |_uri, _runtime| {
        // There is one stream: a second attempt would be a recovery, of which there is none.
        let taken = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| lapin::Error::from(io::Error::from(io::ErrorKind::NotConnected)))
    };
    match timeout_at(deadline, Connection::connector(uri, runtime, connect, properties)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(AmqpError::from_handshake(settings, error)),
        Err(_) => Err(AmqpError::handshake_timeout(settings, "AMQP")),
    }
}

/// Turns lapin's events into the session's state until the connection ends.
async fn monitor(events: impl Stream<Item = Event> + Send, status: ConnectionStatus, link: Arc<Link>) {
    let mut events = std::pin::pin!(events);
    let mut check = interval(STATUS_CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = check.tick() => {
                if status.errored() || status.closed() {
                    break;
                }
                continue;
            }
        };
        match event {
            Some(Event::ConnectionBlocked(reason)) => link.report_blocked(Some(reason)),
            Some(Event::ConnectionUnblocked) => link.report_blocked(None),
            // A channel's own error arrives here too, and the connection lives on.
            Some(Event::Error(error)) if status.errored() || status.closed() => {
                link.report_lost(|| connection_failure(&error));
                break;
            }
            Some(_) => {}
            None => break,
        }
    }
    link.kill("the connection ended");
}

/// A connection may be closed with a code that lapin files under channels, such as 403.
fn connection_failure(error: &lapin::Error) -> ChannelFailure {
    match error.kind() {
        ErrorKind::ProtocolError(reply) => {
            ChannelFailure::ConnectionClosed { code: reply.get_id(), text: reply.get_message().to_string() }
        }
        _ => failure_of(error),
    }
}
