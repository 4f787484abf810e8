//! The tasks that publish dead letters: one keeps the session and sends one letter at a time; one sees to it that what is
//! no message is acknowledged only after its letter is confirmed.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{
    delivery::request_id_of,
    letter::garbage_letter,
    lines::Kind,
    shared::{Posting, Shared, unix_now_us},
    work::Trash,
};
use crate::{
    amqp::{AmqpSettings, ConfirmChannel, Session},
    cause::chain,
    health::{Health, Part},
    message::Message,
    publisher::Outcome,
};

const USE: &str = "dead letters";
/// Between two tries at the letter of garbage, first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Publishes what is posted, on a session that is opened when it is needed. Ends with the last sender.
pub(super) async fn publish(
    settings: AmqpSettings,
    consumer: String,
    health: Health,
    mut postings: mpsc::Receiver<Posting>,
) {
    let name = format!("relay dead letters {consumer}");
    let mut link: Option<(Session, ConfirmChannel)> = None;
    while let Some((letter, answer)) = postings.recv().await {
        let outcome = send(&settings, &name, &health, &mut link, &letter).await;
        // Whoever asked may have been stopped meanwhile.
        let _ = answer.send(outcome);
    }
}

async fn send(
    settings: &AmqpSettings,
    name: &str,
    health: &Health,
    link: &mut Option<(Session, ConfirmChannel)>,
    letter: &Message,
) -> Outcome {
    if link.as_ref().is_none_or(|(_, channel)| !channel.is_usable()) {
        *link = None;
        let opened = match Session::connect(settings, name).await {
            Ok(session) => session.confirm_channel().await.map(|channel| (session, channel)),
            Err(error) => Err(error),
        };
        match opened {
            Ok(opened) => *link = Some(opened),
            Err(error) => {
                health.down(Part::Broker, USE, &chain(&error));
                return Outcome::Unknown;
            }
        }
    }
    let Some((_, channel)) = link else { return Outcome::Unknown };
    let report = channel.publish(std::slice::from_ref(letter)).await;
    if report.failure.is_some() {
        *link = None;
    }
    let outcome = report.outcomes.into_iter().next().unwrap_or(Outcome::Unknown);
    match &outcome {
        Outcome::Confirmed => health.up(Part::Broker, USE),
        Outcome::Returned { .. } => {
            let cure = "bind a queue to it";
            health.down(Part::Broker, USE, &format!("no queue takes letters to {}: {cure}", letter.exchange));
        }
        other => health.down(
            Part::Broker,
            USE,
            &format!("a letter to {} was not confirmed: {other:?}", letter.exchange),
        ),
    }
    outcome
}

/// Dead-letters garbage, one piece at a time, each until it succeeds. Other messages go on meanwhile; the garbage keeps
/// its place in the broker's window.
pub(super) async fn sweep(shared: &Shared, mut trash: mpsc::UnboundedReceiver<Trash>) {
    let (consumer, queue) = (&shared.settings.name, &shared.settings.queue.name);
    let exchange = &shared.settings.dead_letter_exchange;
    while let Some(Trash { garbage, ticket }) = trash.recv().await {
        let mut pause = PAUSE.0;
        loop {
            if shared.is_stopping() {
                // Dropped, it goes back to the queue.
                break;
            }
            let letter = garbage_letter(&garbage, (consumer, queue), exchange, unix_now_us());
            if shared.post(letter).await == Outcome::Confirmed {
                ticket.ack();
                shared.count("garbage");
                if shared.lines.may_say(Kind::Garbage) {
                    tracing::warn!(
                        consumer,
                        message_id = garbage.raw.message_id.as_deref(),
                        request_id = request_id_of(&garbage.raw.headers),
                        reason = garbage.reason.as_str(),
                        "dead-lettered what is no message: {}",
                        garbage.error
                    );
                }
                break;
            }
            shared.sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}
