//! A large table, and a large backlog: draining a part, over the same of an empty table; with somebody's transaction idle.

use crate::{
    Size,
    drain::{Drain, Drained},
    report::{Report, Target},
    servers::{Bench, Result},
    table::{Idle, LARGE, Rows, SMALL, clear, drop_large, new_large, settle},
};

/// Keys of the rows drained.
const KEYS: usize = 100_000;

/// Many published rows, younger than relay keeps them.
pub(crate) async fn published(bench: &Bench, size: Size, report: &mut Report) -> Result<()> {
    new_large(bench).await?;
    let hour_ago = "now() - interval '1 hour'";
    let rows = Rows {
        count: size.rows,
        key: &format!("(g % {KEYS})::text"),
        with: &[("created_at", hour_ago), ("available_at", hour_ago), ("published_at", hour_ago)],
    };
    rows.insert(bench, LARGE).await?;
    measure(bench, size, report, &format!("{} published rows", size.rows), true).await
}

/// Many rows to publish. The part drained is taken from its beginning, each time.
pub(crate) async fn backlog(bench: &Bench, size: Size, report: &mut Report) -> Result<()> {
    new_large(bench).await?;
    Rows::ready(bench, LARGE, size.rows.max(size.slice * size.pairs * 3), KEYS).await?;
    measure(bench, size, report, &format!("a backlog of {}", size.rows), false).await
}

async fn measure(bench: &Bench, size: Size, report: &mut Report, what: &str, refill: bool) -> Result<()> {
    let client = bench.database().await?;
    let (mut plain, mut idle, mut small_idle) = (vec![], vec![], vec![]);
    for _ in 0..size.pairs {
        let small = drained(bench, size, SMALL, true).await?;
        let large = drained(bench, size, LARGE, refill).await?;
        let holder = Idle::open(bench).await?;
        let large_idle = drained(bench, size, LARGE, refill).await?;
        let with_idle = drained(bench, size, SMALL, true).await?;
        drop(holder);
        let shown = |name: &str, run: &Drained| {
            let Drained { rate, cpu, peak_mib } = run;
            println!("  {name:<14} {rate:.0}/s, CPU s/100k {cpu:.2}, {peak_mib:.0} MiB");
        };
        shown("empty", &small);
        shown("large", &large);
        shown("large, idle", &large_idle);
        shown("empty, idle", &with_idle);
        plain.push(large.rate / small.rate);
        idle.push(large_idle.rate / small.rate);
        small_idle.push(with_idle.rate / small.rate);
    }
    report.judge_median(&format!("{what} over an empty table"), &plain, "", Some(Target::AtLeast(0.9)));
    let held = format!("{what}, an idle transaction throughout, over an empty table");
    report.judge_median(&held, &idle, "", Some(Target::AtLeast(0.85)));
    report.judge_median("an idle transaction alone, on an empty table", &small_idle, "", None);
    clear(&client, SMALL).await?;
    drop_large(&client).await
}

/// Drains a part, added before if there is none.
async fn drained(bench: &Bench, size: Size, schema: &str, fill: bool) -> Result<Drained> {
    let client = bench.database().await?;
    if schema == SMALL {
        clear(&client, schema).await?;
    }
    if fill {
        Rows::ready(bench, schema, size.slice, KEYS).await?;
    }
    settle(&client, schema).await?;
    Drain { schema, ..Drain::default() }.rows(bench, size.slice).await
}
