//! `POST /shipments` with eight clients, and the same transaction by eight sessions without HTTP in between.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use relay::{
    postgres::connect::{DatabaseSettings, Tls, connect},
    shipping::{
        saga::Limits,
        store::{Answer, Keyed, NewCase, NewLine, NewShipment, Store},
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use uuid::Uuid;

use crate::{Report, Result, median, setting};

const CLIENTS: usize = 8;
/// Orders that the shipments are spread over: with few of them the order's row lock would be measured.
const ORDERS: u128 = 1000;
const SESSION: &str = "set lock_timeout = '2s'; set plan_cache_mode = force_generic_plan; set jit = off";

/// One run: accepted a second, and how long each took, sorted.
struct Run {
    rate: f64,
    times: Vec<Duration>,
}

impl Run {
    fn of(runs: Vec<Vec<Duration>>, took: Duration) -> Self {
        let mut times: Vec<Duration> = runs.into_iter().flatten().collect();
        times.sort_unstable();
        Self { rate: times.len() as f64 / took.as_secs_f64(), times }
    }

    fn percentile(&self, percent: f64) -> f64 {
        let at = (self.times.len() as f64 * percent / 100.0) as usize;
        self.times
            .get(at.min(self.times.len().saturating_sub(1)))
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

/// The API as a process.
struct Api(Child, String);

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) async fn measure(database_url: &str, report: &mut Report) -> Result<()> {
    let shipments = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shipments"));
        command.env("DATABASE_URL", database_url).stderr(Stdio::piped());
        command
    };
    let migrated = shipments().arg("migrate").output()?;
    if !migrated.status.success() {
        return Err(String::from_utf8_lossy(&migrated.stderr).into());
    }
    let api = start(shipments())?;
    place_orders(&api.1).await?;
    let time = Duration::from_secs(setting("BENCH_SECONDS", 10));
    let (mut api_runs, mut bare_runs, mut ratios) = (vec![], vec![], vec![]);
    for _ in 0..setting("BENCH_PAIRS", 3) {
        let bare = bare(database_url, time).await?;
        let run = post(&api.1, time).await?;
        println!("  bare {:.0}/s, API {:.0}/s, p99 {:.1} ms", bare.rate, run.rate, run.percentile(99.0));
        ratios.push(run.rate / bare.rate);
        bare_runs.push(bare);
        api_runs.push(run);
    }
    let of =
        |runs: &[Run], figure: &dyn Fn(&Run) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
    report.add("bare transactions, 8 sessions", of(&bare_runs, &|run| run.rate), "/s", None);
    report.add("API accepts, 8 clients", of(&api_runs, &|run| run.rate), "/s", Some("at least 1500"));
    report.add("API over bare transactions", median(&ratios), "", Some("at least 0.5"));
    report.add("API accepts, p50", of(&api_runs, &|run| run.percentile(50.0)), "ms", None);
    report.add("API accepts, p99", of(&api_runs, &|run| run.percentile(99.0)), "ms", Some("at most 50"));
    Ok(())
}

fn start(mut command: Command) -> Result<Api> {
    let tokens = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench.tokens");
    // printf secret | sha256sum
    std::fs::write(&tokens, "bench:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n")?;
    let mut child = command
        .args(["api", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--rate", "1000000"])
        .arg("--tokens-file")
        .arg(tokens)
        .spawn()?;
    let stderr = child.stderr.take().ok_or("it has no stderr")?;
    let mut lines = BufReader::new(stderr).lines().map_while(std::result::Result::ok);
    let address = lines.find_map(|line| {
        let line: Value = serde_json::from_str(&line).ok()?;
        line["address"].as_str().map(str::to_owned)
    });
    // A pipe that nobody reads would stop it.
    std::thread::spawn(move || lines.for_each(drop));
    Ok(Api(child, address.ok_or("the API did not start")?))
}

async fn place_orders(api: &str) -> Result<()> {
    let mut stream = TcpStream::connect(api).await?;
    let order = json!({
        "currency": "EUR", "ship_to": address(),
        "lines": [{"sku": "apple", "ordered": 1_000_000, "unit_price_minor": 150}],
        "parties": [{"role": "customer", "mail": "ada@example.com"}],
    })
    .to_string();
    for number in 0..ORDERS {
        let head = format!("PUT /orders/{number} HTTP/1.1\r\n");
        ask(&mut stream, &head, "", &order, 20).await?;
    }
    Ok(())
}

fn address() -> Value {
    json!({"name": "Ada", "street1": "Main St 1", "city": "Springfield", "zip": "12345", "country": "US"})
}

async fn post(api: &str, time: Duration) -> Result<Run> {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let api = api.to_owned();
        clients.spawn(async move {
            let mut stream = TcpStream::connect(&api).await?;
            stream.set_nodelay(true)?;
            let mut times = Vec::new();
            while begun.elapsed() < time {
                let key = Uuid::new_v4();
                let body = json!({
                    "order_id": (key.as_u128() % ORDERS).to_string(), "ship_from": address(),
                    "cases": [{"weight_grams": 500, "length_mm": 300, "width_mm": 200, "height_mm": 100,
                               "lines": [{"line": 1, "quantity": 1}]}],
                });
                let start = Instant::now();
                let key = format!("idempotency-key: {key}\r\n");
                ask(&mut stream, "POST /shipments HTTP/1.1\r\n", &key, &body.to_string(), 20).await?;
                times.push(start.elapsed());
            }
            Ok::<_, crate::Error>(times)
        });
    }
    let runs = clients.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(Run::of(runs, begun.elapsed()))
}

/// A request on a connection that stays open; its answer's status must begin so (20 for 2xx).
async fn ask(stream: &mut TcpStream, line: &str, header: &str, body: &str, status: u16) -> Result<()> {
    let request = format!(
        "{line}host: api\r\nauthorization: Bearer secret\r\ncontent-type: application/json\r\n{header}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).await?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if length.is_some_and(|length| body.len() >= length) {
                if head.starts_with(&format!("HTTP/1.1 {status}")) {
                    return Ok(());
                }
                return Err(text.into());
            }
        }
        if count == 0 {
            return Err("the API hung up".into());
        }
    }
}

