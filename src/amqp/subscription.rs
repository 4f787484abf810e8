//! Consuming a queue: declaring or checking it, and taking its messages as the broker pushes them.

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
        QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use serde_json::{Map, Number, Value};

use super::{
    AmqpError, Session,
    topology::{self, DELIVERY_LIMIT, QUEUE, lifts_delivery_limit, name_it, short},
};

/// Nested tables and arrays of headers are kept to this depth.
const DEPTH: u8 = 8;

/// A consumer's queue: durable, a quorum queue, bound to one exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its name.
    pub name: String,
    /// The topic exchange it is bound to.
    pub exchange: String,
    /// The routing keys it is bound by.
    pub routing_keys: Vec<String>,
    /// Whether the broker delivers to one consumer at a time and the others stand by: what order per key needs where
    /// several workers run.
    pub single_active: bool,
}

/// A message as it was delivered, in terms of no client library.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Incoming {
    /// What it is acknowledged by, on the subscription that delivered it and on no other.
    pub tag: u64,
    /// Whether it was delivered before, to whomever.
    pub redelivered: bool,
    /// The exchange it was published to.
    pub exchange: String,
    /// Its routing key.
    pub routing_key: String,
    /// `message_id`.
    pub message_id: Option<String>,
    /// `type`.
    pub kind: Option<String>,
    /// `correlation_id`.
    pub correlation_id: Option<String>,
    /// `app_id`.
    pub app_id: Option<String>,
    /// `timestamp`, seconds since the Unix epoch.
    pub timestamp: Option<u64>,
    /// All headers. What JSON can't say is null.
    pub headers: Map<String, Value>,
    /// The body.
    pub body: Vec<u8>,
}

/// A consumer on a channel of its own. It belongs to one task.
#[derive(Debug)]
pub struct Subscription {
    channel: Channel,
    consumer: Consumer,
}

