//! `make bench`, second half: what shipping costs and reaches.
//!
//! What the inbox costs a consumer; from a request to a shipped order, and the workers' memory; how many shipments a second
//! the API accepts. Servers of its own; prints, and writes `target/bench/shipping.json`. Bounded: loopback only, and by
//! `BENCH_PAIRS` (5), `BENCH_MESSAGES` (20000) for the inbox, `BENCH_SECONDS` (10) a run of the others. `BENCH_ONLY` names
//! the parts to run.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are shown to three places"
)]

mod accept;
mod client;
mod consistency;
mod inbox;

#[path = "../support/process.rs"]
#[allow(dead_code, reason = "shared with others")]
mod process;
#[path = "../support/program.rs"]
#[allow(dead_code, reason = "shared with others")]
mod program;
#[path = "../support/report.rs"]
#[allow(dead_code, reason = "shared with others")]
mod report;
#[path = "../../dev/stack.rs"]
mod stack;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use relay::postgres::settings::{DatabaseSettings, Tls};
use report::{Report, setting};
use serde_json::json;
use stack::Servers;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// `shipments COMMAND`.
pub(crate) fn shipments(command: &str) -> Command {
    let mut shipments = Command::new(env!("CARGO_BIN_EXE_shipments"));
    shipments.arg(command);
    shipments
}

pub(crate) fn database(url: &str) -> Result<DatabaseSettings> {
    Ok(DatabaseSettings {
        config: url.parse()?,
        tls: Tls::Auto,
        ca_file: None,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(30),
        pooled: false,
        schema: "relay".to_owned(),
    })
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let folder = Path::new(stack::REPOSITORY).join(".relay-dev/bench-shipping");
    let options = "-c shared_buffers=512MB -c max_wal_size=4GB -c checkpoint_timeout=30min";
    let _ = stack::in_folder("wipe", &folder).status();
    let mut up = stack::in_folder("up", &folder);
    up.env("RELAY_DEV_PG_OPTS", options).stderr(Stdio::inherit());
    let measured = measure(&stack::up(&mut up)?).await;
    let _ = stack::in_folder("wipe", &folder).status();
    measured
}

async fn measure(servers: &Servers) -> Result<()> {
    let migrated = shipments("migrate").env("DATABASE_URL", &servers.database_url).output()?;
    if !migrated.status.success() {
        return Err(String::from_utf8_lossy(&migrated.stderr).into());
    }
    let only = std::env::var("BENCH_ONLY").unwrap_or_else(|_| "inbox,consistency,accept".to_owned());
    let wanted = |part: &str| only.split(',').any(|name| name == part);
    let mut report = Report::new(json!({ "pairs": setting("BENCH_PAIRS", 5) }));
    if wanted("inbox") {
        inbox::measure(servers, &mut report).await?;
    }
    if wanted("consistency") {
        consistency::measure(servers, &mut report).await?;
    }
    // Last: what it has accepted nobody ships.
    if wanted("accept") {
        accept::measure(&servers.database_url, &mut report).await?;
    }
    report.finish("shipping")?;
    Ok(())
}
