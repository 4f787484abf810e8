//! `relay key`: one aggregate key that waits.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Exit, Failure, Sources,
    config_command::Output,
    connection::open,
    exit::{print, runtime, say},
    pause::KeyName,
    render,
    terminal::Sure,
};
use crate::{
    config::{Config, Needs},
    operator::keys::{Key as HeldKey, WayOn, go_on},
    postgres::client::Client,
};

/// Look at a key that waits, or have it go on without its first row.
#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Show what a key waits for, and how much waits behind it.
    Show(Show),
    /// Give up the row that a key keeps trying, and go on with the next.
    ///
    /// The row is dead then, as `skipped`, and dealt with: nobody publishes it, nor a dead letter of it. If it is on its way to
    /// the broker at this moment it may arrive all the same.
    Skip(GoOn),
    /// Let a key go on that is parked behind a dead row.
    ///
    /// The row stays dead. If it is replayed later, it comes after those that were behind it.
    Release(GoOn),
}

impl Key {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        match self {
            Self::Show(show) => show.run(sources),
            Self::Skip(skip) => skip.run(sources, WayOn::Skip),
            Self::Release(release) => release.run(sources, WayOn::Release),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The key, as `relay status` shows it.
    #[arg(value_name = "TYPE/ID")]
    key: KeyName,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Show {
    fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        let found = runtime()?.block_on(async {
            let connection = open(config).await?;
            find(&connection.client, config, &self.key).await
        })?;
        match self.output {
            Output::Json => print(&format!("{:#}", found.to_json())),
            Output::Table => print(&table(&found)),
        }
        Ok(Exit::Ok)
    }
}

#[derive(Debug, Args)]
pub(super) struct GoOn {
    /// The key, as `relay status` shows it.
    #[arg(value_name = "TYPE/ID")]
    key: KeyName,
    #[command(flatten)]
    sure: Sure,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl GoOn {
    fn run(&self, sources: &Sources, way: WayOn) -> Result<Exit, Failure> {
        let verb = way.verb();
        self.sure.check(&format!("to {verb}"))?;
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        runtime()?.block_on(async {
            let connection = open(config).await?;
            let found = find(&connection.client, config, &self.key).await?;
            if found.way_on() != Some(way) {
                return Err(Failure::Failed(instead(&found)));
            }
            let head = found.held.head_seq;
            if self.sure.dry_run {
                match self.output {
                    Output::Json => print(&format!("{:#}", found.to_json())),
                    Output::Table => print(&table(&found)),
                }
                say(&format!("would {verb}"));
                return Ok(Exit::Ok);
            }
            let question = match way {
                WayOn::Skip => format!("give up row {head} for good, and go on with {}?", render::many(found.behind, "other")),
                WayOn::Release => format!("go on with {} behind dead row {head}?", render::many(found.behind, "row")),
            };
            if !self.sure.ask(&question)? {
                say("nothing was done");
                return Ok(Exit::Ok);
            }
            let signed = self.sure.signature.signed();
            let schema = &config.database.schema;
            if !go_on(&connection.client, schema, &found, way, &signed).await? {
                return Err(Failure::Failed("the key has moved on meanwhile: look at it again".to_owned()));
            }
            match self.output {
                Output::Json => print(&format!(
                    "{:#}",
                    json!({ "action": verb, "head_seq": head, "event_id": found.event_id, "behind": found.behind })
                )),
                Output::Table => {
                    let behind = render::many(found.behind, "row");
                    let go = if found.behind == 1 { "goes" } else { "go" };
                    print(&format!("{verb}: row {head} is left behind, {behind} {go} on"));
                }
            }
            Ok(Exit::Ok)
        })
    }
}

async fn find(client: &Client, config: &Config, key: &KeyName) -> Result<HeldKey, Failure> {
    let KeyName { aggregate_type, aggregate_id } = key;
    let found = HeldKey::find(client, &config.database.schema, aggregate_type, aggregate_id).await?;
    found.ok_or_else(|| {
        Failure::Failed(format!(
            "nothing holds the key {aggregate_type}/{aggregate_id} up, or it has no rows"
        ))
    })
}

/// What to do about a key for which this is not the way.
fn instead(key: &HeldKey) -> String {
    let head = key.held.head_seq;
    match (key.held.reason.as_str(), key.held.paused_by) {
        ("retrying", _) => format!("row {head} is being retried, not dead: `relay key skip` gives it up"),
        ("parked", _) => format!(
            "row {head} is dead already: `relay key release` goes on without it; replay or discard do as well"
        ),
        ("paused", Some(pause)) => format!("the key is paused: `relay resume --id {pause}` ends that"),
        ("releasing", _) => "the key is on its way already".to_owned(),
        (other, _) => format!("the key is {other}"),
    }
}

fn table(key: &HeldKey) -> String {
    let held = &key.held;
    let text = |value: Option<String>| value.unwrap_or_default();
    render::pairs([
        ("key".to_owned(), format!("{}/{}", held.aggregate_type, held.aggregate_id)),
        (
            "why".to_owned(),
            held.paused_by.map_or_else(|| held.reason.clone(), |pause| format!("paused by {pause}")),
        ),
        ("for".to_owned(), render::seconds(held.held_for)),
        ("due in".to_owned(), text(held.due_in.map(render::seconds))),
        ("head".to_owned(), held.head_seq.to_string()),
        ("event id".to_owned(), text(key.event_id.map(|id| id.to_string()))),
        ("event type".to_owned(), text(key.event_type.clone())),
        ("attempts".to_owned(), text(key.attempts.map(|attempts| attempts.to_string()))),
        ("behind".to_owned(), key.behind.to_string()),
        ("error".to_owned(), render::short(held.error.as_deref().unwrap_or_default(), 100)),
    ])
}
