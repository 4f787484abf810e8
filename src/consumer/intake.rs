//! The task that consumes the queue: it keeps a session, checks what comes, passes it on, and tells the broker what
//! became of it. Its channel is nobody else's.

use tokio::sync::mpsc;

use super::{
    delivery::{Delivery, Origin, Raw},
    shared::{CONNECTION, Shared},
    work::{Fresh, Item, Settle, Ticket, Trash},
};
use crate::{
    amqp::{AmqpError, Incoming, Session, Subscription},
    cause::chain,
    health::Part,
    reconnect::Reconnect,
};

/// Where what comes in goes.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) workers: Workers,
    pub(super) trash: mpsc::UnboundedSender<Trash>,
    pub(super) settles: mpsc::UnboundedSender<Settle>,
}

/// The workers' queues: one for all of them, or, where order is asked for, one each, so that a key is always the same
/// worker's.
#[derive(Debug, Clone)]
pub(super) struct Workers(pub(super) Vec<mpsc::Sender<Item>>);

impl Workers {
    /// Passes something on. Waits while a queue is full; after the workers have ended it is dropped.
    pub(super) async fn give(&self, item: Item) {
        let delivery = match &item {
            Item::Fresh(fresh) => &fresh.delivery,
            Item::Stored(claimed, _) => &claimed.delivery,
        };
        let place = usize::try_from(delivery.key().0 % self.0.len().max(1) as u64).unwrap_or(0);
        if let Some(queue) = self.0.get(place) {
            let _ = queue.send(item).await;
        }
    }
}

pub(super) async fn run(shared: &Shared, outlets: Outlets, mut settles: mpsc::UnboundedReceiver<Settle>) {
    let mut reconnect = Reconnect::default();
    let mut outlets = Some(outlets);
    let mut epoch = 0;
    while !shared.is_stopping() {
        let subscribed = tokio::select! {
            subscribed = subscribe(shared) => subscribed,
            () = told_to_stop(shared) => return,
        };
        let wait = match subscribed {
            Ok((session, subscription)) => {
                epoch += 1;
                shared.health.up(Part::Broker, CONNECTION);
                reconnect.succeeded();
                let ended =
                    Line { shared, session, subscription, epoch }.serve(&mut outlets, &mut settles).await;
                match ended {
                    None => return,
                    Some(why) => shared.health.down(Part::Broker, CONNECTION, &why),
                }
                reconnect.failed()
            }
            Err(error) => {
                shared.health.down(Part::Broker, CONNECTION, &chain(&error));
                if error.is_configuration() { reconnect.refused() } else { reconnect.failed() }
            }
        };
        shared.sleep(wait).await;
    }
}

/// Resolves when the consumer is to stop.
async fn told_to_stop(shared: &Shared) {
    let mut stop = shared.stop.clone();
    // An error means that nobody is left who could say so.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn subscribe(shared: &Shared) -> Result<(Session, Subscription), AmqpError> {
    let settings = &shared.settings;
    let session = Session::connect(&settings.amqp, &format!("relay consumer {}", settings.name)).await?;
    if settings.declare {
        session.declare_queue(&settings.queue).await?;
    } else {
        session.verify_queue(&settings.queue).await?;
    }
    let subscription = session.subscribe(&settings.queue.name, settings.window()).await?;
    Ok((session, subscription))
}

/// One subscription, from its first message to its end.
struct Line<'a> {
    shared: &'a Shared,
    session: Session,
    subscription: Subscription,
    epoch: u64,
}

impl Line<'_> {
    /// Serves until the session is lost, and says why; or until everything is decided after the consumer was told to
    /// stop, and then it is `None`.
    async fn serve(
        mut self,
        outlets: &mut Option<Outlets>,
        settles: &mut mpsc::UnboundedReceiver<Settle>,
    ) -> Option<String> {
        let (lost, told) = (self.session.lost(), told_to_stop(self.shared));
        tokio::pin!(lost, told);
        loop {
            let served = tokio::select! {
                biased;
                failure = &mut lost => return Some(chain(&AmqpError::from(failure))),
                () = &mut told, if outlets.is_some() => {
                    // Without outlets there are no tickets but those of messages in work, so `settles` ends with them.
                    *outlets = None;
                    self.subscription.cancel(&self.session).await
                }
                settle = settles.recv() => match settle {
                    Some(settle) => self.settle(settle).await,
                    None => {
                        self.session.close(std::time::Duration::from_secs(1)).await;
                        return None;
                    }
                },
                incoming = self.subscription.next(), if outlets.is_some() => match incoming {
                    Some(Ok(incoming)) => {
                        self.pass_on(incoming, outlets.as_ref()).await;
                        Ok(())
                    }
                    Some(Err(error)) => Err(error),
                    None => return Some("the broker cancelled the consumer, as when its queue is deleted".to_owned()),
                },
            };
            if let Err(error) = served {
                return Some(chain(&error));
            }
        }
    }

    async fn settle(&self, settle: Settle) -> Result<(), AmqpError> {
        match settle {
            // Of a session that is gone: the broker has given that message out again, or will.
            Settle { epoch, .. } if epoch != self.epoch => Ok(()),
            Settle { tag, ack: true, .. } => self.subscription.ack(&self.session, tag).await,
            Settle { tag, ack: false, .. } => self.subscription.requeue(&self.session, tag).await,
        }
    }

    async fn pass_on(&self, incoming: Incoming, outlets: Option<&Outlets>) {
        let Some(outlets) = outlets else { return };
        let ticket = Ticket::new(self.epoch, incoming.tag, outlets.settles.clone());
        let settings = &self.shared.settings;
        match Delivery::check(raw(incoming), settings.body_bytes) {
            Ok(mut delivery) => {
                delivery.is_last_attempt = settings.retry.max_attempts <= 1;
                outlets.workers.give(Item::Fresh(Fresh { delivery, ticket })).await;
            }
            Err(garbage) => {
                let _ = outlets.trash.send(Trash { garbage, ticket });
            }
        }
    }
}

fn raw(incoming: Incoming) -> Raw {
    Raw {
        message_id: incoming.message_id,
        event_type: incoming.kind,
        redelivered: incoming.redelivered,
        headers: incoming.headers,
        body: incoming.body,
        origin: Origin {
            exchange: incoming.exchange,
            routing_key: incoming.routing_key,
            correlation_id: incoming.correlation_id.unwrap_or_default(),
            app_id: incoming.app_id.unwrap_or_default(),
            timestamp: incoming.timestamp.unwrap_or_default(),
        },
    }
}
