//! Reading a queue message by message, for operators: each is taken at most once, and stays with the broker until it is
//! decided what becomes of it.

use lapin::{
    BasicProperties, Channel, Confirmation,
    message::Delivery,
    options::{
        BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{AmqpError, Session};
use crate::{
    letter::{CONSUMER, LETTER_HEADERS, ORIGINAL_QUEUE},
    publisher::Outcome,
};

/// Headers that tell of earlier lives, or would send copies elsewhere. The broker writes the former anew.
const STRIPPED: [&str; 4] = ["x-death", "x-delivery-count", "CC", "BCC"];
const STRIPPED_PREFIXES: [&str; 2] = ["x-first-death-", "x-last-death-"];

const MANDATORY: BasicPublishOptions = BasicPublishOptions { mandatory: true, immediate: false };

/// A message taken from a queue and not yet acknowledged.
#[derive(Debug)]
pub struct Letter {
    delivery: Delivery,
}

/// What brings a letter back to its decision after its body was let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(u64);

impl Letter {
    /// Its place in the reader's bookkeeping.
    #[must_use]
    pub fn tag(&self) -> Tag {
        Tag(self.delivery.delivery_tag)
    }

    /// `message_id`.
    #[must_use]
    pub fn message_id(&self) -> Option<&str> {
        self.delivery.properties.message_id().as_ref().map(ShortString::as_str)
    }

    /// Whether it is a notice of a dead row, of relay's own or of a consumer's inbox, rather than the thing itself.
    ///
    /// `x-relay-seq` does not tell: an event that relay published and a consumer rejected carries that too.
    #[must_use]
    pub fn is_notice(&self) -> bool {
        self.header("x-relay-reason").is_some() && !self.is_garbage()
    }

    /// Whether a consumer found it to be no message: then no inbox has it, and the letter is all there is.
    fn is_garbage(&self) -> bool {
        self.header(CONSUMER).is_some() && self.header("x-relay-replays").is_none()
    }

    /// The consumer that gave it up, if one built on the library did: then its inbox knows more.
    #[must_use]
    pub fn consumer(&self) -> Option<String> {
        self.header(CONSUMER).and_then(text)
    }

    /// A header that is an integer.
    #[must_use]
    pub fn int_header(&self, name: &str) -> Option<i64> {
        match self.header(name)? {
            AMQPValue::LongLongInt(value) => Some(*value),
            AMQPValue::LongInt(value) => Some(i64::from(*value)),
            AMQPValue::LongUInt(value) => Some(i64::from(*value)),
            AMQPValue::ShortInt(value) => Some(i64::from(*value)),
            AMQPValue::ShortUInt(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The queue that it was dead-lettered from: by a consumer's word, of its latest death, or else of its first.
    #[must_use]
    pub fn original_queue(&self) -> Option<String> {
        if self.is_garbage() {
            return self.header(ORIGINAL_QUEUE).and_then(text);
        }
        let latest = match self.header("x-death") {
            Some(AMQPValue::FieldArray(deaths)) => match deaths.as_slice().first() {
                Some(AMQPValue::FieldTable(death)) => death.inner().get("queue").and_then(text),
                _ => None,
            },
            _ => None,
        };
        latest.or_else(|| self.header("x-first-death-queue").and_then(text))
    }

    fn header(&self, name: &str) -> Option<&AMQPValue> {
        self.delivery.properties.headers().as_ref()?.inner().get(name)
    }

    /// Its properties as they go out again: all of them, but for the headers of its death, and a `user_id` that is not
    /// ours, for which the broker would close the channel.
    fn properties(&self, user: &str) -> BasicProperties {
        let mut properties = self.delivery.properties.clone();
        let is_ours = |name: &str| self.is_garbage() && LETTER_HEADERS.contains(&name);
        if let Some(headers) = properties.headers() {
            let mut kept = FieldTable::default();
            for (name, value) in headers {
                if !is_stripped(name.as_str()) && !is_ours(name.as_str()) {
                    kept.insert(name.clone(), value.clone());
                }
            }
            properties = properties.with_headers(kept);
        }
        if properties.user_id().as_ref().is_some_and(|id| id.as_str() != user) {
            properties = without_user(&properties);
        }
        properties
    }
}

fn is_stripped(name: &str) -> bool {
    STRIPPED.contains(&name) || STRIPPED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// lapin's properties have setters for every field, and none that empties one.
fn without_user(properties: &BasicProperties) -> BasicProperties {
    macro_rules! copy {
        ($($get:ident $set:ident),+) => {{
            let mut copied = BasicProperties::default();
            $(if let Some(value) = properties.$get() {
                copied = copied.$set(value.clone());
            })+
            copied
        }};
    }
    copy!(
        content_type with_content_type, content_encoding with_content_encoding, headers with_headers,
        delivery_mode with_delivery_mode, priority with_priority, correlation_id with_correlation_id,
        reply_to with_reply_to, expiration with_expiration, message_id with_message_id,
        timestamp with_timestamp, kind with_type, app_id with_app_id, cluster_id with_cluster_id
    )
}

/// Reads a queue up to where it ended when the reading began.
///
/// What is neither acknowledged nor sent on goes back to the queue, at the latest when the session ends.
#[derive(Debug)]
pub struct QueueReader<'a> {
    session: &'a Session,
    channel: Channel,
    queue: ShortString,
    left: u32,
}

impl Session {
    /// Opens a queue that exists.
    ///
    /// # Errors
    /// [`AmqpError::Missing`], [`AmqpError::Name`], and whatever ends a session.
    pub async fn read_queue(&self, name: &str) -> Result<QueueReader<'_>, AmqpError> {
        let queue = ShortString::try_new(name)
            .map_err(|_| AmqpError::Name { object: "queue", length: name.len() })?;
        let channel = self.channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(queue.clone(), options, FieldTable::default());
        let state = match self.answer("queue.declare", declared).await {
            Err(AmqpError::Closed { code: 404, text, .. }) => {
                return Err(AmqpError::Missing { object: "queue", name: name.to_owned(), text });
            }
            other => other?,
        };
        self.answer("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        if !channel.status().confirm() {
            return Err(AmqpError::NoConfirms);
        }
        Ok(QueueReader { session: self, channel, queue, left: state.message_count() })
    }
}

impl QueueReader<'_> {
    /// How many messages are still to be looked at.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Takes the next message; `None` after as many as there were at the start.
    ///
    /// # Errors
    /// Whatever ends a session.
    pub async fn next(&mut self) -> Result<Option<Letter>, AmqpError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        let got = self.channel.basic_get(self.queue.clone(), BasicGetOptions::default());
        let got = self.session.answer("basic.get", got).await?;
        self.left = if got.is_some() { left } else { 0 };
        Ok(got.map(|message| Letter { delivery: message.delivery }))
    }

    /// Removes a message from the queue.
    ///
    /// # Errors
    /// Whatever ends a session.
    pub async fn ack(&self, tag: Tag) -> Result<(), AmqpError> {
        let acked = self.channel.basic_ack(tag.0, BasicAckOptions::default());
        self.session.answer("basic.ack", acked).await
    }

    /// Publishes a message again, to one queue alone, and waits for the broker's verdict. One at a time: a return is
    /// then nobody else's. With no verdict in time the connection is shut down, so that nothing is sent later; the
    /// message is still in the queue.
    ///
    /// # Errors
    /// Whatever ends a session.
    pub async fn send_on(&self, letter: &Letter, queue: &str) -> Result<Outcome, AmqpError> {
        let routing_key = ShortString::try_new(queue)
            .map_err(|_| AmqpError::Name { object: "queue", length: queue.len() })?;
        let properties = letter.properties(self.session.user());
        let sending = async {
            let default_exchange = ShortString::default();
            self.channel
                .basic_publish(default_exchange, routing_key, MANDATORY, &letter.delivery.data, properties)
                .await?
                .await
        };
        match self.session.answer("basic.publish", sending).await {
            Ok(Confirmation::Ack(None)) => Ok(Outcome::Confirmed),
            Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned))) => {
                Ok(Outcome::Returned { code: returned.reply_code, text: returned.reply_text.to_string() })
            }
            Ok(Confirmation::Nack(None)) => Ok(Outcome::Nacked),
            Ok(Confirmation::NotRequested) => Err(AmqpError::NoConfirms),
            Err(error) => {
                self.session.kill();
                Err(error)
            }
        }
    }

    /// Gives everything back that was taken and not decided.
    ///
    /// # Errors
    /// Whatever ends a session; the broker then gives it back by itself.
    pub async fn give_back(self) -> Result<(), AmqpError> {
        // Tag 0 with `multiple`: all that is outstanding on the channel.
        let options = BasicNackOptions { multiple: true, requeue: true };
        self.session.answer("basic.nack", self.channel.basic_nack(0, options)).await?;
        let text = ShortString::try_new("done").unwrap_or_default();
        self.session.answer("channel.close", self.channel.close(200, text)).await
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::{FieldArray, LongString};

    use super::*;

    fn letter(headers: &[(&str, AMQPValue)]) -> Letter {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert(ShortString::try_new(*name).unwrap_or_default(), value.clone());
        }
        let mut delivery =
            Delivery::mock(1, ShortString::default(), ShortString::default(), false, Vec::new());
        delivery.properties = BasicProperties::default()
            .with_headers(table)
            .with_type(ShortString::try_new("placed").unwrap_or_default())
            .with_user_id(ShortString::try_new("somebody").unwrap_or_default());
        Letter { delivery }
    }

    fn long(text: &str) -> AMQPValue {
        AMQPValue::LongString(LongString::from(text))
    }

    fn death(queue: &str) -> AMQPValue {
        let mut death = FieldTable::default();
        death.insert(ShortString::try_new("queue").unwrap_or_default(), long(queue));
        AMQPValue::FieldTable(death)
    }

    #[test]
    fn the_original_queue_is_that_of_the_latest_death_or_else_of_the_first() {
        let deaths = AMQPValue::FieldArray(FieldArray::from(vec![death("late"), death("early")]));
        let both = letter(&[("x-death", deaths), ("x-first-death-queue", long("early"))]);
        assert_eq!(both.original_queue().as_deref(), Some("late"));
        assert_eq!(
            letter(&[("x-first-death-queue", long("early"))]).original_queue().as_deref(),
            Some("early")
        );
        assert_eq!(letter(&[]).original_queue(), None);
    }

    #[test]
    fn what_a_consumer_found_to_be_no_message_goes_back_as_it_came() {
        let garbage = letter(&[
            ("x-relay-reason", long("invalid_json")),
            ("x-relay-consumer", long("shop")),
            ("x-relay-original-queue", long("shop.work")),
            ("x-relay-seq", AMQPValue::LongLongInt(7)),
        ]);
        assert!(!garbage.is_notice());
        assert_eq!(garbage.original_queue().as_deref(), Some("shop.work"));
        let sent = garbage.properties("relay");
        let names: Option<Vec<String>> =
            sent.headers().as_ref().map(|table| table.inner().keys().map(ToString::to_string).collect());
        assert_eq!(names, Some(vec!["x-relay-seq".to_owned()]));
        // An inbox has this one.
        let replays = ("x-relay-replays", AMQPValue::LongLongInt(0));
        assert!(
            letter(&[("x-relay-reason", long("x")), ("x-relay-consumer", long("shop")), replays]).is_notice()
        );
    }

    #[test]
    fn a_letter_sent_on_keeps_its_properties_but_not_its_death_nor_a_foreign_user() {
        let letter = letter(&[
            ("x-death", AMQPValue::FieldArray(FieldArray::from(vec![death("work")]))),
            ("x-first-death-queue", long("work")),
            ("x-last-death-reason", long("rejected")),
            ("x-delivery-count", AMQPValue::LongLongInt(3)),
            ("CC", long("elsewhere")),
            ("BCC", long("elsewhere")),
            ("traceparent", long("00-abc")),
        ]);
        let sent = letter.properties("relay");
        let names: Option<Vec<String>> =
            sent.headers().as_ref().map(|table| table.inner().keys().map(ToString::to_string).collect());
        assert_eq!(names, Some(vec!["traceparent".to_owned()]));
        assert_eq!(sent.kind().as_ref().map(ShortString::as_str), Some("placed"));
        assert_eq!(*sent.user_id(), None);
        assert!(letter.properties("somebody").user_id().is_some());
    }
}
