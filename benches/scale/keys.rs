//! Keys: very many, a hot one, many that wait for their retry, one that is parked. What the others lose by them.

use crate::{
    Size,
    drain::{Drain, Drained},
    report::Report,
    servers::{Bench, Result},
    table::{LARGE, Rows, SMALL, clear, drop_large, new_large, settle},
};

const PARK: &[(&str, &str)] = &[("RELAY_OUTBOX_ON_DEAD", "park")];

pub(crate) async fn measure(bench: &Bench, size: Size, report: &mut Report) -> Result<()> {
    let tenth = size.rows / 10;
    let client = bench.database().await?;
    new_large(bench).await?;
    let (mut distinct, mut memory, mut hot) = (vec![], vec![], vec![]);
    for _ in 0..size.pairs {
        let few = rest(bench, SMALL, size.slice).await?;
        clear(&client, LARGE).await?;
        Rows { count: tenth, key: "g::text", with: &[] }.insert(bench, LARGE).await?;
        settle(&client, LARGE).await?;
        let many = Drain { schema: LARGE, ..Drain::default() }.rows(bench, tenth).await?;
        shown("a key each", &many);
        distinct.push(many.rate / few.rate);
        memory.push(many.peak_mib);
    }
    report.judge_median(&format!("{tenth} keys, a row each, over 100,000 keys"), &distinct, "", None);
    report.judge_median("memory meanwhile", &memory, "MiB", None);

    let half = size.slice / 2;
    for _ in 0..size.pairs {
        let alone = rest(bench, SMALL, half).await?;
        clear(&client, LARGE).await?;
        let key = "case when g % 2 = 0 then 'hot' else (g % 100000)::text end";
        Rows { count: size.slice, key, with: &[] }.insert(bench, LARGE).await?;
        settle(&client, LARGE).await?;
        // The rest goes out in order: once its last rows are marked, few others can be left.
        let done = format!(
            "select not exists (select from {LARGE}.outbox
                                where seq > {last} and aggregate_id <> 'hot' and published_at is null)",
            last = size.slice.saturating_sub(20_000)
        );
        let beside = Drain { schema: LARGE, ..Drain::default() }.until(bench, half, &done).await?;
        shown("beside a hot one", &beside);
        hot.push(beside.rate / alone.rate);
    }
    report.judge_median("the rest, beside a key with half of all rows", &hot, "", None);

    let waiting = (size.rows / 100).max(1);
    clear(&client, LARGE).await?;
    wait(bench, waiting).await?;
    let ratios = beside(bench, size, &[]).await?;
    report.judge_median(
        &format!("the rest, beside {waiting} rows that wait for their retry"),
        &ratios,
        "",
        None,
    );

    clear(&client, LARGE).await?;
    park(bench, tenth).await?;
    let ratios = beside(bench, size, PARK).await?;
    report.judge_median(&format!("the rest, beside a parked key with {tenth} rows"), &ratios, "", None);
    clear(&client, SMALL).await?;
    drop_large(&client).await
}

fn shown(name: &str, Drained { rate, cpu, peak_mib }: &Drained) {
    println!("  {name:<18} {rate:.0}/s, CPU s/100k {cpu:.2}, {peak_mib:.0} MiB");
}

/// So many ordinary rows, drained alone.
async fn rest(bench: &Bench, schema: &str, rows: usize) -> Result<Drained> {
    let client = bench.database().await?;
    clear(&client, schema).await?;
    Rows::ready(bench, schema, rows, 100_000).await?;
    settle(&client, schema).await?;
    let drained = Drain { schema, ..Drain::default() }.rows(bench, rows).await?;
    shown("alone", &drained);
    Ok(drained)
}

/// Ordinary rows beside what is in the large table, over the same alone.
async fn beside(bench: &Bench, size: Size, with: &[(&str, &str)]) -> Result<Vec<f64>> {
    let client = bench.database().await?;
    let mut ratios = vec![];
    for _ in 0..size.pairs {
        let alone = rest(bench, SMALL, size.slice).await?;
        Rows::ready(bench, LARGE, size.slice, 100_000).await?;
        settle(&client, LARGE).await?;
        let drained = Drain { schema: LARGE, others: 0, with }.rows(bench, size.slice).await?;
        shown("beside it", &drained);
        ratios.push(drained.rate / alone.rate);
    }
    Ok(ratios)
}

/// Rows that failed, each the head of its key, due in an hour.
async fn wait(bench: &Bench, rows: usize) -> Result<()> {
    let failed = &[
        ("state", "'waiting'"),
        ("attempts", "3"),
        ("last_error", "'312 NO_ROUTE'"),
        ("first_failed_at", "now()"),
        ("available_at", "now() + interval '1 hour' + g * interval '1 ms'"),
    ];
    Rows { count: rows, key: "'waiting-' || g", with: failed }.insert(bench, LARGE).await?;
    hold(bench, "retrying", "o.available_at", "o.state = 'waiting'").await
}

/// A dead row, and so many behind it.
async fn park(bench: &Bench, rows: usize) -> Result<()> {
    let dead = &[("attempts", "8"), ("dead_at", "now()"), ("dead_reason", "'unroutable'")];
    Rows { count: 1, key: "'parked'", with: dead }.insert(bench, LARGE).await?;
    Rows { count: rows, key: "'parked'", with: &[("state", "'held'")] }.insert(bench, LARGE).await?;
    hold(bench, "parked", "null", "o.dead_at is not null").await
}

async fn hold(bench: &Bench, reason: &str, due: &str, heads: &str) -> Result<()> {
    let hold = format!(
        "insert into {LARGE}.held_keys (aggregate_type, aggregate_id, lane, head_seq, reason, due_at)
         select o.aggregate_type, o.aggregate_id, o.lane, o.seq, '{reason}', {due} from {LARGE}.outbox o where {heads}"
    );
    Ok(bench.database().await?.batch_execute(&hold).await?)
}