/// The statements of a request, prepared, by sessions that do nothing else.
async fn bare(database_url: &str, time: Duration) -> Result<Run> {
    let settings = DatabaseSettings {
        config: database_url.parse()?,
        tls: Tls::Auto,
        ca_file: None,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(10),
        schema: "relay".to_owned(),
    };
    let store = Arc::new(Store::new("relay", Limits::default()));
    let mut sessions = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..CLIENTS {
        let mut connection = connect(&settings, "bench").await?;
        let store = Arc::clone(&store);
        sessions.spawn(async move {
            connection.client.batch_execute(SESSION).await?;
            let prepared = store.prepare(&connection.client).await?;
            let mut times = Vec::new();
            while begun.elapsed() < time {
                let start = Instant::now();
                let order_id = (Uuid::new_v4().as_u128() % ORDERS).to_string();
                let tx = connection.client.transaction().await?;
                let origin = store.origin(&tx, &order_id, Some(&prepared)).await?;
                let (ship_to, parties) = origin.ok_or("there is no such order")?;
                let line = NewLine { line: 1, quantity: 1 };
                let case = NewCase {
                    reference: Uuid::now_v7(),
                    weight: 500,
                    size: [300, 200, 100],
                    lines: vec![line],
                };
                let new = NewShipment {
                    shipment_id: Uuid::now_v7(),
                    order_id,
                    caller: "bench".to_owned(),
                    ship_to,
                    ship_from: address().to_string(),
                    cases: vec![case],
                    parties,
                };
                let answer = Answer { status: 202, headers: "{}".to_owned(), body: vec![b' '; 120] };
                let key = Keyed {
                    caller: "bare".to_owned(),
                    key: Uuid::new_v4().to_string(),
                    fingerprint: [0; 32],
                    lifetime: Duration::from_secs(604_800),
                    answer,
                };
                store.create_prepared(&tx, &new, Some(&key), "{}", Some(&prepared)).await?;
                tx.commit().await?;
                times.push(start.elapsed());
            }
            Ok::<_, crate::Error>(times)
        });
    }
    let runs = sessions.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(Run::of(runs, begun.elapsed()))
}