impl Session {
    /// Creates a consumer's queue and its bindings; repeating it changes nothing.
    ///
    /// # Errors
    /// As [`topology::declare`].
    pub async fn declare_queue(&self, spec: &QueueSpec) -> Result<(), AmqpError> {
        let lift_limit = lifts_delivery_limit(self).await?;
        match self.declare_as(spec, lift_limit).await {
            Err(AmqpError::Mismatch { text, .. }) if lift_limit && text.contains(DELIVERY_LIMIT) => {
                self.declare_as(spec, false).await?;
            }
            declared => declared?,
        }
        let channel = self.channel().await?;
        for routing_key in &spec.routing_keys {
            let bound = channel.queue_bind(
                short(QUEUE, &spec.name)?,
                short("exchange", &spec.exchange)?,
                short("routing key", routing_key)?,
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            self.answer("queue.bind", bound)
                .await
                .map_err(|error| name_it(self, error, "exchange", &spec.exchange))?;
        }
        Ok(())
    }

    async fn declare_as(&self, spec: &QueueSpec, lift_limit: bool) -> Result<(), AmqpError> {
        let mut arguments = FieldTable::default();
        arguments.insert(short("argument", "x-queue-type")?, AMQPValue::LongString("quorum".into()));
        if lift_limit {
            arguments.insert(short("argument", DELIVERY_LIMIT)?, AMQPValue::LongLongInt(-1));
        }
        if spec.single_active {
            arguments.insert(short("argument", "x-single-active-consumer")?, AMQPValue::Boolean(true));
        }
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let channel = self.channel().await?;
        let declared = channel.queue_declare(short(QUEUE, &spec.name)?, options, arguments);
        self.answer("queue.declare", declared)
            .await
            .map_err(|error| name_it(self, error, QUEUE, &spec.name))?;
        Ok(())
    }

    /// Creates a queue for whoever wants to look, that keeps the latest `most` messages of these routing keys and drops
    /// older ones: what nobody else consumes has a place to go.
    ///
    /// # Errors
    /// As [`topology::declare`].
    pub async fn declare_journal(
        &self,
        name: &str,
        exchange: &str,
        routing_keys: &[String],
        most: u32,
    ) -> Result<(), AmqpError> {
        let mut arguments = FieldTable::default();
        arguments.insert(short("argument", "x-max-length")?, AMQPValue::LongLongInt(most.into()));
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let channel = self.channel().await?;
        let declared = channel.queue_declare(short(QUEUE, name)?, options, arguments);
        self.answer("queue.declare", declared).await.map_err(|error| name_it(self, error, QUEUE, name))?;
        for routing_key in routing_keys {
            let bound = channel.queue_bind(
                short(QUEUE, name)?,
                short("exchange", exchange)?,
                short("routing key", routing_key)?,
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            self.answer("queue.bind", bound)
                .await
                .map_err(|error| name_it(self, error, "exchange", exchange))?;
        }
        Ok(())
    }

    /// Checks that a queue exists. Its bindings and arguments can't be seen.
    ///
    /// # Errors
    /// [`AmqpError::Missing`]; and whatever ends a session.
    pub async fn verify_queue(&self, spec: &QueueSpec) -> Result<(), AmqpError> {
        topology::depth(self, &spec.name).await.map(|_| ())
    }

    /// Has the broker push a queue's messages, at most `prefetch` of them unacknowledged.
    ///
    /// # Errors
    /// [`AmqpError::Missing`], [`AmqpError::Denied`], [`AmqpError::Name`]; and whatever ends a session.
    pub async fn subscribe(&self, queue: &str, prefetch: u16) -> Result<Subscription, AmqpError> {
        let channel = self.channel().await?;
        self.answer("basic.qos", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let consuming = channel.basic_consume(
            short(QUEUE, queue)?,
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = self
            .answer("basic.consume", consuming)
            .await
            .map_err(|error| name_it(self, error, QUEUE, queue))?;
        Ok(Subscription { channel, consumer })
    }
}

impl Subscription {
    /// The next message; `None` when the broker has cancelled the subscription, as it does when the queue is deleted, or
    /// when it was cancelled here and nothing is left. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the channel or the connection is gone; the broker gives out again what was not acknowledged.
    pub async fn next(&mut self) -> Option<Result<Incoming, AmqpError>> {
        let delivery = self.consumer.next().await?;
        Some(delivery.map(incoming).map_err(|error| super::failure::failure_of(&error).into()))
    }

    /// Acknowledges a message: the broker forgets it.
    ///
    /// # Errors
    /// Whatever ends a session.
    pub async fn ack(&self, session: &Session, tag: u64) -> Result<(), AmqpError> {
        session.answer("basic.ack", self.channel.basic_ack(tag, BasicAckOptions::default())).await
    }

    /// Gives a message back to its queue.
    ///
    /// # Errors
    /// Whatever ends a session.
    pub async fn requeue(&self, session: &Session, tag: u64) -> Result<(), AmqpError> {
        let options = BasicNackOptions { multiple: false, requeue: true };
        session.answer("basic.nack", self.channel.basic_nack(tag, options)).await
    }

    /// Asks for no further messages; those that are here stay here until they are decided.
    ///
    /// # Errors
    /// Whatever ends a session.
    pub async fn cancel(&self, session: &Session) -> Result<(), AmqpError> {
        let cancelled = self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        session.answer("basic.cancel", cancelled).await
    }
}

fn incoming(delivery: Delivery) -> Incoming {
    let properties = &delivery.properties;
    let text = |value: &Option<ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
    Incoming {
        tag: delivery.delivery_tag,
        redelivered: delivery.redelivered,
        exchange: delivery.exchange.as_str().to_owned(),
        routing_key: delivery.routing_key.as_str().to_owned(),
        message_id: text(properties.message_id()),
        kind: text(properties.kind()),
        correlation_id: text(properties.correlation_id()),
        app_id: text(properties.app_id()),
        timestamp: *properties.timestamp(),
        headers: properties.headers().as_ref().map(|headers| table(headers, DEPTH)).unwrap_or_default(),
        body: delivery.data,
    }
}

fn table(fields: &FieldTable, depth: u8) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.as_str().to_owned(), json(value, depth))).collect()
}

/// A header's value as JSON. Numbers that JSON has no form for, and what is nested too deeply, are null.
fn json(value: &AMQPValue, depth: u8) -> Value {
    let long = |text: &LongString| Value::String(String::from_utf8_lossy(text.as_bytes()).into_owned());
    match value {
        AMQPValue::Boolean(value) => Value::Bool(*value),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Timestamp(value) => (*value).into(),
        AMQPValue::Float(value) => double(f64::from(*value)),
        AMQPValue::Double(value) => double(*value),
        AMQPValue::ShortString(text) => Value::String(text.as_str().to_owned()),
        AMQPValue::LongString(text) => long(text),
        AMQPValue::FieldTable(fields) if depth > 0 => Value::Object(table(fields, depth - 1)),
        AMQPValue::FieldArray(values) if depth > 0 => {
            values.as_slice().iter().map(|value| json(value, depth - 1)).collect()
        }
        _ => Value::Null,
    }
}

fn double(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;

    use super::*;

    #[test]
    fn headers_of_every_type_become_json_and_depth_is_bounded() {
        let long = |text: &str| AMQPValue::LongString(LongString::from(text));
        assert_eq!(json(&long("a"), 1), Value::from("a"));
        assert_eq!(json(&AMQPValue::LongLongInt(-7), 1), Value::from(-7));
        assert_eq!(json(&AMQPValue::Double(f64::NAN), 1), Value::Null);
        assert_eq!(json(&AMQPValue::LongString(LongString::from(&b"\xff"[..])), 1), Value::from("\u{fffd}"));
        let mut nested = AMQPValue::Void;
        for _ in 0..100 {
            nested = AMQPValue::FieldArray(FieldArray::from(vec![nested]));
        }
        let text = json(&nested, DEPTH).to_string();
        assert_eq!(text, "[[[[[[[[null]]]]]]]]");
    }
}
