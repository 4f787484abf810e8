//! Finding out about a broker without changing it: `relay doctor` asks, and a relay that was refused; and nothing stays, nothing
//! is delivered.
//!
//! AMQP tells little by itself: a passive declaration compares no properties, and needs no right. So what would be asked for
//! is asked for with something in it that the broker refuses last, when all the rest has passed: how far a request came
//! tells what it would have met. Tried on RabbitMQ 3.10, and the order is that of 3.8 to 4.

use std::time::Duration;

use lapin::{
    BasicProperties, Confirmation, ExchangeKind,
    options::{
        BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    AmqpError, Session, Topology,
    topology::{DELIVERY_LIMIT, EXCHANGE, QUEUE, name_it, short},
};

/// What a declaration of relay's would meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// It is there, as relay would declare it.
    Alike,
    /// It is there, with other properties: the broker's words.
    Other(String),
    /// It is not there, and may be declared.
    Absent,
}

/// How a message went round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trip {
    /// It was confirmed after so long, and came back.
    Took(Duration),
    /// The broker takes no messages, because it is low on memory or disk.
    Blocked(String),
    /// The broker confirmed it, or didn't, and it did not come back.
    Astray(&'static str),
}

/// An argument of a type that it can't have.
const ALTERNATE: &str = "alternate-exchange";
/// An argument with a value that it can't have, which is looked at behind the type of the queue.
const LOCATOR: &str = "x-queue-leader-locator";
/// Not a number of milliseconds: the last thing that is looked at before a message is routed.
const NO_EXPIRATION: &str = "relay asks";
/// A routing key like any other.
const ANY_KEY: &str = "relay";

/// Compares an exchange with what relay would declare: topic, durable.
///
/// It asks for an alternate exchange with a number for a name. The broker looks at the right to configure first, then compares with
/// what exists (type first), and refuses the number before it makes anything.
///
/// # Errors
/// [`AmqpError::Denied`] without the right to configure it, [`AmqpError::Name`]; and whatever ends a session.
pub async fn exchange(session: &Session, name: &str) -> Result<Declared, AmqpError> {
    let mut arguments = FieldTable::default();
    arguments.insert(short("argument", ALTERNATE)?, AMQPValue::LongInt(0));
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let channel = session.channel().await?;
    let reply = channel.exchange_declare(short(EXCHANGE, name)?, ExchangeKind::Topic, options, arguments);
    met(session, session.answer("exchange.declare", reply).await, EXCHANGE, name, ALTERNATE)
}

/// Compares a queue with what relay would declare: quorum, durable. As [`exchange`], by asking for a leader to be chosen in a
/// way that there is not. Its own limit of deliveries, which depends on the broker that it was declared on, is told beside that, if it
/// has one; what a policy limits is not compared.
///
/// # Errors
/// As [`exchange`].
pub async fn queue(session: &Session, name: &str) -> Result<(Declared, Option<i64>), AmqpError> {
    let found = queue_with(session, name, None).await?;
    let Declared::Other(text) = &found else { return Ok((found, None)) };
    match limit(text) {
        Some(limit) => Ok((queue_with(session, name, Some(limit)).await?, Some(limit))),
        None => Ok((found, None)),
    }
}

async fn queue_with(session: &Session, name: &str, limit: Option<i64>) -> Result<Declared, AmqpError> {
    let mut arguments = FieldTable::default();
    let text = |value: &str| AMQPValue::LongString(LongString::from(value));
    arguments.insert(short("argument", "x-queue-type")?, text("quorum"));
    arguments.insert(short("argument", LOCATOR)?, text("relay doctor"));
    if let Some(limit) = limit {
        arguments.insert(short("argument", DELIVERY_LIMIT)?, AMQPValue::LongLongInt(limit));
    }
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = session.channel().await?;
    let reply = channel.queue_declare(short(QUEUE, name)?, options, arguments);
    let answer = session.answer("queue.declare", reply).await.map(|_| ());
    met(session, answer, QUEUE, name, LOCATOR)
}

