//! `make bench`: what relay costs and reaches, as ratios against the raw limit measured in the same run.
//!
//! (a) raw confirmed publishing by lapin; (b) draining the outbox to the same queue; (c) latency from commit to consumer;
//! (d) what the trigger costs writers. Prints, and writes `target/bench/core.json`. Bounded: loopback only, and by
//! `BENCH_ROWS` (300000) and `BENCH_PAIRS` (5). `BENCH_ONLY` names the parts to run, `BENCH_PUBLISHERS` relay's publishers.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are shown to three places"
)]

mod drain;
mod latency;
mod raw;
mod writers;

#[path = "../support/consumer.rs"]
#[allow(dead_code, reason = "shared with others")]
mod consumer;
#[path = "../support/process.rs"]
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

use report::{Report, median, setting};
use serde_json::json;
use servers::{Bench, Result};

fn main() -> std::process::ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            println!("cannot start: {error}");
            return std::process::ExitCode::FAILURE;
        }
    };
    match runtime.block_on(bench()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            println!("the benchmark broke off: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                println!("  {cause}");
                source = cause.source();
            }
            std::process::ExitCode::FAILURE
        }
    }
}

async fn bench() -> Result<()> {
    let rows = setting("BENCH_ROWS", 300_000);
    let pairs = setting("BENCH_PAIRS", 5);
    let only =
        std::env::var("BENCH_ONLY").unwrap_or_else(|_| "drain,memory,naive,latency,writers".to_owned());
    let wanted = |part: &str| only.split(',').any(|name| name == part);
    let bench = Bench::up(setting("BENCH_PUBLISHERS", 4)).await?;
    let mut report = Report::new(json!({ "rows": rows, "pairs": pairs }));

    if wanted("drain") {
        for bytes in [512, 2048] {
            for queue in ["quorum", "classic"] {
                let (mut raw_rates, mut drain_rates, mut ratios) = (vec![], vec![], vec![]);
                let (mut raw_cpu, mut cpu_ratios) = (vec![], vec![]);
                let mut cpu: Vec<drain::Drained> = vec![];
                for _ in 0..pairs {
                    bench.queue(queue).await?;
                    let raw = raw::publish(&bench, rows, bytes).await?;
                    bench.queue(queue).await?;
                    drain::fill(&bench, rows, bytes, 100_000).await?;
                    let drained = drain::drain(&bench, rows).await?;
                    println!(
                        "  {queue} {bytes} B: raw {:.0}/s, drain {:.0}/s, ratio {:.2}, CPU s/100k: raw lapin {:.2} relay {:.2} postgres {:.2} broker {:.2}, {:.0} MiB",
                        raw.rate,
                        drained.rate,
                        drained.rate / raw.rate,
                        raw.cpu,
                        drained.relay_cpu,
                        drained.postgres_cpu,
                        drained.broker_cpu,
                        drained.peak_mib
                    );
                    raw_rates.push(raw.rate);
                    raw_cpu.push(raw.cpu);
                    cpu_ratios.push(drained.relay_cpu / raw.cpu);
                    drain_rates.push(drained.rate);
                    ratios.push(drained.rate / raw.rate);
                    cpu.push(drained);
                }
                let name = format!("{queue} {bytes} B");
                report.add(&format!("(a) raw publishing, {name}"), median(&raw_rates), "msg/s", None);
                report.add(&format!("(b) drain, {name}"), median(&drain_rates), "rows/s", None);
                let target = match (queue, bytes) {
                    ("quorum", 512) => Some("at least 0.75"),
                    ("classic", 512) => Some("at least 0.88"),
                    _ => None,
                };
                report.add(&format!("(b) over (a), {name}"), median(&ratios), "", target);
                let of =
                    |figure: fn(&drain::Drained) -> f64| median(&cpu.iter().map(figure).collect::<Vec<_>>());
                let target = (bytes == 512).then_some("at most 0.7");
                report.add(&format!("relay CPU per 100,000, {name}"), of(|run| run.relay_cpu), "s", target);
                report.add(&format!("lapin alone, CPU per 100,000, {name}"), median(&raw_cpu), "s", None);
                report.add(&format!("relay CPU over lapin alone, {name}"), median(&cpu_ratios), "", None);
                report.add(
                    &format!("Postgres CPU per 100,000, {name}"),
                    of(|run| run.postgres_cpu),
                    "s",
                    target,
                );
                report.add(&format!("broker CPU per 100,000, {name}"), of(|run| run.broker_cpu), "s", None);
                report.add(&format!("peak memory, {name}"), of(|run| run.peak_mib), "MiB", None);
            }
        }
    }
    if wanted("naive") {
        // The loop waits, and waiting costs the same on a slow machine: so what lapin alone does over it is the most that
        // anything could.
        let (mut ratios, mut most) = (vec![], vec![]);
        let few = (rows / 15).max(1000);
        for _ in 0..pairs.min(3) {
            bench.queue("classic").await?;
            drain::fill(&bench, few, 512, 100_000).await?;
            let naive = drain::naive(&bench, few).await?;
            bench.queue("classic").await?;
            let raw = raw::publish(&bench, rows, 512).await?;
            bench.queue("classic").await?;
            drain::fill(&bench, rows, 512, 100_000).await?;
            let drained = drain::drain(&bench, rows).await?;
            println!("  naive loop {naive:.0}/s, relay {:.0}/s, raw {:.0}/s", drained.rate, raw.rate);
            ratios.push(drained.rate / naive);
            most.push(raw.rate / naive);
        }
        report.add("(b) over a loop of 100 by SKIP LOCKED", median(&ratios), "", Some("at least 10"));
        report.add("raw publishing over that loop", median(&most), "", None);
    }
    if wanted("memory") {
        bench.queue("quorum").await?;
        let many = setting("BENCH_BACKLOG", 1_000_000);
        drain::fill(&bench, many, 512, 100_000).await?;
        let drained = drain::drain(&bench, many).await?;
        report.add(&format!("relay memory, backlog of {many}"), drained.peak_mib, "MiB", Some("at most 64"));
    }
    if wanted("latency") {
        for rate in [10, 500] {
            let (mut relay, mut floor) = (vec![], vec![]);
            for _ in 0..pairs {
                bench.queue("quorum").await?;
                drain::fill(&bench, 0, 512, 1).await?;
                relay.push(latency::measure(&bench, rate, 8).await?);
                bench.queue("quorum").await?;
                floor.push(latency::floor(&bench, rate, 8).await?);
            }
            let p50 =
                |runs: &[latency::Latency]| median(&runs.iter().map(|run| run.p50_ms).collect::<Vec<_>>());
            let p99 =
                |runs: &[latency::Latency]| median(&runs.iter().map(|run| run.p99_ms).collect::<Vec<_>>());
            let lost: usize = relay.iter().map(|run| run.lost).sum();
            let target = |text| (rate == 500).then_some(text);
            report.add(
                &format!("(c) commit to consumer at {rate}/s, p50"),
                p50(&relay),
                "ms",
                target("at most 1.5"),
            );
            report.add(
                &format!("(c) commit to consumer at {rate}/s, p99"),
                p99(&relay),
                "ms",
                target("at most 6"),
            );
            report.add(&format!("(c) lost at {rate}/s"), lost as f64, "", Some("0"));
            let alone = format!("lapin alone beside as many commits, {rate}/s");
            report.add(&format!("{alone}, p50"), p50(&floor), "ms", None);
            report.add(&format!("{alone}, p99"), p99(&floor), "ms", None);
        }
    }
    if wanted("writers") {
        writers::measure(&bench, pairs, &mut report).await?;
    }
    report.finish("core")?;
    bench.down();
    Ok(())
}
