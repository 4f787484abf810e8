//! What `relay replay-dlq` and `relay dlq discard` have in common: select, show or ask, act, clean up, tell.

use serde_json::json;

use super::{
    Exit, Failure, Sources,
    config_command::Output,
    connection::open,
    exit::{print, runtime, say},
    inbox, render,
    selection::Selection,
    terminal::{Consent, Progress, stop},
};
use crate::{
    amqp::Session,
    app,
    config::{Config, Needs},
    operator::{
        act::{Action, Ended, Order, act},
        dead::{DeadRow, DeadRows, Filter, database_now},
        letters,
    },
    postgres::connect::Connection,
};

/// Rows that a dry run shows at most.
const SHOWN: u64 = 100;

/// Everything the command line said.
pub(super) struct Request<'a> {
    pub(super) action: Action,
    pub(super) selection: &'a Selection,
    pub(super) all: bool,
    pub(super) consent: &'a Consent,
    pub(super) note: Option<String>,
    pub(super) dlq_cleanup: bool,
    pub(super) output: Output,
}

impl Request<'_> {
    /// Does it.
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let (verb, done) = (self.action.verb(), self.action.done());
        if self.selection.is_empty() != self.all {
            return Err(Failure::Usage(if self.all {
                "--all means every dead row: leave it out, or the filters".to_owned()
            } else {
                format!(
                    "nothing is selected: give a filter, such as --event-type, or --all to {verb} every dead row"
                )
            }));
        }
        self.consent.check(&format!("to {verb} dead rows"))?;
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        runtime()?.block_on(async {
            if let Some(consumer) = self.selection.consumer() {
                return inbox::act(config, consumer, self).await;
            }
            let connection = open(config).await?;
            let schema = &config.database.schema;
            let now = database_now(&connection.client).await?;
            let mut filter = self.selection.filter(now);
            // What dies while this runs, perhaps because of it, is for another run.
            filter.until_us = Some(filter.until_us.map_or(now, |until| until.min(now)));
            let dead = DeadRows::new(&connection.client, schema);
            let limit = self.consent.limit.unwrap_or(u64::MAX);
            let matched = dead.count(&filter, limit).await?;
            let named = self.selection.events_named();
            if matched < named.min(limit) {
                say(&format!("{} of the events named are no dead rows", named - matched));
            }
            if self.consent.dry_run {
                let rows = dead.list(&filter, 0, limit.min(SHOWN)).await?;
                say(&format!("would {verb} {matched} rows"));
                self.show(&rows, matched);
                return Ok(Exit::Ok);
            }
            if matched > 0 && !self.consent.ask(&format!("{verb} {matched} dead rows?"))? {
                say("nothing was done");
                return Ok(Exit::Ok);
            }
            if self.action == Action::Replay {
                warn_of_horizon(&dead, &filter).await?;
            }
            let order = Order {
                action: self.action,
                filter,
                limit: self.consent.limit,
                rate: self.consent.rate,
                actor: self.consent.actor(),
                note: self.note.clone(),
            };
            let mut stop = stop()?;
            let mut progress = Progress::new(done, matched);
            let report = act(&connection.client, schema, &order, &mut stop, |rows| progress.done(rows)).await;
            progress.finish();
            let removed = match report.ended {
                Ended::Complete if self.dlq_cleanup && report.rows > 0 => clean_up(config, &connection).await,
                _ => None,
            };
            let rows = report.rows;
            match self.output {
                Output::Table => print(&format!("{done} {rows} of {matched} rows")),
                Output::Json => print(&format!(
                    "{:#}",
                    json!({
                        "action": verb,
                        "matched": matched,
                        "done": rows,
                        "complete": matches!(report.ended, Ended::Complete),
                        "stale_letters_removed": removed,
                    })
                )),
            }
            match report.ended {
                Ended::Complete => Ok(Exit::Ok),
                Ended::Interrupted => {
                    say(&format!(
                        "interrupted: {done} {rows} of {matched} rows; the same command does the rest"
                    ));
                    Ok(Exit::Partly)
                }
                Ended::Failed(error) if rows > 0 => {
                    say(&format!("error: {} (after {done} {rows} of {matched} rows)", error.with_cure()));
                    Ok(Exit::Partly)
                }
                Ended::Failed(error) => Err(error.into()),
            }
        })
    }

    fn show(&self, rows: &[DeadRow], matched: u64) {
        match self.output {
            Output::Table if rows.is_empty() => {}
            Output::Table => print(&table(rows)),
            Output::Json => print(&format!(
                "{:#}",
                json!({
                    "action": self.action.verb(),
                    "dry_run": true,
                    "matched": matched,
                    "rows": rows.iter().map(DeadRow::to_json).collect::<Vec<_>>(),
                })
            )),
        }
    }
}

/// Says so, if rows to be replayed are older than what some consumer remembers.
async fn warn_of_horizon(dead: &DeadRows<'_>, filter: &Filter) -> Result<(), Failure> {
    let rows = dead.list(filter, 0, SHOWN).await?;
    let old = dead.beyond_horizon(&rows).await?;
    if old > 0 {
        say(&format!(
            "warning: {old} of the first {} are older than what some consumer remembers, and may be done again",
            rows.len()
        ));
    }
    Ok(())
}

/// Dead rows, for people.
pub(super) fn table(rows: &[DeadRow]) -> String {
    let columns = ["seq", "event id", "died", "reason", "type", "key", "attempts", "replays", "error"];
    render::table(
        columns,
        rows.iter().map(|row| {
            [
                row.seq.to_string(),
                row.event_id.to_string(),
                // To the second.
                format!("{}Z", crate::envelope::timestamp(row.dead_us).get(..19).unwrap_or_default()),
                row.reason.clone(),
                row.event_type.clone(),
                format!("{}/{}", row.aggregate_type, render::short(&row.aggregate_id, 40)),
                row.attempts.to_string(),
                row.replays.to_string(),
                render::short(&row.error, 60),
            ]
        }),
    )
}

/// Removes notices of rows that have moved on, as far as that is possible: they change nothing, and the next run
/// removes what this one can't. Returns how many went.
pub(super) async fn clean_up(config: &Config, connection: &Connection) -> Option<u64> {
    let url = config.amqp.url.as_ref()?;
    let queue = &config.dead_letter.queue;
    let swept = async {
        let settings = app::amqp(config, url)?;
        let session = Session::connect(&settings, "relay operator").await?;
        let swept = letters::sweep(&session, queue, &connection.client, &config.database.schema).await;
        session.close(std::time::Duration::from_secs(1)).await;
        swept.map_err(|error| Failure::Failed(crate::cause::chain(&error)))
    };
    match swept.await {
        Ok(swept) => {
            if swept.removed > 0 {
                say(&format!("removed {} stale letters from {queue}", swept.removed));
            }
            if swept.beyond > 0 {
                say(&format!("{} letters in {queue} were not looked at", swept.beyond));
            }
            Some(swept.removed)
        }
        Err(failure) => {
            say(&format!("warning: stale letters stay in {queue}, which does no harm: {failure}"));
            None
        }
    }
}
