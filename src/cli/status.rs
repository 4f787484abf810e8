//! `relay status`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{
    Exit, Failure, Sources,
    connection::open,
    exit::{print, runtime},
    pause, render,
};
use crate::{
    config::Needs,
    metrics::STATES,
    operator::status::Status,
    outbox::{backlog::COUNTED_TO, cleanup::Holder},
};

/// What is pending, dead and held, and which relays hold which lanes: by the database alone.
#[derive(Debug, Args)]
#[command(
    after_help = "With --warn or --crit the exit code is a Nagios plugin's, by the age of the oldest row that \
                        is due and not published: 0 below both, 1 from --warn on, 2 from --crit on. 69 when the \
                        database is unreachable, which Nagios calls unknown."
)]
pub(super) struct StatusCommand {
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    /// Exit with 1 when the oldest row is at least this old.
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    warn: Option<Duration>,
    /// Exit with 2 when the oldest row is at least this old.
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    crit: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For node_exporter's textfile collector.
    Prometheus,
}

impl StatusCommand {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        let status = runtime()?.block_on(async {
            let connection = open(config).await?;
            Ok::<_, Failure>(Status::read(&connection.client, &config.database.schema).await?)
        })?;
        let exit = self.verdict(&status);
        match self.output {
            Format::Table => print(&self.table(&status, config.database.old_transaction, exit)),
            Format::Json => print(&format!("{:#}", status.to_json())),
            Format::Prometheus => print(&status.to_metrics(&config.outbox.name)),
        }
        Ok(exit)
    }

    fn verdict(&self, status: &Status) -> Exit {
        let over = |limit: Option<Duration>| {
            limit.is_some_and(|limit| status.backlog.oldest_age >= limit.as_secs_f64())
        };
        match (over(self.crit), over(self.warn)) {
            (true, _) => Exit::Critical,
            (false, true) => Exit::Warning,
            (false, false) => Exit::Ok,
        }
    }

    fn table(&self, status: &Status, old: Duration, exit: Exit) -> String {
        let mut text = String::new();
        if self.warn.is_some() || self.crit.is_some() {
            let verdict = match exit {
                Exit::Critical => "CRITICAL",
                Exit::Warning => "WARNING",
                _ => "OK",
            };
            text = format!(
                "RELAY {verdict}: the oldest row is {} old\n\n",
                render::seconds(status.backlog.oldest_age)
            );
        }
        let mut summary = vec![("oldest unpublished".to_owned(), render::seconds(status.backlog.oldest_age))];
        summary.extend(
            STATES.iter().zip(status.backlog.pending).map(|(state, rows)| ((*state).to_owned(), count(rows))),
        );
        summary.push(("dead".to_owned(), count(status.backlog.dead)));
        summary.push(("held keys".to_owned(), count(status.backlog.held_keys)));
        summary.push(("lanes".to_owned(), lanes(status)));
        summary.extend(
            status.cleanup.as_ref().and_then(|holder| Some(("cleanup".to_owned(), held(holder, old)?))),
        );
        text.push_str(&render::pairs(summary));
        if !status.pauses.is_empty() {
            text.push_str(&format!("\n\n{}", pause::table(&status.pauses)));
        }
        if !status.relays.is_empty() {
            let columns = ["relay", "version", "last seen", "lanes", "lease left"];
            let rows = status.relays.iter().map(|relay| {
                [
                    relay.name.clone(),
                    relay.version.clone(),
                    format!("{} ago", render::seconds(relay.seen_ago)),
                    relay.lanes.len().to_string(),
                    relay.lease_left.map(render::seconds).unwrap_or_default(),
                ]
            });
            text.push_str(&format!("\n\n{}", render::table(columns, rows)));
        }
        if !status.keys.is_empty() {
            let columns = ["held key", "behind seq", "why", "for", "due in", "error"];
            let rows = status.keys.iter().map(|key| {
                [
                    format!("{}/{}", key.aggregate_type, render::short(&key.aggregate_id, 40)),
                    key.head_seq.to_string(),
                    key.paused_by.map_or_else(|| key.reason.clone(), |pause| format!("paused by {pause}")),
                    render::seconds(key.held_for),
                    key.due_in.map(render::seconds).unwrap_or_default(),
                    render::short(key.error.as_deref().unwrap_or_default(), 60),
                ]
            });
            text.push_str(&format!("\n\n{}", render::table(columns, rows)));
        }
        text
    }
}

fn count(rows: i64) -> String {
    if rows >= COUNTED_TO { format!("{rows} or more") } else { rows.to_string() }
}

/// What keeps the table from being cleaned, unless it is too young to matter.
fn held(holder: &Holder, old: Duration) -> Option<String> {
    let age = match holder.seconds {
        Some(seconds) if seconds < old.as_secs_f64() => return None,
        Some(seconds) => format!("for {}", render::seconds(seconds)),
        None => "nobody knows how long".to_owned(),
    };
    Some(format!("held back by {holder}, {age}, {} transactions", holder.transactions))
}

fn lanes(status: &Status) -> String {
    match status.unowned.len() {
        0 => format!("{} held", status.lanes),
        unowned => format!("no relay holds {unowned} of {} lanes", status.lanes),
    }
}
