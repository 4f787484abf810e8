//! `relay dlq`.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    Exit, Failure, Sources,
    config_command::Output,
    connection::open,
    dead::{Request, table},
    exit::{print, runtime, say},
    inbox, render,
    selection::Selection,
    terminal::{Consent, Signature},
};
use crate::{
    config::Needs,
    operator::{
        act::Action,
        dead::{DeadRow, DeadRows, Which, database_now},
        edit::{EditError, edit},
        enqueue::check_json,
    },
};

/// Look at dead rows, mend or discard them. `relay replay-dlq` publishes them again.
#[derive(Debug, Subcommand)]
pub(super) enum Dlq {
    /// List dead rows, the oldest first, as a replay would take them.
    List(List),
    /// Show one row, dead or not, with every column but the payload.
    Show(Show),
    Edit(Edit),
    /// Declare dead rows dealt with: they stay in the table, and are published by nobody.
    Discard(Discard),
}

impl Dlq {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => list.run(sources),
            Self::Show(show) => show.run(sources),
            Self::Edit(edit) => edit.run(sources),
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
            if let Some(consumer) = self.selection.consumer() {
                return inbox::list(config, consumer, &self.selection, self.limit, self.output).await;
            }
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
    /// The row: its event id or its seq; with --consumer, the message id.
    #[arg(value_name = "EVENT_ID|SEQ")]
    which: String,
    /// Not a row, but a message in the inbox of this consumer.
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
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
        if let Some(consumer) = &self.consumer {
            return runtime()?.block_on(inbox::show(
                config,
                consumer,
                &self.which,
                self.payload,
                self.output,
            ));
        }
        let which: Which = self.which.parse().map_err(Failure::Usage)?;
        let found = runtime()?.block_on(async {
            let connection = open(config).await?;
            let dead = DeadRows::new(&connection.client, &config.database.schema);
            Ok::<_, Failure>(dead.show(which, self.payload).await?)
        })?;
        if found.is_empty() {
            return Err(Failure::Failed("there is no such row".to_owned()));
        }
        match self.output {
            Output::Json => {
                print(&format!("{:#}", Value::Object(found.into_iter().collect::<Map<_, _>>())));
            }
            Output::Table => print(&columns(found)),
        }
        Ok(Exit::Ok)
    }
}

/// Columns of a row, for people.
pub(super) fn columns(found: Vec<(String, Value)>) -> String {
    render::pairs(found.into_iter().map(|(name, value)| {
        let text = match value {
            Value::String(text) => text,
            Value::Null => String::new(),
            other => other.to_string(),
        };
        (name, text)
    }))
}

/// Give a dead row another payload.
///
/// The row stays dead: `relay replay-dlq --event-id` publishes it then, under the same id. What its producer wrote is kept,
/// however often it is edited: `relay dlq show --payload` shows both.
#[derive(Debug, Args)]
pub(super) struct Edit {
    /// The row: its event id or its seq.
    #[arg(value_name = "EVENT_ID|SEQ")]
    which: Which,
    /// A file with the new payload, JSON; - reads standard input.
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
    #[command(flatten)]
    signature: Signature,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Edit {
    fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        let payload = read(&self.payload, config.limits.payload_bytes)?;
        check_json(&payload)
            .map_err(|error| Failure::Usage(format!("{}: no JSON: {error}", self.payload.display())))?;
        let signed = self.signature.signed();
        let edited = runtime()?.block_on(async {
            let connection = open(config).await?;
            edit(&connection.client, &config.database.schema, self.which, None, &payload, &signed)
                .await
                .map_err(|error| match error {
                    EditError::Database(error) => Failure::from(error),
                    other => Failure::Failed(other.to_string()),
                })
        })?;
        match self.output {
            Output::Json => print(&format!(
                "{:#}",
                json!({ "seq": edited.seq, "event_id": edited.event_id, "generation": edited.generation })
            )),
            Output::Table => print(&format!(
                "edited row {}; relay replay-dlq --event-id {} publishes it",
                edited.seq, edited.event_id
            )),
        }
        Ok(Exit::Ok)
    }
}

/// A payload, of a file or standard input, that is no larger than relay publishes.
fn read(path: &Path, most: usize) -> Result<String, Failure> {
    let failed = |source| Failure::Io { what: format!("cannot read {}", path.display()), source };
    let mut text = String::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_string(&mut text).map_err(failed)?;
    } else {
        File::open(path).map_err(failed)?.take(limit).read_to_string(&mut text).map_err(failed)?;
    }
    if text.len() > most {
        return Err(Failure::Usage(format!(
            "{}: more than limits.payload_bytes, {most}: it would not be published",
            path.display()
        )));
    }
    Ok(text)
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
    #[arg(long, value_name = "TEXT", visible_alias = "note")]
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