/// The limit of deliveries that a queue has, where that was all that a declaration without one met.
fn limit(text: &str) -> Option<i64> {
    let (_, about) = text.split_once(&format!("inequivalent arg '{DELIVERY_LIMIT}'"))?;
    let (_, value) = about.split_once("received none but current is the value '")?;
    value.split_once('\'')?.0.parse().ok()
}

/// What a declaration met that could not succeed because of one argument.
fn met(
    session: &Session,
    answer: Result<(), AmqpError>,
    object: &'static str,
    name: &str,
    argument: &str,
) -> Result<Declared, AmqpError> {
    let Err(error) = answer else { return Ok(Declared::Alike) };
    match name_it(session, error, object, name) {
        AmqpError::Mismatch { text, .. } => Ok(judge(text, argument)),
        other => Err(other),
    }
}

fn judge(text: String, argument: &str) -> Declared {
    let compared = text.contains("inequivalent arg");
    let about_ours = text.contains(&format!("'{argument}'"));
    match (compared, about_ours) {
        // All but ours is alike, and of ours it has none.
        (true, true) if text.ends_with("but current is none") => Declared::Alike,
        (true, _) => Declared::Other(text),
        (false, true) => Declared::Absent,
        (false, false) => Declared::Other(text),
    }
}

/// Whether this user may publish to an exchange with a routing key, and the exchange exists: nothing is delivered, for the
/// message has an expiration that is none, which the broker looks at after everything else.
///
/// # Errors
/// [`AmqpError::Denied`], [`AmqpError::Missing`], [`AmqpError::Name`]; [`AmqpError::Unanswered`] while the broker takes no
/// messages; and whatever ends a session.
pub async fn accepts(session: &Session, exchange: &str, routing_key: &str) -> Result<(), AmqpError> {
    let name = short(EXCHANGE, exchange)?;
    let length = routing_key.len();
    let key =
        ShortString::try_new(routing_key).map_err(|_| AmqpError::Name { object: "routing key", length })?;
    let properties = BasicProperties::default().with_expiration(short("expiration", NO_EXPIRATION)?);
    let channel = session.channel().await?;
    session.answer("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let sending = async {
        channel.basic_publish(name, key, BasicPublishOptions::default(), b"", properties).await?.await
    };
    match session.answer("basic.publish", sending).await {
        Ok(_) | Err(AmqpError::Closed { what: "channel", code: 406, .. }) => Ok(()),
        Err(error) => Err(match name_it(session, error, EXCHANGE, exchange) {
            // Where writing is what was tried, the broker need not say so.
            AmqpError::Denied { object, name, user, text, .. } => {
                AmqpError::Denied { object, name, user, permission: "write", text }
            }
            other => other,
        }),
    }
}

/// Whether this user may publish to an exchange at all, and the exchange exists: with some routing keys, if not with all.
///
/// # Errors
/// As [`accepts`].
pub async fn takes(session: &Session, exchange: &str) -> Result<(), AmqpError> {
    match accepts(session, exchange, ANY_KEY).await {
        Err(AmqpError::Denied { text, .. }) if is_about_a_key(&text) => Ok(()),
        other => other,
    }
}

/// Whether a refusal is about the routing key: rights to those are looked at behind the one to write to the exchange.
#[must_use]
pub fn is_about_a_key(text: &str) -> bool {
    text.contains("access to topic '")
}

/// Whether this user may bind the queue of dead letters to their exchange: by removing a binding that there is not.
///
/// # Errors
/// [`AmqpError::Denied`], [`AmqpError::Missing`]; and whatever ends a session.
pub async fn may_bind(session: &Session, topology: &Topology) -> Result<(), AmqpError> {
    let (queue, exchange) = (&topology.dead_letter_queue, &topology.dead_letter_exchange);
    let key = format!("relay-doctor-{}", Uuid::new_v4());
    let channel = session.channel().await?;
    let reply = channel.queue_unbind(
        short(QUEUE, queue)?,
        short(EXCHANGE, exchange)?,
        short("binding", &key)?,
        FieldTable::default(),
    );
    session.answer("queue.unbind", reply).await.map_err(|error| {
        // Writing to the queue and reading from the exchange: the broker's words say which.
        let read = matches!(&error, AmqpError::Closed { text, .. } if text.contains("exchange"));
        if read { name_it(session, error, EXCHANGE, exchange) } else { name_it(session, error, QUEUE, queue) }
    })
}

