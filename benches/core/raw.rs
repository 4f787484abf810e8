//! (a): the ceiling. lapin alone, publishing the very same messages: headers, properties, mandatory, persistent; relay's
//! window of 1,024 over as many channels as relay has publishers, each used by one task.

use std::time::Instant;

use futures_util::stream::{FuturesOrdered, StreamExt};
use lapin::{
    BasicProperties, Channel, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

use crate::process::cpu;
use crate::servers::{Bench, EXCHANGE, Result, close, short};

/// As relay's: unconfirmed messages in all channels together.
const WINDOW: usize = 1024;

/// One run: messages a second, and lapin's CPU in seconds per 100,000.
pub(crate) struct Raw {
    pub(crate) rate: f64,
    pub(crate) cpu: f64,
}

/// Publishes so many messages.
pub(crate) async fn publish(bench: &Bench, count: usize, bytes: usize) -> Result<Raw> {
    let connection = bench.broker().await?;
    let mut channels = vec![];
    for _ in 0..bench.publishers {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        channels.push(channel);
    }
    let payload = payload(bytes);
    let (start, cpu_before) = (Instant::now(), cpu(std::process::id()));
    let each = count / bench.publishers;
    let window = WINDOW / bench.publishers;
    let tasks: Vec<_> = channels
        .into_iter()
        .enumerate()
        .map(|(index, channel)| {
            let payload = payload.clone();
            tokio::spawn(async move { one_channel(&channel, index, each, window, &payload).await })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    let cpu = (cpu(std::process::id()) - cpu_before) * 100_000.0 / count as f64;
    close(&connection).await?;
    Ok(Raw { rate, cpu })
}

async fn one_channel(
    channel: &Channel,
    index: usize,
    count: usize,
    window: usize,
    payload: &[u8],
) -> Result<()> {
    let mut confirms = FuturesOrdered::new();
    for number in 0..count {
        if confirms.len() >= window {
            confirms.next().await.transpose()?;
        }
        let properties = properties(index * count + number)?;
        confirms.push_back(async move { Result::Ok(send(channel, properties, payload).await?.await?) });
    }
    while let Some(confirm) = confirms.next().await {
        confirm?;
    }
    Ok(())
}

/// Hands one message over; what comes back is its confirm to be.
pub(crate) async fn send(
    channel: &Channel,
    properties: BasicProperties,
    payload: &[u8],
) -> Result<PublisherConfirm> {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    Ok(channel.basic_publish(short(EXCHANGE)?, short("order.created")?, options, payload, properties).await?)
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

pub(crate) fn properties(number: usize) -> Result<BasicProperties> {
    let key = (number % 100_000).to_string();
    let mut headers = FieldTable::default();
    headers.insert(short("x-relay-seq")?, AMQPValue::LongLongInt(number as i64));
    headers.insert(short("x-relay-aggregate-type")?, text("order"));
    headers.insert(short("x-relay-aggregate-id")?, text(&key));
    headers.insert(short("x-relay-created-at")?, text("2026-11-21T23:00:00.000000Z"));
    headers.insert(short("x-relay-attempt")?, AMQPValue::LongLongInt(1));
    let id = uuid::Uuid::from_u128(number as u128);
    Ok(BasicProperties::default()
        .with_message_id(ShortString::try_new(id.hyphenated().to_string())?)
        .with_type(short("created")?)
        .with_correlation_id(ShortString::try_new(key)?)
        .with_app_id(short("relay")?)
        .with_content_type(short("application/json")?)
        .with_timestamp(1_795_000_000)
        .with_delivery_mode(2)
        .with_headers(headers))
}

pub(crate) fn payload(bytes: usize) -> Vec<u8> {
    let mut text = String::from(r#"{"id": 12345, "pad": ""#);
    let mut state = 88_172_645_463_325_252_u64;
    while text.len() < bytes - 2 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(b"0123456789abcdef"[(state % 16) as usize]));
    }
    text.push_str("\"}");
    text.into_bytes()
}
