//! `relay prune`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{
    Exit, Failure, Sources,
    config_command::Output,
    connection::open_as_relay,
    exit::{print, runtime, say},
    terminal::{Consent, Progress, stop},
};
use crate::{
    config::{Keep, Needs},
    operator::{
        act::Ended,
        dead::database_now,
        prune::{Ages, Order, count, prune},
    },
    outbox::pruner::{BATCH, Tally},
    row::Finished,
};

/// No row is older; and Postgres' timestamps go back no further than 6,700 years.
const OLDEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Remove rows that were published, or discarded, long ago.
///
/// What `relay run` does by itself in the background, unless `retention.published` is off. Rows go in seq order, in small
/// batches, each a short transaction that waits for nobody. Dead rows that nobody has dealt with stay, unless
/// --dead-older-than is given; rows that are not finished, and dead ones that their key waits behind, always stay.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  relay prune --dry-run\n  relay prune --older-than 2d --rate 5000/s --yes\n  \
                        relay prune --dead-older-than 90d --yes"
)]
pub(super) struct Prune {
    /// Rows published, or discarded, so long ago [default: retention.published]
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Also rows that died so long ago, even if nobody has dealt with them: they are lost then.
    #[arg(long, value_name = "AGE", value_parser = age)]
    dead_older_than: Option<Duration>,
    /// Rows of one batch at most; batches that take long get smaller by themselves.
    #[arg(long, value_name = "N", default_value_t = BATCH, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    batch: u64,
    #[command(flatten)]
    consent: Consent,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

fn age(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(age) if age <= OLDEST => Ok(age),
        Ok(_) => Err("expected no more than 100 years".to_owned()),
        Err(_) => Err("expected a duration, such as 7d or 12h".to_owned()),
    }
}

impl Prune {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        self.consent.check("to remove rows")?;
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        let schema = &config.database.schema;
        let finished = match (self.older_than, config.retention.published) {
            (Some(age), _) | (None, Keep::For(age)) => age,
            (None, Keep::Forever) => {
                return Err(Failure::Usage(
                    "retention.published is off, so say how old rows must be: --older-than 7d".to_owned(),
                ));
            }
        };
        runtime()?.block_on(async {
            let mut connection = open_as_relay(config).await?;
            let now = database_now(&connection.client).await?;
            let cutoffs = Ages { finished, dead: self.dead_older_than }.before(now);
            let mut stop = stop()?;
            let limit = self.consent.limit.unwrap_or(u64::MAX);
            let mut matched = None;
            if self.consent.dry_run || !self.consent.yes {
                let found = count(&connection, schema, cutoffs, limit, &stop).await?;
                if self.consent.dry_run {
                    say(&format!("would remove {} rows", found.total()));
                    self.tell(&found, !*stop.borrow());
                    return Ok(Exit::Ok);
                }
                if found.total() > 0 && !self.consent.ask(&format!("remove {} rows?", found.total()))? {
                    say("nothing was done");
                    return Ok(Exit::Ok);
                }
                matched = Some(found.total());
            }
            let order = Order {
                cutoffs,
                batch: self.batch,
                limit: self.consent.limit,
                rate: self.consent.rate,
                actor: self.consent.actor(),
            };
            let mut progress = Progress::towards("removed", matched);
            let report = prune(&mut connection, schema, &order, &mut stop, |rows| progress.done(rows)).await;
            progress.finish();
            let rows = report.removed.total();
            self.tell(&report.removed, matches!(report.ended, Ended::Complete));
            match report.ended {
                Ended::Complete => Ok(Exit::Ok),
                Ended::Interrupted => {
                    say(&format!("interrupted: removed {rows} rows; the same command does the rest"));
                    Ok(Exit::Partly)
                }
                Ended::Failed(error) if rows > 0 => {
                    say(&format!("error: {} (after removing {rows} rows)", error.with_cure()));
                    Ok(Exit::Partly)
                }
                Ended::Failed(error) => Err(error.into()),
            }
        })
    }

    /// What is gone, or would be.
    fn tell(&self, rows: &Tally, complete: bool) {
        let dry_run = self.consent.dry_run;
        match self.output {
            Output::Json => {
                let kinds: serde_json::Map<String, serde_json::Value> =
                    Finished::ALL.iter().map(|kind| (kind.to_string(), rows.of(*kind).into())).collect();
                let summary = json!({
                    "action": "prune",
                    "dry_run": dry_run,
                    "rows": rows.total(),
                    "kinds": kinds,
                    "complete": complete,
                });
                print(&format!("{summary:#}"));
            }
            Output::Table => {
                let kinds: Vec<String> =
                    Finished::ALL.iter().map(|kind| format!("{} {kind}", rows.of(*kind))).collect();
                let verb = if dry_run { "would remove" } else { "removed" };
                print(&format!("{verb} {} rows: {}", rows.total(), kinds.join(", ")));
            }
        }
    }
}
