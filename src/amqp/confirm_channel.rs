//! Publishing a batch and learning the fate of each of its messages.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use lapin::{
    Channel, Confirmation, message::BasicReturnMessage, options::BasicPublishOptions, types::ShortString,
};
use tokio::{
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::{
    encode::{Encoded, encode},
    failure::{can_be_a_messages_fault, failure_of},
    flight::Flight,
    ledger::Ledger,
    link::{BatchMark, Link},
};
use crate::{
    message::Message,
    publisher::{BatchReport, ChannelFailure, Outcome},
};

/// Whatever no queue takes comes back.
const MANDATORY: BasicPublishOptions = BasicPublishOptions { mandatory: true, immediate: false };

/// After the channel or the connection failed, lapin rejects what is open within moments. If it doesn't, nothing
/// of the batch is believed.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// The least time between two looks at a quiet broker.
const MIN_TICK: Duration = Duration::from_millis(10);

/// How often messages are handed to lapin before other tasks of this thread get a turn.
const YIELD_EVERY: usize = 128;

/// A channel in confirm mode that carries one batch at a time.
///
/// It belongs to one task and cannot be cloned. lapin takes the delivery tag and queues the frames in two steps;
/// with two tasks on two threads, tags and frames cross over and a nack is read as an ack (4 to 80 of 16,000,
/// measured). `&mut self` makes that impossible to write; more channels make it unnecessary.
///
/// After the first failure it publishes nothing more: open another one, on another [`Session`](super::Session) if
/// that one is lost.
#[derive(Debug)]
pub struct ConfirmChannel {
    channel: Channel,
    link: Arc<Link>,
    frame_max: u32,
    failure: Option<ChannelFailure>,
}

impl ConfirmChannel {
    pub(super) fn new(channel: Channel, link: Arc<Link>, frame_max: u32) -> Self {
        Self { channel, link, frame_max, failure: None }
    }

    /// Whether another batch can be published on it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.failure.is_none() && self.link.cause().is_none() && self.channel.status().connected()
    }

    /// Publishes a batch, persistent and mandatory, and waits until nothing about it is open.
    ///
    /// All messages are in flight together; some 1,024 of them keep the broker busy. Outcomes are in the batch's
    /// order:
    ///
    /// - A message that breaks a limit of AMQP is `Refused` with code 0, unsent; the rest goes out.
    /// - A message whose id occurred earlier in the batch is `Unknown`, unsent: a return names only the id.
    /// - If the broker closes the channel while exactly one message is unanswered, that one is `Refused` with the
    ///   broker's code, provided a message can be the cause (404, 403, 406 and the like). The same goes for a close
    ///   of the connection, if no other channel of the session had a batch open meanwhile.
    /// - Everything else that has no answer is `Unknown`, and by then it can no longer be sent: either the channel
    ///   is closed, or the socket is shut down.
    ///
    /// A channel closed under a batch of several takes the whole session with it, so publishers that must not share
    /// each other's trouble need a session each; a channel closed under a single message leaves the session alone.
    ///
    /// The socket is shut down when not one confirm arrives for the session's confirm timeout (time during which
    /// the broker blocks the connection does not count), and when this future is dropped before it is done.
    pub async fn publish(&mut self, batch: &[Message]) -> BatchReport {
        if let Some(failure) = self.failure.clone().or_else(|| self.link.cause()) {
            return BatchReport { outcomes: vec![Outcome::Unknown; batch.len()], failure: Some(failure) };
        }
        let link = Arc::clone(&self.link);
        let mark = link.begin_batch();
        let mut record = Record::with_capacity(batch.len());
        {
            let mut flight = Flight::with_capacity(batch.len());
            // Declared last and so dropped first: the socket is dead before the futures are let go.
            let mut guard = KillGuard { link: &link, armed: true };
            for (index, message) in batch.iter().enumerate() {
                let Some(encoded) = record.enter(index, message, self.frame_max) else { continue };
                if let Some(result) = flight.launch(index, send(&self.channel, encoded, &message.payload)) {
                    // Rare: a failure, or a confirm that overtook its own first poll.
                    record.land(index, result);
                    if record.failed() {
                        break;
                    }
                }
                if index % YIELD_EVERY == YIELD_EVERY - 1 {
                    yield_now().await;
                }
            }
            record.enter_unsent(batch);
            await_confirms(&link, &mut flight, &mut record).await;
            guard.armed = false;
        }
        record.end_session_if_frames_are_left(&link);
        let report = record.conclude(&mark);
        self.failure.clone_from(&report.failure);
        report
    }
}

/// One publish: queued by its first poll, done when the broker has confirmed it.
async fn send(channel: &Channel, encoded: Encoded, payload: &[u8]) -> lapin::Result<Confirmation> {
    let Encoded { exchange, routing_key, properties } = encoded;
    channel.basic_publish(exchange, routing_key, MANDATORY, payload, properties).await?.await
}

