//! (c): from the moment a commit returned to the moment a consumer has the message.

use std::time::{Duration, Instant};

use lapin::options::ConfirmSelectOptions;

use crate::{
    consumer::Consumer,
    raw,
    servers::{Bench, Result, close},
};

pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) lost: usize,
}

/// With relay, four writers, `rate` commits a second together, for so many seconds.
pub(crate) async fn measure(bench: &Bench, rate: u32, seconds: u32) -> Result<Latency> {
    let relay = bench.start()?;
    relay.until("relay_listen_connected", 1.0, Duration::from_secs(10)).await?;
    let consumer = Consumer::start(bench).await?;
    let committed = write(bench, rate, seconds).await?;
    lags(consumer, &committed).await
}

/// From handing a message to lapin to the consumer, while the same writers commit and no relay runs: the broker and the
/// database share a disk, and wait for each other's flushes. No relay can do better.
pub(crate) async fn floor(bench: &Bench, rate: u32, seconds: u32) -> Result<Latency> {
    let consumer = Consumer::start(bench).await?;
    let connection = bench.broker().await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let payload = raw::payload(512);
    let mut pace = tokio::time::interval(Duration::from_secs_f64(1.0 / f64::from(rate)));
    let publish = async {
        let mut published = vec![];
        for number in 0..rate * seconds {
            pace.tick().await;
            let properties = raw::properties(number as usize)?;
            let id = properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
            published.push((id, Instant::now()));
            raw::send(&channel, properties, &payload).await?;
        }
        Ok(published)
    };
    let (published, _) = tokio::try_join!(publish, write(bench, rate, seconds))?;
    let lags = lags(consumer, &published).await;
    close(&connection).await?;
    lags
}

/// Four writers, `rate` commits a second together, for so many seconds: the ids, and when each commit had returned.
async fn write(bench: &Bench, rate: u32, seconds: u32) -> Result<Vec<(String, Instant)>> {
    let writers = 4_u32;
    let mut tasks = vec![];
    for writer in 0..writers {
        let client = bench.database().await?;
        tasks.push(tokio::spawn(async move {
            let statement = client
                .prepare(
                    "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload)
                     values ('order', $1, 'created', jsonb_build_object('pad', repeat('x', 460))) returning event_id::text",
                )
                .await?;
            let period = Duration::from_secs_f64(f64::from(writers) / f64::from(rate));
            tokio::time::sleep(period.mul_f64(f64::from(writer) / f64::from(writers))).await;
            let mut pace = tokio::time::interval(period);
            let mut committed = vec![];
            for number in 0..rate * seconds / writers {
                pace.tick().await;
                let key = format!("{writer}-{}", number % 1000);
                let id: String = client.query_one(&statement, &[&key]).await?.get(0);
                committed.push((id, Instant::now()));
            }
            Result::Ok(committed)
        }));
    }
    let mut committed = vec![];
    for task in tasks {
        committed.extend(task.await??);
    }
    Ok(committed)
}

/// How long after they were sent these came.
async fn lags(consumer: Consumer, sent: &[(String, Instant)]) -> Result<Latency> {
    let received = consumer.finish(sent.len()).await?;
    let mut lags: Vec<f64> = sent
        .iter()
        // A message may be there before its commit has returned to the writer.
        .filter_map(|(id, at)| Some(received.get(id)?.saturating_duration_since(*at).as_secs_f64() * 1e3))
        .collect();
    lags.sort_by(f64::total_cmp);
    let at = |share: f64| lags.get((lags.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    Ok(Latency { p50_ms: at(0.5), p99_ms: at(0.99), lost: sent.len() - lags.len() })
}
