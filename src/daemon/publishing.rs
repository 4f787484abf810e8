//! A publisher task: one channel, one batch at a time. It alone uses the channel, for a shared one mixes confirms up.

use std::{sync::Arc, time::Instant};

use tokio::sync::mpsc;

use super::{
    Shared,
    broker::{ACCEPTANCE, Live, Sessions},
};
use crate::{
    amqp::ConfirmChannel,
    cause::chain,
    health::Part,
    letter::Fetched,
    message::Message,
    metrics::OUTCOMES,
    pause::{PauseId, Pauses},
    publisher::{BatchReport, ChannelFailure, Outcome},
    relay::input::Input,
    row::{Origin, Row},
};

pub(super) async fn run(
    shared: Shared,
    publisher: usize,
    mut batches: mpsc::UnboundedReceiver<Vec<Row<Fetched>>>,
    mut sessions: Sessions,
) {
    let mut channel: Option<(Arc<Live>, ConfirmChannel)> = None;
    while let Some(rows) = batches.recv().await {
        // Only now: a pause that an operator makes is kept to by what is not on a channel yet.
        let (mut rows, paused) = unpaused(&shared, rows);
        if rows.is_empty() {
            shared.tell(Input::Published { publisher, rows: paused, failure: None });
            continue;
        }
        let messages: Vec<Message> =
            rows.iter_mut().map(|row| std::mem::take(&mut row.body.message)).collect();
        let since = Instant::now();
        let begun = shared.traces.now();
        let (mut report, live, is_sent) = publish(&mut channel, &sessions, &messages).await;
        let exchange = &shared.settings.topology.exchange;
        if let (Some(reason), Some(live)) = (blame_the_broker(&mut report, exchange), &live) {
            live.refused(reason);
        }
        if is_sent {
            shared.traces.published(begun, &messages, &report.outcomes);
        }
        shared.metrics.publish_confirm.observe(since.elapsed().as_secs_f64());
        if report.outcomes.iter().any(|outcome| *outcome != Outcome::Unknown) {
            shared.progressed();
        }
        if report.failure.is_some() {
            channel = None;
        }
        if !matches!(report.failure, None | Some(ChannelFailure::ChannelClosed { .. }))
            && let Some(live) = live
        {
            live.session.kill();
            // Until the engine knows that the broker is away, it would send the batch straight back.
            let _ = sessions
                .wait_for(|session| session.as_ref().is_none_or(|session| session.id != live.id))
                .await;
        }
        observe(&shared, &rows, &report.outcomes);
        let arrived = |(message, outcome): (&Message, &Outcome)| {
            matches!(outcome, Outcome::Confirmed | Outcome::Returned { .. }) && message.exchange == *exchange
        };
        if messages.iter().zip(&report.outcomes).any(arrived) {
            shared.health.up(Part::Broker, ACCEPTANCE);
        }
        let rows = rows
            .into_iter()
            .zip(messages)
            .zip(report.outcomes)
            .map(|((mut row, message), outcome)| {
                row.body.message = message;
                (row, outcome)
            })
            .chain(paused)
            .collect();
        shared.tell(Input::Published { publisher, rows, failure: report.failure });
    }
}

/// The rows that may be sent, and those that may not.
#[expect(clippy::type_complexity, reason = "rows with outcomes, as the engine takes them")]
fn unpaused(shared: &Shared, rows: Vec<Row<Fetched>>) -> (Vec<Row<Fetched>>, Vec<(Row<Fetched>, Outcome)>) {
    let pauses = shared.pauses.borrow();
    if pauses.spare_all() {
        return (rows, Vec::new());
    }
    let (mut free, mut paused) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match pause_of(&pauses, &row) {
            Some(pause) => paused.push((row, Outcome::Paused(pause))),
            None => free.push(row),
        }
    }
    (free, paused)
}

/// The pause that this row is under, if any.
pub(super) fn pause_of(pauses: &Pauses, row: &Row<Fetched>) -> Option<PauseId> {
    let message = &row.body.message;
    pauses.find(row.key, &message.correlation_id, &message.exchange, &message.routing_key)
}

