//! (b): draining a backlog, and the loop that most services write instead.

use std::time::{Duration, Instant};

use lapin::{
    BasicProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};

use crate::{
    process::{cpu, cpu_of_family, peak_mib},
    servers::{Bench, EXCHANGE, Result, short},
};

/// One drained backlog. CPU in seconds per 100,000 rows.
pub(crate) struct Drained {
    pub(crate) rate: f64,
    pub(crate) relay_cpu: f64,
    pub(crate) postgres_cpu: f64,
    pub(crate) broker_cpu: f64,
    pub(crate) peak_mib: f64,
}

/// An outbox of so many committed rows, payloads of so many bytes, over so many keys.
pub(crate) async fn fill(bench: &Bench, rows: usize, bytes: usize, keys: usize) -> Result<()> {
    let client = bench.database().await?;
    client.batch_execute("truncate relay.outbox restart identity; truncate relay.held_keys").await?;
    let insert = format!(
        "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload)
         select 'order', (g % {keys})::text, 'created',
                jsonb_build_object('id', g, 'pad',
                    substr((select string_agg(md5(g::text || i::text), '') from generate_series(1, {parts}) i), 1, {pad}))
         from generate_series(1, {rows}) g",
        parts = bytes / 32 + 1,
        pad = bytes.saturating_sub(26),
    );
    client.batch_execute(&insert).await?;
    // Each alone: neither runs inside a transaction, which several statements sent together are.
    client.batch_execute("vacuum (analyze) relay.outbox").await?;
    client.batch_execute("checkpoint").await?;
    Ok(())
}

/// Starts a relay and waits until everything is marked: its start counts.
pub(crate) async fn drain(bench: &Bench, rows: usize) -> Result<Drained> {
    let (postgres, broker) = (cpu_of_family(bench.postgres_pid), cpu(bench.broker_pid));
    let start = Instant::now();
    let relay = bench.start()?;
    relay.until("relay_published_total", rows as f64, Duration::from_secs(300)).await?;
    let elapsed = start.elapsed().as_secs_f64();
    let scale = 100_000.0 / rows as f64;
    Ok(Drained {
        rate: rows as f64 / elapsed,
        relay_cpu: cpu(relay.pid()) * scale,
        postgres_cpu: (cpu_of_family(bench.postgres_pid) - postgres) * scale,
        broker_cpu: (cpu(bench.broker_pid) - broker) * scale,
        peak_mib: peak_mib(relay.pid()),
    })
}

/// The yardstick: a hundred rows by SKIP LOCKED, each published and its confirm awaited, all marked, one transaction.
pub(crate) async fn naive(bench: &Bench, rows: usize) -> Result<f64> {
    let mut client = bench.database().await?;
    let connection = bench.broker().await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let start = Instant::now();
    let mut done = 0;
    while done < rows {
        let transaction = client.transaction().await?;
        let batch = transaction
            .query(
                "select seq, event_id::text, payload::text from relay.outbox where published_at is null
                 order by seq limit 100 for update skip locked",
                &[],
            )
            .await?;
        let mut seqs: Vec<i64> = vec![];
        for row in &batch {
            let (id, payload): (String, String) = (row.get(1), row.get(2));
            let properties =
                BasicProperties::default().with_message_id(ShortString::try_new(id)?).with_delivery_mode(2);
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            channel
                .basic_publish(
                    short(EXCHANGE)?,
                    short("order.created")?,
                    options,
                    payload.as_bytes(),
                    properties,
                )
                .await?
                .await?;
            seqs.push(row.get(0));
        }
        transaction
            .execute("update relay.outbox set published_at = now() where seq = any($1)", &[&seqs])
            .await?;
        transaction.commit().await?;
        done += batch.len();
        if batch.is_empty() {
            return Err("the loop ran out of rows".into());
        }
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}
