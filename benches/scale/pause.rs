//! How long a lane stands still when a relay joins, drains or is killed, at 500 rows a second, one lane after the other: the
//! longest time in which nothing of a lane came though a row of it was committed.

use std::time::{Duration, Instant};

use crate::{
    consumer::Consumer,
    program::Program,
    report::{Report, Target},
    servers::{Bench, Result},
    table::{SMALL, clear, settle},
    writers::{LANES, Writers},
};

const RATE: u32 = 500;
/// The default of `lease.duration`, in seconds.
const LEASE: f64 = 10.0;
const LIMIT: Duration = Duration::from_secs(30);
/// Before and after each change.
const CALM: Duration = Duration::from_secs(2);

pub(crate) async fn measure(bench: &Bench, runs: usize, report: &mut Report) -> Result<()> {
    let mut pauses = [const { vec![] }; 4];
    for _ in 0..runs {
        for (pauses, pause) in pauses.iter_mut().zip(run(bench).await?) {
            pauses.push(pause);
        }
    }
    let [calm, join, drain, kill] = &pauses;
    let most = |pauses: &[f64]| pauses.iter().copied().fold(0.0, f64::max);
    let name = |what| format!("longest pause of a lane, {what}");
    report.judge(&name("two relays, no change"), most(calm), calm, "s", None);
    report.judge(&name("a third joins"), most(join), join, "s", Some(Target::AtMost(1.0)));
    report.judge(&name("it drains"), most(drain), drain, "s", Some(Target::AtMost(1.0)));
    report.judge(&name("it is killed"), most(kill), kill, "s", Some(Target::AtMost(LEASE + 1.0)));
    Ok(())
}

async fn run(bench: &Bench) -> Result<[f64; 4]> {
    let client = bench.database().await?;
    clear(&client, SMALL).await?;
    settle(&client, SMALL).await?;
    bench.queue("quorum").await?;
    let (first, second) = (bench.start()?, bench.start()?);
    shared(&[&first, &second]).await?;
    let consumer = Consumer::start(bench).await?;
    let writers = Writers::start(bench, RATE).await?;
    tokio::time::sleep(CALM * 2).await;
    let mut times = vec![Instant::now() - CALM, Instant::now()];
    let third = bench.start()?;
    shared(&[&first, &second, &third]).await?;
    tokio::time::sleep(CALM).await;
    times.push(Instant::now());
    drop(third);
    shared(&[&first, &second]).await?;
    tokio::time::sleep(CALM).await;
    times.push(Instant::now());
    let third = bench.start()?;
    shared(&[&first, &second, &third]).await?;
    tokio::time::sleep(CALM).await;
    let killed = Instant::now();
    third.kill()?;
    shared(&[&first, &second]).await?;
    tokio::time::sleep(CALM).await;
    let over = Instant::now();
    let sent = writers.finish().await?;
    let received = consumer.finish(sent.len()).await?;
    let mut streams = vec![vec![]; LANES];
    for row in &sent {
        let arrived = received.get(&row.id).ok_or("a message never came")?;
        streams[row.lane].push(((*arrived).max(row.at), row.at));
    }
    let pauses: Vec<(Instant, Instant)> = streams.into_iter().flat_map(pauses).collect();
    let longest = |from: Instant, to: Instant| {
        let within = pauses.iter().filter(|(begin, end)| *end >= from && *begin <= to);
        within.map(|(begin, end)| (*end - *begin).as_secs_f64()).fold(0.0, f64::max)
    };
    let pauses = [
        longest(times[0], times[1]),
        longest(times[1], times[2]),
        longest(times[2], times[3]),
        longest(killed, over),
    ];
    println!(
        "  {} rows; pauses: calm {:.3} s, join {:.3} s, drain {:.3} s, kill {:.3} s",
        sent.len(),
        pauses[0],
        pauses[1],
        pauses[2],
        pauses[3]
    );
    Ok(pauses)
}

/// From each message to the next, or from when a row was there to come, if that was later: a producer that stands still is
/// no pause of relay's. Takes when each came and was committed.
fn pauses(mut stream: Vec<(Instant, Instant)>) -> Vec<(Instant, Instant)> {
    stream.sort_unstable();
    let mut oldest = None;
    let mut pauses = vec![];
    for pair in stream.windows(2).rev() {
        let ((before, _), (arrived, committed)) = (pair[0], pair[1]);
        let waiting = oldest.map_or(committed, |oldest: Instant| oldest.min(committed));
        oldest = Some(waiting);
        pauses.push((before.max(waiting).min(arrived), arrived));
    }
    pauses
}

/// Waits until these relays have all lanes, as evenly as can be.
async fn shared(relays: &[&Program]) -> Result<()> {
    let end = Instant::now() + LIMIT;
    loop {
        let lanes =
            relays.iter().map(|relay| relay.metric("relay_lanes_owned")).collect::<Result<Vec<_>>>()?;
        let (most, least) =
            (lanes.iter().copied().fold(0.0, f64::max), lanes.iter().copied().fold(32.0, f64::min));
        if lanes.iter().sum::<f64>() == 32.0 && most - least <= 1.0 {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("the lanes are not shared within {LIMIT:?}: {lanes:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
