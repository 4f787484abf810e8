//! What shipping costs and reaches. So far: how many shipments a second the API accepts, over the same statements without
//! it. Servers of its own; `BENCH_SECONDS` (10) a run, `BENCH_PAIRS` (3).
//!
//! `cargo bench --bench shipping`; writes target/bench/shipping.json.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are shown to three places"
)]

mod accept;

#[path = "../../dev/stack.rs"]
#[allow(dead_code, reason = "shared with others")]
mod stack;

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Figures in the order they were measured.
#[derive(Default)]
pub(crate) struct Report(Vec<Value>);

impl Report {
    pub(crate) fn add(&mut self, what: &str, value: f64, unit: &str, target: Option<&str>) {
        println!("{what:<56} {value:>12.2} {unit:<7} {}", target.unwrap_or(""));
        self.0.push(json!({ "what": what, "value": value, "unit": unit, "target": target }));
    }
}

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The middle value; of an even number, the lower of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let folder = Path::new(stack::REPOSITORY).join(".relay-dev/bench-shipping");
    let options = "-c shared_buffers=512MB -c max_wal_size=4GB -c checkpoint_timeout=30min";
    let mut up = stack::in_folder("up", &folder);
    up.env("RELAY_DEV_PG_OPTS", options).stderr(Stdio::inherit());
    let servers = stack::up(&mut up)?;
    let mut report = Report::default();
    let measured = accept::measure(&servers.database_url, &mut report).await;
    let _ = stack::in_folder("wipe", &folder).status();
    measured?;
    let target = Path::new(stack::REPOSITORY).join("target/bench");
    std::fs::create_dir_all(&target)?;
    std::fs::write(target.join("shipping.json"), format!("{:#}\n", json!({ "figures": report.0 })))?;
    Ok(())
}
