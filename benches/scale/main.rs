//! `make bench-scale`: what size, age and company cost relay.
//!
//! A large table, a large backlog, somebody's idle transaction, many keys, a hot one, keys that wait, several relays, the
//! modes of order, late commits, lanes that change hands. Each rate is compared with one measured in the same run, in turn.
//! Prints, and writes `target/bench/scale.json`, or `scale-PARTS.json` for some of the parts.
//!
//! Bounded: loopback only, servers of its own, about 15 GB of disk, and by `BENCH_SCALE_ROWS` (10000000) in the large table,
//! `BENCH_SCALE_SLICE` (300000) rows drained, `BENCH_SCALE_PAIRS` (3), `BENCH_SCALE_IDLE_SECONDS` (600). `BENCH_ONLY` names the
//! parts to run, in any of: published, backlog, relays, ordering, keys, idle, late, pause.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are shown to three places"
)]

mod drain;
mod idle;
mod keys;
mod late;
mod pause;
mod size;
mod table;
mod together;
mod writers;

#[path = "../support/consumer.rs"]
mod consumer;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "shared with others")]
mod process;
#[path = "../support/program.rs"]
#[allow(dead_code, reason = "shared with others")]
mod program;
#[path = "../support/report.rs"]
#[allow(dead_code, reason = "shared with others")]
mod report;
#[path = "../support/servers.rs"]
#[allow(dead_code, reason = "shared with others")]
mod servers;
#[path = "../../dev/stack.rs"]
mod stack;

use report::{Report, setting};
use serde_json::json;
use servers::{Bench, Result};

const PARTS: [&str; 8] = ["published", "backlog", "relays", "ordering", "keys", "idle", "late", "pause"];

/// How large.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Rows of the large table.
    pub(crate) rows: usize,
    /// Rows drained for one rate.
    pub(crate) slice: usize,
    pub(crate) pairs: usize,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let size = Size {
        rows: setting("BENCH_SCALE_ROWS", 10_000_000),
        slice: setting("BENCH_SCALE_SLICE", 300_000),
        pairs: setting("BENCH_SCALE_PAIRS", 3),
    };
    let idle_seconds = setting("BENCH_SCALE_IDLE_SECONDS", 600);
    let only = std::env::var("BENCH_ONLY").ok();
    let parts: Vec<&str> = only.as_deref().map_or_else(|| PARTS.to_vec(), |only| only.split(',').collect());
    let name = only.as_ref().map_or_else(|| "scale".to_owned(), |_| format!("scale-{}", parts.join("-")));
    let mut report = Report::new(json!({
        "rows": size.rows, "slice": size.slice, "pairs": size.pairs, "idle_seconds": idle_seconds,
    }));
    let bench = Bench::up(4).await?;
    let result = async {
        for part in parts {
            println!("{part}");
            match part {
                "published" => size::published(&bench, size, &mut report).await?,
                "backlog" => size::backlog(&bench, size, &mut report).await?,
                "relays" => together::relays(&bench, size, &mut report).await?,
                "ordering" => together::ordering(&bench, size, &mut report).await?,
                "keys" => keys::measure(&bench, size, &mut report).await?,
                "idle" => idle::measure(&bench, idle_seconds, &mut report).await?,
                "late" => late::measure(&bench, &mut report).await?,
                "pause" => pause::measure(&bench, size.pairs, &mut report).await?,
                other => return Err(format!("there is no part {other}, only {PARTS:?}").into()),
            }
            // What takes this long is not lost to what comes after it.
            report.save(&name)?;
        }
        Result::Ok(())
    }
    .await;
    bench.down();
    report.finish(&name)?;
    result
}
