//! What scans cost while somebody's transaction stays idle: by the minute, at 2,000 rows a second.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::{
    process::cpu,
    program::Program,
    report::{Report, Target, median},
    servers::{Bench, Result},
    table::{Idle, SMALL, clear, settle},
};

/// Transactions a second, and rows of each.
const COMMITS: u32 = 100;
const ROWS: i32 = 20;
/// Spans of the run that are compared.
const SPANS: usize = 10;

/// Sums since the start.
struct Sums {
    scans: f64,
    published: f64,
    lag: f64,
    /// CPU of the backends that scan, write and measure, in seconds.
    scanning: f64,
    writing: f64,
    measuring: f64,
    /// Entries of the index of ready rows that were returned, dead ones among them.
    entries: f64,
    /// Its pages, each time one was needed.
    pages: f64,
}

pub(crate) async fn measure(bench: &Bench, seconds: usize, report: &mut Report) -> Result<()> {
    let client = bench.database().await?;
    clear(&client, SMALL).await?;
    settle(&client, SMALL).await?;
    bench.queue("quorum").await?;
    let relay = bench.start()?;
    relay.until("relay_listen_connected", 1.0, Duration::from_secs(10)).await?;
    let backends = Backends::find(&client).await?;
    let holder = Idle::open(bench).await?;
    let producer = tokio::spawn(produce(bench.database().await?, seconds));
    // The start is none of it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let start = Instant::now();
    let span = Duration::from_secs(seconds as u64) / SPANS as u32;
    let mut before = sums(&client, &relay, &backends).await?;
    let (mut scan, mut scan_rows, mut pages, mut write, mut measuring, mut lag) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    for number in 1..=SPANS {
        tokio::time::sleep((span * number as u32).saturating_sub(start.elapsed())).await;
        let now = sums(&client, &relay, &backends).await?;
        let (scans, rows) = (now.scans - before.scans, now.published - before.published);
        scan.push((now.scanning - before.scanning) / scans * 1e6);
        scan_rows.push((now.scanning - before.scanning) / rows * 1e6);
        pages.push((now.pages - before.pages) / scans);
        write.push((now.writing - before.writing) / rows * 1e6);
        measuring.push((now.measuring - before.measuring) / span.as_secs_f64() * 1e3);
        lag.push((now.lag - before.lag) / rows * 1e3);
        println!(
            "  {:>4.0} s: {rows:.0} rows, {scans:.0} scans of {:.0} µs, {:.1} entries and {:.1} pages each; a row {:.0} µs \
             of scans, {:.0} µs of writes, {:.2} ms from insert to confirm; gauges {:.1} ms/s",
            start.elapsed().as_secs_f64(),
            scan[number - 1],
            (now.entries - before.entries) / scans,
            pages[number - 1],
            scan_rows[number - 1],
            write[number - 1],
            lag[number - 1],
            measuring[number - 1],
        );
        before = now;
    }
    producer.await??;
    drop(holder);
    // From the first third to the last.
    let third = SPANS / 3;
    let growth = |values: &[f64]| median(&values[SPANS - third..]) / median(&values[..third]);
    let flat = Some(Target::AtMost(1.2));
    report.judge("CPU of a scan, idle transaction: last third over first", growth(&scan), &scan, "", flat);
    let name = "CPU of scans a row: last third over first";
    report.judge(name, growth(&scan_rows), &scan_rows, "", flat);
    report.judge("index pages a scan: last third over first", growth(&pages), &pages, "", flat);
    report.judge("CPU of marks a row: last third over first", growth(&write), &write, "", None);
    report.judge("from insert to confirm: last third over first", growth(&lag), &lag, "", flat);
    let name = "CPU of the gauges in the last third, ms a second";
    report.judge(name, median(&measuring[SPANS - third..]), &measuring, "", None);
    drop(relay);
    clear(&client, SMALL).await
}

async fn produce(client: Client, seconds: usize) -> Result<()> {
    let insert = client
        .prepare(&format!(
            "insert into {SMALL}.outbox (aggregate_type, aggregate_id, event_type, payload)
             select 'order', (random() * 100000)::integer::text, 'created', jsonb_build_object('pad', repeat('x', 480))
             from generate_series(1, $1)"
        ))
        .await?;
    let mut pace = tokio::time::interval(Duration::from_secs(1) / COMMITS);
    for _ in 0..(seconds as u32 + 4) * COMMITS {
        pace.tick().await;
        client.execute(&insert, &[&ROWS]).await?;
    }
    Ok(())
}

/// Relay's, by process id.
struct Backends {
    scanning: u32,
    writing: u32,
    measuring: u32,
}

impl Backends {
    async fn find(client: &Client) -> Result<Self> {
        let find = async |name: &str| -> Result<u32> {
            let select = "select pid from pg_stat_activity where application_name = $1";
            // Each connects when it first has something to do.
            for _ in 0..500 {
                if let Some(row) = client.query_opt(select, &[&name]).await? {
                    return Ok(row.get::<_, i32>(0).try_into()?);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(format!("relay has no session {name:?}").into())
        };
        // Something to write.
        client
            .batch_execute(&format!(
                "insert into {SMALL}.outbox (aggregate_type, aggregate_id, event_type, payload) values ('order', '1', 'created', '{{}}')"
            ))
            .await?;
        Ok(Self {
            scanning: find("relay scan").await?,
            writing: find("relay write").await?,
            measuring: find("relay measure").await?,
        })
    }
}

async fn sums(client: &Client, relay: &Program, backends: &Backends) -> Result<Sums> {
    let row = client
        .query_one(
            "select s.idx_tup_read::float8, (i.idx_blks_hit + i.idx_blks_read)::float8
             from pg_stat_user_indexes s join pg_statio_user_indexes i using (indexrelid)
             where s.schemaname = $1 and s.indexrelname = 'outbox_ready'",
            &[&SMALL],
        )
        .await?;
    Ok(Sums {
        scans: relay.metric_of("relay_wakeups_total", "\"poll\"")?,
        published: relay.metric("relay_published_total")?,
        lag: relay.metric("relay_commit_to_confirm_seconds_sum")?,
        scanning: cpu(backends.scanning),
        writing: cpu(backends.writing),
        measuring: cpu(backends.measuring),
        entries: row.get(0),
        pages: row.get(1),
    })
}