/// Waits until every publish of the flight has ended, killing the connection if the broker has gone quiet.
async fn await_confirms<F>(link: &Link, flight: &mut Flight<F>, record: &mut Record<'_>)
where
    F: Future<Output = lapin::Result<Confirmation>>,
{
    let tick = (link.confirm_timeout / 8).clamp(MIN_TICK, Duration::from_secs(1));
    let mut progress = (flight.open(), Instant::now());
    let mut drain_until = None;
    let mut timer = pin!(sleep_until(Instant::now() + tick));
    loop {
        let landed =
            poll_fn(|cx| match flight.poll_front(cx, &mut |index, result| record.land(index, result)) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => timer.as_mut().poll(cx).map(|()| false),
            });
        if landed.await {
            return;
        }
        // The front is still open. Others may have been answered, or failed.
        flight.sweep(&mut |index, result| record.land(index, result));
        let now = Instant::now();
        if flight.open() < progress.0 || link.is_blocked() {
            progress = (flight.open(), now);
        }
        let quiet = now >= progress.1 + link.confirm_timeout;
        match drain_until {
            None if record.failed() => drain_until = Some(now + DRAIN_LIMIT),
            None if quiet => {
                let reason = format!("no confirm within {:?}", link.confirm_timeout);
                link.kill(&reason);
                record.fail(ChannelFailure::ConnectionLost { reason });
                drain_until = Some(now + DRAIN_LIMIT);
            }
            Some(until) if now >= until => {
                // What lapin still holds must not be sent later, and what it did not hand over may be a return.
                link.kill("the client library did not give up the messages of a failed channel");
                record.ledger.distrust();
                return;
            }
            _ => {}
        }
        timer.as_mut().reset((now + tick).min((progress.1 + link.confirm_timeout).max(now + MIN_TICK)));
    }
}

/// The batch's book, and the worst that was heard.
struct Record<'a> {
    ledger: Ledger<'a>,
    launched: usize,
    failure: Option<ChannelFailure>,
}

impl<'a> Record<'a> {
    fn with_capacity(messages: usize) -> Self {
        Self { ledger: Ledger::with_capacity(messages), launched: 0, failure: None }
    }

    /// Enters a message; returns it translated if it is to be sent.
    fn enter(&mut self, index: usize, message: &'a Message, frame_max: u32) -> Option<Encoded> {
        if !self.ledger.enter(&message.id) {
            return None;
        }
        match encode(message, frame_max) {
            Ok(encoded) => {
                self.ledger.sent(index);
                self.launched += 1;
                Some(encoded)
            }
            Err(why) => {
                self.ledger.invalid(index, why);
                None
            }
        }
    }

    /// Enters the rest of a batch that was cut short while it was being sent.
    fn enter_unsent(&mut self, batch: &'a [Message]) {
        for message in batch.iter().skip(self.ledger.len()) {
            self.ledger.enter(&message.id);
        }
    }

    fn land(&mut self, index: usize, result: lapin::Result<Confirmation>) {
        match result {
            Ok(Confirmation::Ack(returned)) => {
                self.ledger.acked(index, returned.is_some());
                self.enter_return(returned);
            }
            Ok(Confirmation::Nack(returned)) => {
                self.ledger.nacked(index);
                self.enter_return(returned);
            }
            Ok(Confirmation::NotRequested) => {
                let text = "the channel is not in confirm mode".to_owned();
                self.fail(ChannelFailure::ChannelClosed { code: 0, text });
            }
            Err(error) => self.fail(failure_of(&error)),
        }
    }

    fn enter_return(&mut self, returned: Option<BasicReturnMessage>) {
        if let Some(returned) = returned {
            let id = returned.properties.message_id().as_ref().map(ShortString::as_str);
            self.ledger.returned(id, returned.reply_code, returned.reply_text.as_str());
        }
    }

    fn failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The broker's own words outrank what the client saw of their consequences; the first of a kind stays.
    fn fail(&mut self, failure: ChannelFailure) {
        if self.failure.as_ref().is_none_or(|known| rank(known) < rank(&failure)) {
            self.failure = Some(failure);
        }
    }

    /// lapin answers a close of the channel ahead of the publishes it has queued, and sends those nevertheless. To
    /// RabbitMQ they then belong to a channel that was never opened, and it closes the connection with 504, at some
    /// time that depends on who is faster (seen in most runs of a batch of 200). Ended here, everybody learns at
    /// once that the connection is lost, and why. A message alone leaves nothing behind it.
    fn end_session_if_frames_are_left(&self, link: &Link) {
        if self.launched > 1 && matches!(self.failure, Some(ChannelFailure::ChannelClosed { .. })) {
            link.kill("the broker closed a channel of this connection in the middle of a batch");
        }
    }

