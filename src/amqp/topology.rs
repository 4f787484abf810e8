//! The exchanges that relay publishes to, and the queue for what cannot be published.

use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

use super::{AmqpError, Session, version::server_major};

pub(super) const EXCHANGE: &str = "exchange";
pub(super) const QUEUE: &str = "queue";
pub(super) const DELIVERY_LIMIT: &str = "x-delivery-limit";
/// The RabbitMQ version whose quorum queues limit deliveries by default.
pub const LIMIT_BY_DEFAULT_SINCE: u32 = 4;

/// The names of relay's own objects on the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Where messages go that name no exchange of their own; topic, durable.
    pub exchange: String,
    /// Where dead letters go; topic, durable.
    pub dead_letter_exchange: String,
    /// Where they stay; a durable quorum queue without a delivery limit, bound to the dead-letter exchange by `#`.
    pub dead_letter_queue: String,
}

/// Creates what is missing. Repeating it changes nothing.
///
/// A quorum queue of RabbitMQ 4 drops a message after 20 deliveries, unless `x-delivery-limit` is -1. RabbitMQ 3 has no
/// such default and must not be given that value: 3.10 accepts it and then drops a message at its first redelivery
/// (measured). So the broker is asked for its version first, over a short connection, and the limit is lifted from
/// version 4 on. Where it does not tell, a policy has to lift it.
///
/// # Errors
/// [`AmqpError::Mismatch`] when an object exists with other properties, [`AmqpError::Denied`] without the permission to
/// configure an object, [`AmqpError::Name`]; and whatever ends a session. The session outlives the former: each
/// object is declared on a channel of its own.
pub async fn declare(session: &Session, topology: &Topology) -> Result<(), AmqpError> {
    for name in [&topology.exchange, &topology.dead_letter_exchange] {
        exchange(session, name, false).await?;
    }
    let lift_limit = lifts_delivery_limit(session).await?;
    match dead_letter_queue(session, &topology.dead_letter_queue, lift_limit).await {
        // It was declared when the broker was a RabbitMQ 3, and has come along with the upgrade.
        Err(AmqpError::Mismatch { text, .. }) if lift_limit && text.contains(DELIVERY_LIMIT) => {
            dead_letter_queue(session, &topology.dead_letter_queue, false).await?;
        }
        declared => declared?,
    }
    bind(session, topology).await
}

/// Whether this broker's quorum queues limit deliveries unless they are told not to.
pub(super) async fn lifts_delivery_limit(session: &Session) -> Result<bool, AmqpError> {
    let major = server_major(session.settings()).await?;
    Ok(major.is_some_and(|major| major >= LIMIT_BY_DEFAULT_SINCE))
}

/// Checks that everything exists, and creates nothing.
///
/// AMQP's passive declaration compares no properties and sees no bindings, so an exchange of another type or an
/// unbound dead-letter queue passes; the dead letter itself would then be returned as unroutable.
///
/// # Errors
/// [`AmqpError::Missing`] for the first object that does not exist; otherwise as [`declare`].
pub async fn verify(session: &Session, topology: &Topology) -> Result<(), AmqpError> {
    for name in [&topology.exchange, &topology.dead_letter_exchange] {
        exchange(session, name, true).await?;
    }
    depth(session, &topology.dead_letter_queue).await.map(|_| ())
}

/// How many messages a queue holds ready.
///
/// # Errors
/// [`AmqpError::Missing`] if it does not exist, [`AmqpError::Denied`] without a permission on it; and whatever ends a
/// session.
pub async fn depth(session: &Session, queue: &str) -> Result<u32, AmqpError> {
    let channel = session.channel().await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let reply = channel.queue_declare(short(QUEUE, queue)?, options, FieldTable::default());
    let declared = session
        .answer("queue.declare", reply)
        .await
        .map_err(|error| name_it(session, error, QUEUE, queue))?;
    Ok(declared.message_count())
}

/// Whether an exchange exists, of whatever type.
///
/// # Errors
/// [`AmqpError::Missing`] if it doesn't, [`AmqpError::Name`]; and whatever ends a session.
pub async fn exists(session: &Session, name: &str) -> Result<(), AmqpError> {
    exchange(session, name, true).await
}

async fn exchange(session: &Session, name: &str, passive: bool) -> Result<(), AmqpError> {
    let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
    let channel = session.channel().await?;
    let reply =
        channel.exchange_declare(short(EXCHANGE, name)?, ExchangeKind::Topic, options, FieldTable::default());
    session.answer("exchange.declare", reply).await.map_err(|error| name_it(session, error, EXCHANGE, name))
}

async fn dead_letter_queue(session: &Session, name: &str, lift_limit: bool) -> Result<(), AmqpError> {
    let mut arguments = FieldTable::default();
    arguments.insert(short("argument", "x-queue-type")?, AMQPValue::LongString(LongString::from("quorum")));
    if lift_limit {
        arguments.insert(short("argument", DELIVERY_LIMIT)?, AMQPValue::LongLongInt(-1));
    }
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = session.channel().await?;
    let reply = channel.queue_declare(short(QUEUE, name)?, options, arguments);
    session.answer("queue.declare", reply).await.map_err(|error| name_it(session, error, QUEUE, name))?;
    Ok(())
}

async fn bind(session: &Session, topology: &Topology) -> Result<(), AmqpError> {
    let (queue, exchange) = (&topology.dead_letter_queue, &topology.dead_letter_exchange);
    let channel = session.channel().await?;
    let reply = channel.queue_bind(
        short(QUEUE, queue)?,
        short(EXCHANGE, exchange)?,
        short("binding", "#")?,
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    session.answer("queue.bind", reply).await.map_err(|error| name_it(session, error, QUEUE, queue))
}

pub(super) fn short(object: &'static str, name: &str) -> Result<ShortString, AmqpError> {
    let length = name.len();
    match ShortString::try_new(name) {
        Ok(short) if length > 0 => Ok(short),
        _ => Err(AmqpError::Name { object, length }),
    }
}

/// Says which object a closed channel was about, and what to do.
pub(super) fn name_it(session: &Session, error: AmqpError, object: &'static str, name: &str) -> AmqpError {
    let AmqpError::Closed { what: "channel", code, text } = error else { return error };
    let name = name.to_owned();
    match code {
        404 => AmqpError::Missing { object, name, text },
        // 405: the name belongs to another connection's exclusive queue.
        405 | 406 => AmqpError::Mismatch { object, name, text },
        403 => AmqpError::Denied {
            object,
            name,
            user: session.user().to_owned(),
            permission: permission(&text),
            text,
        },
        _ => AmqpError::Closed { what: "channel", code, text },
    }
}

/// RabbitMQ since 3.9 says "configure access to ..."; older ones only "access to", for which it is the likeliest.
fn permission(text: &str) -> &'static str {
    ["write", "read"].into_iter().find(|kind| text.contains(&format!("{kind} access"))).unwrap_or("configure")
}
