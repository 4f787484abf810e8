//! Time to consistency: from the moment a client asks for a shipment until it is shipped, billed and its order fulfilled,
//! through API, relay, broker and workers, with a carrier that answers at once; and what the workers take up.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use relay::postgres::connect::connect;
use tokio::{task::JoinSet, time::interval};
use uuid::Uuid;

use crate::{
    Result, accept,
    client::Client,
    database,
    process::peak_mib,
    program::Program,
    report::{Report, percentile, setting},
    shipments,
    stack::Servers,
};

/// Shipments a second.
const RATE: u32 = 50;
const CLIENTS: u32 = 5;
/// Between two looks at what is shipped: by as much a time may be told too long.
const LOOK: Duration = Duration::from_millis(5);
const KEY: &str = "EZTKbench";
/// Whether there is anything still to publish.
const BUSY: &str = "select exists (select from relay.outbox where published_at is null)";
const SHIPPED: &str =
    "select shipment_id from shipping.shipments where state = 'shipped' and shipment_id = any($1)";

/// The carrier's simulator.
struct Carrier {
    child: Child,
    url: String,
}

impl Carrier {
    fn start(ledger: &Path) -> Result<Self> {
        let mut child = shipments("carrier-sim")
            .args(["--listen", "127.0.0.1:0", "--api-key", KEY, "--ledger"])
            .arg(ledger)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut url)?;
        Ok(Self { child, url: url.trim().to_owned() })
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn measure(servers: &Servers, report: &mut Report) -> Result<()> {
    let ledger = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-carrier.jsonl");
    let _ = std::fs::remove_file(&ledger);
    let carrier = Carrier::start(&ledger)?;
    let api = accept::start(shipments("api").env("DATABASE_URL", &servers.database_url))?;
    // It declares the exchange that the workers' queues are bound to.
    let relay = Program::start(
        Command::new(env!("CARGO_BIN_EXE_relay"))
            .arg("run")
            .env("DATABASE_URL", &servers.database_url)
            .env("AMQP_URL", &servers.amqp_url)
            .env("RELAY_ADMIN_LISTEN", "127.0.0.1:0")
            .env("RELAY_LOG_FORMAT", "json"),
    )?;
    relay.ready(Duration::from_secs(20)).await?;
    let workers = Program::start(
        shipments("worker")
            .args(["--only", "address,label,tracking,invoice,fulfilment", "--admin-listen", "127.0.0.1:0"])
            .args(["--carrier-url", &format!("{}/v2", carrier.url), "--carrier-api-key", KEY])
            .env("DATABASE_URL", &servers.database_url)
            .env("AMQP_URL", &servers.amqp_url),
    )?;
    workers.ready(Duration::from_secs(20)).await?;
    // Connections, plans and queues warm up with the first.
    run(servers, &api.address, "warm", 2).await?;
    let times = run(servers, &api.address, "bench", setting("BENCH_SECONDS", 10) * 2).await?;
    let name = format!("asked to shipped at {RATE}/s");
    report.add(&format!("{name}, p50"), percentile(&times, 50.0), "ms", Some("at most 100"));
    report.add(&format!("{name}, p99"), percentile(&times, 99.0), "ms", Some("at most 500"));
    report.add("memory of a process with all workers", peak_mib(workers.pid()), "MiB", Some("at most 64"));
    report.add("memory of relay beside them", peak_mib(relay.pid()), "MiB", None);
    Ok(())
}

/// The milliseconds that each shipment took.
async fn run(servers: &Servers, api: &str, orders: &str, seconds: usize) -> Result<Vec<f64>> {
    let connection = connect(&database(&servers.database_url)?, "bench").await?;
    let each = RATE as usize * seconds / CLIENTS as usize;
    let order = |client, number| format!("{orders}-{client}-{number}");
    let mut shop = Client::connect(api).await?;
    for client in 0..CLIENTS {
        for number in 0..each {
            shop.place_order(&order(client, number), false).await?;
        }
    }
    // What their events cost is no part of this.
    while connection.client.query_one(BUSY, &[]).await?.try_get::<_, bool>(0)? {
        tokio::time::sleep(LOOK).await;
    }
    let asked: Arc<Mutex<HashMap<Uuid, Instant>>> = Arc::default();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let orders: Vec<String> = (0..each).map(|number| order(client, number)).collect();
        let (api, asked) = (api.to_owned(), Arc::clone(&asked));
        clients.spawn(async move {
            let mut client = Client::connect(&api).await?;
            let mut pace = interval(Duration::from_secs(1) * CLIENTS / RATE);
            for order in orders {
                let due = pace.tick().await.into_std();
                let answer = client.ship(&order).await?;
                let id = answer["shipment_id"].as_str().ok_or("an answer without a shipment_id")?.parse()?;
                asked.lock().unwrap_or_else(PoisonError::into_inner).insert(id, due);
            }
            Ok::<_, crate::Error>(())
        });
    }
    let statement = connection.client.prepare(SHIPPED).await?;
    let all = each * CLIENTS as usize;
    let mut times = Vec::new();
    let end = Instant::now() + Duration::from_secs(seconds as u64 + 60);
    while times.len() < all {
        if Instant::now() > end {
            return Err(format!("{} of {all} shipments were shipped in time", times.len()).into());
        }
        let waiting: Vec<Uuid> =
            asked.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        let rows = connection.client.query(&statement, &[&waiting]).await?;
        let now = Instant::now();
        for row in rows {
            let due = asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&row.try_get(0)?);
            times.extend(due.map(|due| now.saturating_duration_since(due).as_secs_f64() * 1e3));
        }
        if let Some(ended) = clients.try_join_next() {
            ended??;
        }
        tokio::time::sleep(LOOK).await;
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(times)
}
