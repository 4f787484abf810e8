//! `relay audit`.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    Exit, Failure, Sources,
    config_command::Output,
    connection::open,
    exit::{print, runtime, say},
    render,
};
use crate::{
    config::Needs,
    envelope::timestamp,
    operator::{
        audit::{Entries, Entry, list},
        dead::database_now,
        when::When,
    },
};

/// Look at what operators did.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List it, the latest first: who, when, what, to what, how much, and why.
    List(List),
}

impl Audit {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => list.run(sources),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Since this time: 2h (ago), or 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    since: Option<When>,
    /// What this one did.
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// Acts of this kind: replay, discard, edit, skip, release, pause, resume, send_back, prune.
    #[arg(long, value_name = "ACT")]
    action: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value = "100")]
    limit: u64,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl List {
    fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        let entries = runtime()?.block_on(async {
            let connection = open(config).await?;
            let now = database_now(&connection.client).await?;
            let which = Entries {
                since_us: self.since.map(|when| when.micros(now)),
                actor: self.actor.clone(),
                action: self.action.clone(),
                before: None,
            };
            Ok::<_, Failure>(list(&connection.client, &config.database.schema, &which, self.limit).await?)
        })?;
        match self.output {
            Output::Json => {
                print(&format!("{:#}", Value::Array(entries.iter().map(Entry::to_json).collect())));
            }
            Output::Table if entries.is_empty() => say("no entry of the audit matches"),
            Output::Table => print(&table(&entries)),
        }
        Ok(Exit::Ok)
    }
}

fn table(entries: &[Entry]) -> String {
    let columns = ["at", "by", "act", "affected", "of", "note"];
    let rows = entries.iter().map(|entry| {
        [
            // To the second.
            format!("{}Z", timestamp(entry.at_us).get(..19).unwrap_or_default()),
            entry.actor.clone(),
            entry.action.clone(),
            entry.affected.to_string(),
            render::short(&entry.filter.to_string(), 80),
            render::short(entry.note.as_deref().unwrap_or_default(), 80),
        ]
    });
    render::table(columns, rows)
}
