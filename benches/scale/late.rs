//! Late commits: rows that become visible after later ones went out. From the moment the commit returned to the moment a
//! consumer has the message.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::{
    consumer::Consumer,
    program::Program,
    report::{Report, Target, percentile},
    servers::{Bench, Result},
    table::{SMALL, clear, settle},
    writers::{Writers, insert},
};

/// Late commits measured: while relay is busy, and in each other state, where each takes a while.
const BUSY: usize = 400;
const QUIET: usize = 60;

/// Rows, and when their commit had returned.
type Late = Vec<(String, Instant)>;

pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let client = bench.database().await?;
    clear(&client, SMALL).await?;
    settle(&client, SMALL).await?;
    let (relay, consumer) = start(bench).await?;
    let others = Writers::start(bench, 500).await?;
    let late = busy(bench).await?;
    let messages = others.finish().await?.len() + late.len();
    judge(report, "busy", late, consumer, messages).await?;
    drop(relay);

    let (relay, consumer) = start(bench).await?;
    let late = asleep(bench, &client, &consumer).await?;
    let messages = late.len() * 2;
    judge(report, "asleep", late, consumer, messages).await?;
    drop(relay);

    let (_relay, consumer) = start(bench).await?;
    let late = kept_awake(bench, &consumer).await?;
    let messages = late.len() * 3;
    judge(report, "kept awake by it", late, consumer, messages).await
}

async fn start(bench: &Bench) -> Result<(Program, Consumer)> {
    bench.queue("quorum").await?;
    let relay = bench.start()?;
    relay.until("relay_listen_connected", 1.0, Duration::from_secs(10)).await?;
    relay.until("relay_lanes_owned", 32.0, Duration::from_secs(20)).await?;
    Ok((relay, Consumer::start(bench).await?))
}

async fn judge(
    report: &mut Report,
    when: &str,
    late: Late,
    consumer: Consumer,
    messages: usize,
) -> Result<()> {
    let received = consumer.finish(messages).await?;
    let times = late.iter().map(|(id, at)| {
        let received = received.get(id)?;
        Some(received.saturating_duration_since(*at).as_secs_f64() * 1e3)
    });
    let times: Vec<f64> =
        times.map(|time| time.ok_or("a late commit never came")).collect::<std::result::Result<_, _>>()?;
    let name = |which| format!("late commits, relay {when}, {which}");
    for (which, percent) in [("p50", 50.0), ("p99", 99.0)] {
        report.judge(&name(which), percentile(&times, percent), &[], "ms", None);
    }
    let most = percentile(&times, 100.0);
    report.judge(&name("max"), most, &times, "ms", Some(Target::AtMost(100.0)));
    Ok(())
}

/// Open for 20 to 400 ms, while others commit 500 times a second.
async fn busy(bench: &Bench) -> Result<Late> {
    let mut tasks = vec![];
    for writer in 0..8 {
        let client = bench.database().await?;
        tasks.push(tokio::spawn(async move {
            let statement = client.prepare(&insert()).await?;
            let mut late = vec![];
            for number in 0..BUSY / 8 {
                client.batch_execute("begin").await?;
                let id = client.query_one(&statement, &[&format!("late-{writer}")]).await?.get(0);
                let open = 20 + (number * 8 + writer) * 37 % 380;
                tokio::time::sleep(Duration::from_millis(open as u64)).await;
                client.batch_execute("commit").await?;
                late.push((id, Instant::now()));
            }
            Result::Ok(late)
        }));
    }
    let mut late = vec![];
    for task in tasks {
        late.extend(task.await??);
    }
    Ok(late)
}

/// Begun while relay sleeps, so that it falls asleep again behind a later commit.
async fn asleep(bench: &Bench, watch: &Client, consumer: &Consumer) -> Result<Late> {
    let (one, other) = (bench.database().await?, bench.database().await?);
    let (insert_one, insert_other) = (one.prepare(&insert()).await?, other.prepare(&insert()).await?);
    let mut late = vec![];
    for number in 0..QUIET {
        sleeps(watch).await?;
        one.batch_execute("begin").await?;
        let id: String = one.query_one(&insert_one, &[&format!("late-{number}")]).await?.get(0);
        let later: String = other.query_one(&insert_other, &[&format!("later-{number}")]).await?.get(0);
        comes(consumer, &later).await?;
        sleeps(watch).await?;
        one.batch_execute("commit").await?;
        let committed = Instant::now();
        // By then relay has given the sleep locks back, and is not taken for asleep while it wakes up.
        comes(consumer, &id).await?;
        late.push((id, committed));
    }
    Ok(late)
}

/// Begun while relay is awake: it may not sleep before this ends, and polls more and more rarely.
async fn kept_awake(bench: &Bench, consumer: &Consumer) -> Result<Late> {
    let (one, other) = (bench.database().await?, bench.database().await?);
    let (insert_one, insert_other) = (one.prepare(&insert()).await?, other.prepare(&insert()).await?);
    let mut late = vec![];
    for number in 0..QUIET {
        one.batch_execute("begin").await?;
        other.query_one(&insert_other, &[&format!("earlier-{number}")]).await?;
        tokio::time::sleep(Duration::from_millis(3)).await;
        let id = one.query_one(&insert_one, &[&format!("late-{number}")]).await?.get(0);
        let later: String = other.query_one(&insert_other, &[&format!("later-{number}")]).await?.get(0);
        comes(consumer, &later).await?;
        tokio::time::sleep(Duration::from_millis(500 + (number as u64 * 37) % 50)).await;
        one.batch_execute("commit").await?;
        late.push((id, Instant::now()));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(late)
}

/// Waits until relay holds the sleep locks.
async fn sleeps(client: &Client) -> Result<()> {
    let locked = format!(
        "select count(*) = 32 from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock'
             and classid = {SMALL}.wake_class()::bit(32)::bigint::oid and granted"
    );
    until("relay does not fall asleep", async || Ok(client.query_one(&locked, &[]).await?.get(0))).await
}

async fn comes(consumer: &Consumer, id: &str) -> Result<()> {
    until("a message does not come", async || Ok(consumer.has(id))).await
}

async fn until(trouble: &str, mut done: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while !done().await? {
        if Instant::now() > end {
            return Err(trouble.into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