/// Publishes a batch. Says by which session, and whether it came to be sent at all.
async fn publish(
    channel: &mut Option<(Arc<Live>, ConfirmChannel)>,
    sessions: &Sessions,
    messages: &[Message],
) -> (BatchReport, Option<Arc<Live>>, bool) {
    let current = sessions.borrow().clone();
    let Some(live) = current else {
        return (nothing_sent(messages, "no session"), None, false);
    };
    let stale = channel.as_ref().is_none_or(|(of, channel)| of.id != live.id || !channel.is_usable());
    if stale {
        match live.session.confirm_channel().await {
            Ok(opened) => *channel = Some((Arc::clone(&live), opened)),
            Err(error) => return (nothing_sent(messages, &chain(&error)), Some(live), false),
        }
    }
    match channel {
        Some((_, channel)) => (channel.publish(messages).await, Some(live), true),
        None => (nothing_sent(messages, "no channel"), Some(live), false),
    }
}

fn nothing_sent(messages: &[Message], reason: &str) -> BatchReport {
    BatchReport {
        outcomes: vec![Outcome::Unknown; messages.len()],
        failure: Some(ChannelFailure::ConnectionLost { reason: reason.to_owned() }),
    }
}

/// An object of the configuration that is missing or forbidden is the broker's trouble: no row is to be charged for it.
/// RabbitMQ names the exchange in its text, quoted. Returns that text.
pub(super) fn blame_the_broker(report: &mut BatchReport, exchange: &str) -> Option<String> {
    let quoted = format!("'{exchange}'");
    let is_ours = |code: u16, text: &str| (code == 403 || code == 404) && text.contains(&quoted);
    let refused = report.outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Refused { code, text } if is_ours(*code, text) => Some(text.clone()),
        _ => None,
    });
    let closed = match &report.failure {
        Some(ChannelFailure::ChannelClosed { code, text }) if is_ours(*code, text) => Some(text.clone()),
        _ => None,
    };
    let reason = refused.or(closed)?;
    for outcome in &mut report.outcomes {
        if matches!(outcome, Outcome::Refused { .. }) {
            *outcome = Outcome::Unknown;
        }
    }
    report.failure = Some(ChannelFailure::ConnectionLost { reason: reason.clone() });
    Some(reason)
}

/// Counts a batch. Once a batch and not once a row: this is the hot path.
fn observe(shared: &Shared, rows: &[Row<Fetched>], outcomes: &[Outcome]) {
    let now = shared.clock.now_us();
    let mut counts = [0_u64; OUTCOMES.len()];
    for (row, outcome) in rows.iter().zip(outcomes) {
        counts[outcome_index(outcome)] += 1;
        if *outcome == Outcome::Confirmed && is_timed(row) {
            let lag = now.saturating_sub(row.body.created_us).max(0);
            #[expect(clippy::cast_precision_loss, reason = "a lag in microseconds is far below 2^52")]
            shared.metrics.commit_to_confirm.observe(lag as f64 / 1e6);
        }
    }
    for (label, count) in OUTCOMES.iter().zip(counts).filter(|(_, count)| *count > 0) {
        shared.metrics.outcomes.with_label_values(&[label]).inc_by(count);
    }
}

/// Whether the time since its creation says how quick relay is. It does not of a row that its producer scheduled for later,
/// nor of one that an operator replayed.
fn is_timed(row: &Row<Fetched>) -> bool {
    let scheduled = row.origin == Origin::Due && row.body.first_failed_us.is_none();
    !scheduled && row.body.replays == 0
}

/// Its place in [`OUTCOMES`].
fn outcome_index(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Confirmed => 0,
        Outcome::Returned { .. } => 1,
        Outcome::Nacked => 2,
        Outcome::Refused { .. } => 3,
        // What is paused is not among what was sent.
        Outcome::Unknown | Outcome::Paused(_) => 4,
    }
}