/// Sends a message round by a queue of its own, through the default exchange: nobody else sees either.
///
/// # Errors
/// [`AmqpError::Denied`] without the right to such a queue; and whatever ends a session.
pub async fn round_trip(session: &Session) -> Result<Trip, AmqpError> {
    let denied = |error| name_it(session, error, QUEUE, "amq.gen-*");
    let options =
        QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let channel = session.channel().await?;
    session.answer("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let declaring = channel.queue_declare(ShortString::default(), options, FieldTable::default());
    let queue = session.answer("queue.declare", declaring).await.map_err(denied)?.name().clone();
    let begun = Instant::now();
    let sending = async {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default();
        channel
            .basic_publish(ShortString::default(), queue.clone(), options, b"relay doctor", properties)
            .await?
            .await
    };
    let mut blocked = session.blocked();
    let confirmation = tokio::select! {
        confirmation = session.answer("basic.publish", sending) => confirmation,
        // An alarm is told when the broker has refused to read something.
        Ok(reason) = blocked.wait_for(Option::is_some) => {
            return Ok(Trip::Blocked(reason.clone().unwrap_or_default()));
        }
    };
    match confirmation {
        Err(error) => return Err(name_it(session, error, EXCHANGE, "amq.default")),
        Ok(Confirmation::Ack(None)) => {}
        Ok(Confirmation::Ack(Some(_))) => return Ok(Trip::Astray("it was returned")),
        Ok(_) => return Ok(Trip::Astray("it was not confirmed")),
    }
    let took = begun.elapsed();
    let getting = channel.basic_get(queue.clone(), BasicGetOptions { no_ack: true });
    let got = session.answer("basic.get", getting).await.map_err(denied)?;
    let deleting = channel.queue_delete(queue, QueueDeleteOptions::default());
    // It goes with the session, at the latest.
    let _ = session.answer("queue.delete", deleting).await;
    Ok(if got.is_some() {
        Trip::Took(took)
    } else {
        Trip::Astray("it was confirmed, and is not in the queue")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_words_tell_how_far_a_declaration_came() {
        let alike = "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'e' in vhost '/': \
                     received the value '0' of type 'signedint' but current is none";
        assert_eq!(judge(alike.to_owned(), ALTERNATE), Declared::Alike);
        let kind = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'e' in vhost '/': received 'topic' but \
                    current is 'fanout'";
        assert_eq!(judge(kind.to_owned(), ALTERNATE), Declared::Other(kind.to_owned()));
        let absent = "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange 'e' in vhost '/'";
        assert_eq!(judge(absent.to_owned(), ALTERNATE), Declared::Absent);
        let another = "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'e' in vhost '/': \
                       received the value '0' of type 'signedint' but current is the value 'spare' of type 'longstr'";
        assert_eq!(judge(another.to_owned(), ALTERNATE), Declared::Other(another.to_owned()));
    }

    #[test]
    fn a_limit_of_deliveries_is_read_from_the_brokers_words() {
        let of = |what: &str| {
            limit(&format!(
                "PRECONDITION_FAILED - inequivalent arg '{what} for queue 'q' in vhost '/': received none but \
                            current is the value '-1' of type 'long'"
            ))
        };
        assert_eq!(of("x-delivery-limit'"), Some(-1));
        assert_eq!(of("x-message-ttl'"), None);
        let queue = "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'x-delivery-limit' in vhost '/': received \
                     'quorum' but current is 'classic'";
        assert_eq!(limit(queue), None);
    }
}
