//! Several relays on one outbox; the modes of order.

use crate::{
    Size,
    drain::{Drain, Drained},
    report::{Report, Target},
    servers::{Bench, Result},
    table::{Rows, SMALL, clear, settle},
};

/// 2 and 4 relays over 1.
pub(crate) async fn relays(bench: &Bench, size: Size, report: &mut Report) -> Result<()> {
    let (mut two, mut four) = (vec![], vec![]);
    for _ in 0..size.pairs {
        let mut rates = vec![];
        for relays in [1, 2, 4] {
            fill(bench, size.slice, 100_000).await?;
            let drain = Drain { schema: SMALL, others: relays - 1, with: &[] };
            let Drained { rate, cpu, peak_mib } = drain.rows(bench, size.slice).await?;
            println!("  {relays} relays: {rate:.0}/s, CPU s/100k {cpu:.2}, {peak_mib:.0} MiB each");
            rates.push(rate);
        }
        two.push(rates[1] / rates[0]);
        four.push(rates[2] / rates[0]);
    }
    report.judge_median("2 relays over 1", &two, "", Some(Target::AtLeast(0.95)));
    report.judge_median("4 relays over 1", &four, "", Some(Target::AtLeast(0.95)));
    Ok(())
}

/// `pipelined` over `strict` on one key; `strict` over `none` on a thousand.
pub(crate) async fn ordering(bench: &Bench, size: Size, report: &mut Report) -> Result<()> {
    let (mut one_key, mut thousand) = (vec![], vec![]);
    // One by one takes its time.
    let few = (size.slice / 15).max(1000);
    for _ in 0..size.pairs {
        let strict = ordered(bench, "strict", 1, few).await?;
        let pipelined = ordered(bench, "pipelined", 1, size.slice).await?;
        one_key.push(pipelined / strict);
        let none = ordered(bench, "none", 1000, size.slice).await?;
        let strict = ordered(bench, "strict", 1000, size.slice).await?;
        thousand.push(strict / none);
    }
    let name = "pipelined over strict, a single key";
    report.judge_median(name, &one_key, "", Some(Target::AtLeast(10.0)));
    report.judge_median("strict over none, 1,000 keys", &thousand, "", Some(Target::AtLeast(0.9)));
    Ok(())
}

async fn ordered(bench: &Bench, mode: &str, keys: usize, rows: usize) -> Result<f64> {
    fill(bench, rows, keys).await?;
    let drain = Drain { schema: SMALL, others: 0, with: &[("RELAY_OUTBOX_ORDERING", mode)] };
    let Drained { rate, cpu, peak_mib } = drain.rows(bench, rows).await?;
    println!("  {mode}, {keys} keys, {rows} rows: {rate:.0}/s, CPU s/100k {cpu:.2}, {peak_mib:.0} MiB");
    Ok(rate)
}

async fn fill(bench: &Bench, rows: usize, keys: usize) -> Result<()> {
    let client = bench.database().await?;
    clear(&client, SMALL).await?;
    Rows::ready(bench, SMALL, rows, keys).await?;
    settle(&client, SMALL).await
}
