//! `relay dlq`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{
    Exit, Failure, Sources,
    config_command::Output,
    dead::{Request, open, table},
    exit::{print, runtime, say},
    render,
    selection::Selection,
    terminal::Consent,
};
use crate::{
    config::Needs,
    operator::{
        act::Action,
        dead::{DeadRow, DeadRows, Which, database_now},
    },
};

/// Look at dead rows, or discard them. `relay replay-dlq` publishes them again.
#[derive(Debug, Subcommand)]
pub(super) enum Dlq {
    /// List dead rows, the oldest first, as a replay would take them.
    List(List),
    /// Show one row, dead or not, with every column but the payload.
    Show(Show),
    /// Declare dead rows dealt with: they stay in the table, and are published by nobody.
    Discard(Discard),
}

impl Dlq {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => list.run(sources),
            Self::Show(show) => show.run(sources),
            Self::Discard(discard) => discard.run(sources),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    selection: Selection,
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
        runtime()?.block_on(async {
            let connection = open(config).await?;
            let filter = self.selection.filter(database_now(&connection.client).await?);
            let dead = DeadRows::new(&connection.client, &config.database.schema);
            // One more than asked for, to know whether there are more.
            let mut rows = dead.list(&filter, 0, self.limit.saturating_add(1)).await?;
            let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
            let more = rows.len() > limit;
            rows.truncate(limit);
            match self.output {
                Output::Json => {
                    let rows = rows.iter().map(DeadRow::to_json).collect();
                    print(&format!("{:#}", Value::Array(rows)));
                }
                Output::Table if rows.is_empty() => say("no dead row matches"),
                Output::Table => print(&table(&rows)),
            }
            if more {
                say(&format!("there are more than {limit}: --limit shows more of them"));
            }
            Ok(Exit::Ok)
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The row: its event id or its seq.
    #[arg(value_name = "EVENT_ID|SEQ")]
    which: Which,
    /// The payload, too.
    #[arg(long)]
    payload: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Show {
    fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        let columns = runtime()?.block_on(async {
            let connection = open(config).await?;
            let dead = DeadRows::new(&connection.client, &config.database.schema);
            Ok::<_, Failure>(dead.show(self.which, self.payload).await?)
        })?;
        if columns.is_empty() {
            return Err(Failure::Failed("there is no such row".to_owned()));
        }
        match self.output {
            Output::Json => {
                print(&format!("{:#}", Value::Object(columns.into_iter().collect::<Map<_, _>>())));
            }
            Output::Table => print(&render::pairs(columns.into_iter().map(|(name, value)| {
                let text = match value {
                    Value::String(text) => text,
                    Value::Null => String::new(),
                    other => other.to_string(),
                };
                (name, text)
            }))),
        }
        Ok(Exit::Ok)
    }
}

#[derive(Debug, Args)]
pub(super) struct Discard {
    #[command(flatten)]
    selection: Selection,
    /// Every dead row.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    consent: Consent,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    reason_note: Option<String>,
    /// Leave the letters of discarded rows in the dead-letter queue.
    #[arg(long)]
    no_dlq_cleanup: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Discard {
    fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let request = Request {
            action: Action::Discard,
            selection: &self.selection,
            all: self.all,
            consent: &self.consent,
            note: self.reason_note.clone(),
            dlq_cleanup: !self.no_dlq_cleanup,
            output: self.output,
        };
        request.run(sources)
    }
}
