//! (d): what the table, its indexes and its trigger cost the services that write to it. Eight writers by pgbench, one
//! insert a transaction.

use std::{path::PathBuf, process::Command, time::Duration};

use crate::{
    report::{Report, median},
    servers::{Bench, Result},
};

const SECONDS: &str = "4";

/// A way to run the writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// A table with nothing but a primary key.
    Bare,
    /// Our table and indexes, no trigger, no relay.
    NoTrigger,
    /// Our trigger; the relay dead, or awake: it holds no lock.
    TriggerDead,
    /// Our trigger; every lane's sleep lock held, as by a relay that sleeps through it all.
    TriggerAsleep,
    /// A trigger that always notifies.
    PlainNotify,
    /// Our trigger, a live relay draining.
    LiveOurs,
    /// The same relay under a trigger that always notifies.
    LiveNotify,
}

const VARIANTS: [Variant; 7] = [
    Variant::Bare,
    Variant::NoTrigger,
    Variant::TriggerDead,
    Variant::TriggerAsleep,
    Variant::PlainNotify,
    Variant::LiveOurs,
    Variant::LiveNotify,
];

pub(crate) async fn measure(bench: &Bench, pairs: usize, report: &mut Report) -> Result<()> {
    let client = bench.database().await?;
    client
        .batch_execute(
            "create table if not exists bare (id bigint generated always as identity primary key, event_id uuid,
                 aggregate_type text, aggregate_id text, event_type text, payload jsonb);
             create or replace function plain_notify() returns trigger language plpgsql as
                 $$ begin perform pg_notify('relay.outbox', ''); return null; end $$",
        )
        .await?;
    let mut rates = vec![vec![]; VARIANTS.len()];
    let mut lost = 0.0;
    for _ in 0..pairs {
        for (index, variant) in VARIANTS.iter().enumerate() {
            let (rate, missing) = run(bench, *variant).await?;
            println!("  {variant:?}: {rate:.0} transactions/s");
            rates[index].push(rate);
            lost += missing;
        }
    }
    let ratios = |over: Variant, under: Variant| {
        let place = |variant| VARIANTS.iter().position(|other| *other == variant).unwrap_or(0);
        let pairs: Vec<f64> =
            rates[place(over)].iter().zip(&rates[place(under)]).map(|(a, b)| a / b).collect();
        median(&pairs)
    };
    for (index, variant) in VARIANTS.iter().enumerate() {
        report.add(&format!("(d) 8 writers, {variant:?}"), median(&rates[index]), "tx/s", None);
    }
    use Variant::{Bare, LiveNotify, LiveOurs, NoTrigger, PlainNotify, TriggerAsleep, TriggerDead};
    report.add("(d) our table over a bare one", ratios(NoTrigger, Bare), "", None);
    report.add(
        "(d) trigger, relay dead or awake, over no trigger",
        ratios(TriggerDead, NoTrigger),
        "",
        Some("at least 0.95"),
    );
    report.add(
        "(d) trigger, relay asleep throughout, over no trigger",
        ratios(TriggerAsleep, NoTrigger),
        "",
        None,
    );
    report.add("(d) plain notify over no trigger", ratios(PlainNotify, NoTrigger), "", None);
    report.add(
        "(d) live relay draining, over plain notify",
        ratios(LiveOurs, LiveNotify),
        "",
        Some("at least 2"),
    );
    report.add("events lost, 8 writers at full speed", lost, "", Some("0"));
    Ok(())
}

async fn run(bench: &Bench, variant: Variant) -> Result<(f64, f64)> {
    let client = bench.database().await?;
    bench.queue("quorum").await?;
    client.batch_execute("truncate relay.outbox restart identity; truncate bare").await?;
    client.batch_execute("checkpoint").await?;
    let plain = matches!(variant, Variant::PlainNotify | Variant::LiveNotify);
    let off = plain || matches!(variant, Variant::NoTrigger);
    client.batch_execute("drop trigger if exists plain on relay.outbox").await?;
    client
        .batch_execute(&format!(
            "alter table relay.outbox {} trigger wake",
            if off { "disable" } else { "enable" }
        ))
        .await?;
    if plain {
        client
            .batch_execute("create trigger plain after insert on relay.outbox for each row execute function plain_notify()")
            .await?;
    }
    let sleeper = bench.database().await?;
    if matches!(variant, Variant::TriggerAsleep | Variant::PlainNotify) {
        sleeper.batch_execute("listen \"relay.outbox\"").await?;
    }
    if variant == Variant::TriggerAsleep {
        sleeper
            .batch_execute(
                "select pg_advisory_lock(relay.wake_class(), lane) from generate_series(0, 31) lane",
            )
            .await?;
    }
    let live = matches!(variant, Variant::LiveOurs | Variant::LiveNotify);
    let relay = if live {
        let relay = bench.start()?;
        relay.until("relay_listen_connected", 1.0, Duration::from_secs(10)).await?;
        Some(relay)
    } else {
        None
    };
    let rate = pgbench(bench, if variant == Variant::Bare { "bare" } else { "relay.outbox" })?;
    let mut lost = 0.0;
    if let Some(relay) = relay {
        let rows: i64 = client.query_one("select count(*) from relay.outbox", &[]).await?.get(0);
        relay.until("relay_published_total", rows as f64, Duration::from_secs(60)).await?;
        let unmarked: i64 = client
            .query_one("select count(*) from relay.outbox where published_at is null", &[])
            .await?
            .get(0);
        lost = unmarked as f64;
    }
    client
        .batch_execute(
            "drop trigger if exists plain on relay.outbox; alter table relay.outbox enable trigger wake",
        )
        .await?;
    Ok((rate, lost))
}

fn pgbench(bench: &Bench, table: &str) -> Result<f64> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&script)?;
    let script = script.join("insert.sql");
    let event_id = if table == "bare" { "gen_random_uuid()" } else { "default" };
    std::fs::write(
        &script,
        format!(
            "\\set key random(1, 100000)\n\
             insert into {table} (event_id, aggregate_type, aggregate_id, event_type, payload) \
             values ({event_id}, 'order', :key::text, 'created', jsonb_build_object('pad', repeat('x', 460)));\n"
        ),
    )?;
    let output = Command::new(program("pgbench")?)
        .args(["-n", "-c", "8", "-j", "1", "-T", SECONDS, "-M", "prepared", "-f"])
        .arg(&script)
        .arg(&bench.database_url)
        .env("LD_LIBRARY_PATH", library_path()?)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find(|line| line.starts_with("tps = "))
        .and_then(|line| line.split_whitespace().nth(2))
        .and_then(|rate| rate.parse().ok())
        .ok_or_else(|| format!("pgbench said: {text}{}", String::from_utf8_lossy(&output.stderr)).into())
}

fn packages() -> PathBuf {
    std::env::var_os("RELAY_DEV_ROOT")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".relay-dev/root"), PathBuf::from)
}

/// A program of the unpacked server packages.
fn program(name: &str) -> Result<PathBuf> {
    let versions = packages().join("usr/lib/postgresql");
    for version in std::fs::read_dir(&versions)? {
        let program = version?.path().join("bin").join(name);
        if program.exists() {
            return Ok(program);
        }
    }
    Err(format!("{name} is not among the server packages").into())
}

fn library_path() -> Result<String> {
    let base = packages().join("usr/lib");
    for entry in std::fs::read_dir(&base)? {
        let path = entry?.path();
        if path.join("libpq.so.5").exists() {
            return Ok(path.display().to_string());
        }
    }
    Ok(String::new())
}
