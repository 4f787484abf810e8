//! `POST /shipments` with eight clients, and the same transaction by eight sessions without HTTP in between.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use relay::{
    postgres::connect::connect,
    shipping::{
        saga::Limits,
        store::{Answer, Keyed, NewCase, NewLine, NewShipment, Store},
    },
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    Result,
    client::{Client, address},
    database,
    program::Program,
    report::{Report, median, percentile, setting},
    shipments,
};

const CLIENTS: usize = 8;
/// Orders that the shipments are spread over: with few of them the order's row lock would be measured.
const ORDERS: u128 = 1000;
const SESSION: &str = "set lock_timeout = '2s'; set plan_cache_mode = force_generic_plan; set jit = off";

/// One run: accepted a second, and the milliseconds that each took.
struct Run {
    rate: f64,
    times: Vec<f64>,
}

impl Run {
    fn of(runs: Vec<Vec<f64>>, took: Duration) -> Self {
        let times: Vec<f64> = runs.into_iter().flatten().collect();
        Self { rate: times.len() as f64 / took.as_secs_f64(), times }
    }
}

pub(crate) async fn measure(database_url: &str, report: &mut Report) -> Result<()> {
    let api = start(shipments("api").env("DATABASE_URL", database_url))?;
    place_orders(&api.address).await?;
    let time = Duration::from_secs(setting("BENCH_SECONDS", 10) as u64);
    let (mut api_runs, mut bare_runs, mut ratios) = (vec![], vec![], vec![]);
    for _ in 0..setting("BENCH_PAIRS", 5) {
        let bare = bare(database_url, time).await?;
        let run = post(&api.address, time).await?;
        let p99 = percentile(&run.times, 99.0);
        println!("  bare {:.0}/s, API {:.0}/s, p99 {p99:.1} ms", bare.rate, run.rate);
        ratios.push(run.rate / bare.rate);
        bare_runs.push(bare);
        api_runs.push(run);
    }
    let of =
        |runs: &[Run], figure: &dyn Fn(&Run) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
    let of_api = |percent| of(&api_runs, &|run| percentile(&run.times, percent));
    report.add("bare transactions, 8 sessions", of(&bare_runs, &|run| run.rate), "/s", None);
    report.add("API accepts, 8 clients", of(&api_runs, &|run| run.rate), "/s", Some("at least 1500"));
    report.add("API over bare transactions", median(&ratios), "", Some("at least 0.5"));
    report.add("API accepts, p50", of_api(50.0), "ms", None);
    report.add("API accepts, p99", of_api(99.0), "ms", Some("at most 50"));
    report.add("API memory", crate::process::peak_mib(api.pid()), "MiB", None);
    Ok(())
}

/// The API, which lets its one caller ask as often as it likes.
pub(crate) fn start(command: &mut Command) -> Result<Program> {
    let tokens = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench.tokens");
    // printf secret | sha256sum
    std::fs::write(&tokens, "bench:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n")?;
    Program::start(
        command
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--rate", "1000000"])
            .arg("--tokens-file")
            .arg(tokens),
    )
}

async fn place_orders(api: &str) -> Result<()> {
    let mut client = Client::connect(api).await?;
    for number in 0..ORDERS {
        client.place_order(&number.to_string(), true).await?;
    }
    Ok(())
}

async fn post(api: &str, time: Duration) -> Result<Run> {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let api = api.to_owned();
        clients.spawn(async move {
            let mut client = Client::connect(&api).await?;
            let mut times = Vec::new();
            while begun.elapsed() < time {
                let order = (Uuid::new_v4().as_u128() % ORDERS).to_string();
                let start = Instant::now();
                client.ship(&order).await?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, crate::Error>(times)
        });
    }
    let runs = clients.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(Run::of(runs, begun.elapsed()))
}

/// The statements of a request, prepared, by sessions that do nothing else.
async fn bare(database_url: &str, time: Duration) -> Result<Run> {
    let settings = database(database_url)?;
    let store = Arc::new(Store::new("relay", Limits::default()));
    let mut sessions = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..CLIENTS {
        let mut connection = connect(&settings, "bench").await?;
        let store = Arc::clone(&store);
        sessions.spawn(async move {
            connection.client.batch_execute(SESSION).await?;
            let mut times = Vec::new();
            while begun.elapsed() < time {
                let start = Instant::now();
                let order_id = (Uuid::new_v4().as_u128() % ORDERS).to_string();
                let tx = connection.begin().await?;
                let origin = store.origin(&tx, &order_id).await?;
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
                store.create(&tx, &new, Some(&key), "{}").await?;
                tx.commit().await?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, crate::Error>(times)
        });
    }
    let runs = sessions.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(Run::of(runs, begun.elapsed()))
}