    fn conclude(self, mark: &BatchMark<'_>) -> BatchReport {
        let failure = self.failure.map(|seen| match mark.cause() {
            Some(cause) if rank(&seen) < rank(&cause) => cause,
            _ => seen,
        });
        let refused = match &failure {
            Some(ChannelFailure::ChannelClosed { code, text }) => Some((*code, text)),
            Some(ChannelFailure::ConnectionClosed { code, text }) if mark.was_alone() => Some((*code, text)),
            _ => None,
        };
        let offender = self.ledger.only_open();
        let mut outcomes = self.ledger.settle();
        if let (Some((code, text)), Some(index)) = (refused, offender)
            && can_be_a_messages_fault(code)
            && let Some(outcome @ Outcome::Unknown) = outcomes.get_mut(index)
        {
            *outcome = Outcome::Refused { code, text: text.clone() };
        }
        BatchReport { outcomes, failure }
    }
}

/// How much a failure explains: a reply of the broker, then a lost connection, then a channel found closed.
fn rank(failure: &ChannelFailure) -> u8 {
    match failure {
        ChannelFailure::ChannelClosed { code: 0, .. } => 0,
        ChannelFailure::ConnectionLost { .. } => 1,
        ChannelFailure::ChannelClosed { .. } | ChannelFailure::ConnectionClosed { .. } => 2,
    }
}

/// Shuts the connection down unless the batch came to its end: whoever drops the future would otherwise leave
/// messages behind that lapin sends later.
struct KillGuard<'a> {
    link: &'a Link,
    armed: bool,
}

impl Drop for KillGuard<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.link.kill("a publish was abandoned half-way");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use socket2::{Domain, Socket, Type};
    use tokio::time::sleep;

    use super::*;
    use crate::amqp::link::KillHandle;

    const TIMEOUT: Duration = Duration::from_millis(200);

    fn link() -> io::Result<Link> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        Ok(Link::new(KillHandle::new(socket), TIMEOUT, TIMEOUT))
    }

    async fn confirm_after(delay: Duration) -> lapin::Result<Confirmation> {
        sleep(delay).await;
        Ok(Confirmation::Ack(None))
    }

    /// Settles one message for each delay, confirmed after it. Futures that outlive the kill never end here, as
    /// lapin's would, so their number bounds the wait.
    async fn settle(link: &Link, delays: &[Duration]) -> BatchReport {
        let ids: Vec<String> = (0..delays.len()).map(|id| id.to_string()).collect();
        let mut record = Record::with_capacity(delays.len());
        let mut flight = Flight::with_capacity(delays.len());
        let mark = link.begin_batch();
        for (index, (id, delay)) in ids.iter().zip(delays).enumerate() {
            record.ledger.enter(id);
            record.ledger.sent(index);
            if let Some(result) = flight.launch(index, confirm_after(*delay)) {
                record.land(index, result);
            }
        }
        await_confirms(link, &mut flight, &mut record).await;
        record.conclude(&mark)
    }

    #[tokio::test]
    async fn a_slow_broker_is_not_a_dead_one() -> io::Result<()> {
        // The first confirm comes last, after three timeouts' time, yet confirms keep coming.
        let delays: Vec<Duration> = (0..8).rev().map(|turn| TIMEOUT * turn / 2).collect();
        let link = link()?;
        let report = settle(&link, &delays).await;
        assert_eq!(report, BatchReport { outcomes: vec![Outcome::Confirmed; 8], failure: None });
        Ok(())
    }

    #[tokio::test]
    async fn a_silent_broker_is_given_up_after_the_timeout() -> io::Result<()> {
        let link = link()?;
        let begun = Instant::now();
        let report = settle(&link, &[Duration::ZERO, TIMEOUT * 5]).await;
        assert!(matches!(report.failure, Some(ChannelFailure::ConnectionLost { .. })), "{report:?}");
        assert_eq!(report.outcomes.first(), Some(&Outcome::Confirmed));
        assert!(link.cause().is_some() && begun.elapsed() < TIMEOUT * 6);
        Ok(())
    }

    #[tokio::test]
    async fn time_spent_blocked_does_not_count() -> io::Result<()> {
        let link = link()?;
        link.report_blocked(Some("low on memory".to_owned()));
        let unblock = async {
            sleep(TIMEOUT * 3).await;
            link.report_blocked(None);
        };
        let delays = [TIMEOUT * 7 / 2];
        let (report, ()) = tokio::join!(settle(&link, &delays), unblock);
        assert_eq!(report, BatchReport { outcomes: vec![Outcome::Confirmed], failure: None });
        Ok(())
    }
}
