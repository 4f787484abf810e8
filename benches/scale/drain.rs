//! Draining part of an outbox.

use std::time::{Duration, Instant};

use crate::{
    process::{cpu, peak_mib},
    program::Program,
    servers::{Bench, Result},
};

/// How long a drain may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Between two looks at how far it is. Metrics take relay a fraction of a millisecond, and several relays that again.
const POLL: Duration = Duration::from_millis(50);

/// What drains.
#[derive(Default)]
pub(crate) struct Drain<'a> {
    pub(crate) schema: &'a str,
    /// Relays beside the first.
    pub(crate) others: usize,
    /// Their settings.
    pub(crate) with: &'a [(&'a str, &'a str)],
}

/// What came of it, of all relays together.
pub(crate) struct Drained {
    /// Rows a second, the start of the relays included.
    pub(crate) rate: f64,
    /// Seconds for 100,000 rows.
    pub(crate) cpu: f64,
    /// Of the one with the most.
    pub(crate) peak_mib: f64,
}

impl Drain<'_> {
    fn start(&self, bench: &Bench) -> Result<Vec<Program>> {
        let mut variables = vec![("RELAY_DATABASE_SCHEMA", self.schema)];
        variables.extend(self.with);
        (0..=self.others).map(|_| bench.start_with(&variables)).collect()
    }

    /// Until so many rows are marked.
    pub(crate) async fn rows(&self, bench: &Bench, rows: usize) -> Result<Drained> {
        bench.queue("quorum").await?;
        let start = Instant::now();
        let relays = self.start(bench)?;
        let marked = || {
            let marked = relays.iter().map(|relay| relay.metric("relay_published_total"));
            marked.sum::<Result<f64>>()
        };
        while marked()? < rows as f64 {
            if start.elapsed() > LIMIT {
                return Err(format!("{} of {rows} rows within {LIMIT:?}", marked()?).into());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(drained(rows, start, &relays))
    }

    /// Until a query says that so many rows are.
    pub(crate) async fn until(&self, bench: &Bench, rows: usize, done: &str) -> Result<Drained> {
        bench.queue("quorum").await?;
        let client = bench.database().await?;
        let done = client.prepare(done).await?;
        let start = Instant::now();
        let relays = self.start(bench)?;
        while !client.query_one(&done, &[]).await?.get::<_, bool>(0) {
            if start.elapsed() > LIMIT {
                return Err(format!("{rows} rows are not drained within {LIMIT:?}").into());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(drained(rows, start, &relays))
    }
}

fn drained(rows: usize, start: Instant, relays: &[Program]) -> Drained {
    let rate = rows as f64 / start.elapsed().as_secs_f64();
    let cpu: f64 = relays.iter().map(|relay| cpu(relay.pid())).sum();
    let peaks = relays.iter().map(|relay| peak_mib(relay.pid()));
    Drained { rate, cpu: cpu * 100_000.0 / rows as f64, peak_mib: peaks.fold(0.0, f64::max) }
}
