//! `relay pause`, `relay resume` and `relay pauses`.

use clap::Args;
use serde_json::{Value, json};

use super::{
    Exit, Failure, Sources,
    config_command::Output,
    connection::open,
    exit::{print, runtime, say},
    render,
    terminal::Signature,
};
use crate::{
    config::Needs,
    envelope::timestamp,
    operator::pauses::{PauseError, Paused, pause, resume, to_json},
    outbox::pauses::{self, PauseTable},
    pause::{PauseId, Target},
};

const WHAT: &str = "What";

/// What to pause.
#[derive(Debug, Args)]
struct What {
    /// Everything.
    #[arg(help_heading = WHAT, long)]
    all: bool,
    /// What is published to this exchange [default with --routing-key: outbox.exchange]
    #[arg(help_heading = WHAT, long, value_name = "NAME")]
    exchange: Option<String>,
    /// Of that, only what is published by this routing key, or such: order.* takes one more word, order.# any number.
    #[arg(help_heading = WHAT, long, value_name = "KEY")]
    routing_key: Option<String>,
    /// The rows of one aggregate.
    #[arg(help_heading = WHAT, long, value_name = "TYPE/ID")]
    key: Option<KeyName>,
}

/// An aggregate key as it is written and shown: the type ends at the first slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyName {
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: String,
}

impl std::str::FromStr for KeyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((aggregate_type, id)) if !aggregate_type.is_empty() && !id.is_empty() => {
                Ok(Self { aggregate_type: aggregate_type.to_owned(), aggregate_id: id.to_owned() })
            }
            _ => Err("expected an aggregate's type and id, such as order/4711".to_owned()),
        }
    }
}

impl What {
    /// What is meant, if anything was said.
    fn target(&self, exchange: &str) -> Result<Option<Target>, Failure> {
        let route = self.exchange.is_some() || self.routing_key.is_some();
        if u8::from(self.all) + u8::from(route) + u8::from(self.key.is_some()) > 1 {
            return Err(Failure::Usage(
                "one thing at a time: --all, or a route (--exchange, --routing-key), or a --key".to_owned(),
            ));
        }
        for (flag, name) in [
            ("--exchange", self.exchange.as_deref()),
            ("--routing-key", self.routing_key.as_deref()),
            ("--key", self.key.as_ref().map(|key| key.aggregate_type.as_str())),
            ("--key", self.key.as_ref().map(|key| key.aggregate_id.as_str())),
        ] {
            if name.is_some_and(|name| name.is_empty() || name.len() > 255) {
                return Err(Failure::Usage(format!("{flag}: expected a name of 1 to 255 bytes")));
            }
        }
        Ok(match &self.key {
            Some(KeyName { aggregate_type, aggregate_id }) => Some(Target::Key {
                aggregate_type: aggregate_type.clone(),
                aggregate_id: aggregate_id.clone(),
            }),
            None if route => Some(Target::Route {
                exchange: self.exchange.clone().unwrap_or_else(|| exchange.to_owned()),
                routing_key: self.routing_key.clone().unwrap_or_else(|| "#".to_owned()),
            }),
            None => self.all.then_some(Target::All),
        })
    }
}

/// Publish nothing, or nothing of a route or a key, until `relay resume`.
///
/// Every relay of the outbox keeps to it within moments, and so does one that is started later. What is on its way to the
/// broker already is confirmed and marked. Nothing is lost, charged or put out of order: a row of a paused route holds its
/// key, so later rows of the same key wait behind it, whatever their route.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  relay pause --all --note 'broker upgrade'\n  \
                        relay pause --routing-key 'order.*'\n  \
                        relay pause --key order/4711 --note 'wrong address'")]
pub(super) struct Pause {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    signature: Signature,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Pause {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        let Some(target) = self.what.target(&config.outbox.exchange)? else {
            return Err(Failure::Usage(
                "nothing to pause: say --all, a route (--exchange, --routing-key) or a --key".to_owned(),
            ));
        };
        let signed = self.signature.signed();
        let paused = runtime()?.block_on(async {
            let connection = open(config).await?;
            pause(&connection.client, &config.database.schema, &target, &signed).await.map_err(|error| {
                match error {
                    PauseError::Database(error) => Failure::from(error),
                    PauseError::TooMany => Failure::Failed(error.to_string()),
                }
            })
        })?;
        let (id, was) = match paused {
            Paused::Now(id) => (id, false),
            Paused::Already(id) => (id, true),
        };
        match self.output {
            Output::Json => print(&format!("{:#}", json!({ "pause_id": id, "already": was }))),
            Output::Table if was => print(&format!("paused already, by pause {id}: {target}")),
            Output::Table => {
                print(&format!("paused: {target}; relay resume --id {id} ends it"));
            }
        }
        Ok(Exit::Ok)
    }
}

/// End pauses: what waited goes out, in order.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  relay resume --all\n  relay resume --id 7\n  relay resume --everything")]
pub(super) struct Resume {
    #[command(flatten)]
    what: What,
    /// This pause, as `relay pauses` shows it; may be repeated.
    #[arg(help_heading = WHAT, long = "id", value_name = "N")]
    ids: Vec<PauseId>,
    /// Every pause there is, of whatever. (--all ends the one of everything, and leaves those of routes and keys.)
    #[arg(help_heading = WHAT, long)]
    everything: bool,
    #[command(flatten)]
    signature: Signature,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Resume {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        let target = self.what.target(&config.outbox.exchange)?;
        let said = [target.is_some(), !self.ids.is_empty(), self.everything];
        if said.iter().filter(|said| **said).count() != 1 {
            return Err(Failure::Usage(
                "say which pause to end: what it is about, its --id, or --everything".to_owned(),
            ));
        }
        let signed = self.signature.signed();
        runtime()?.block_on(async {
            let connection = open(config).await?;
            let (client, schema) = (&connection.client, &config.database.schema);
            let standing = PauseTable::new(schema).list(client).await?;
            let meant = |pause: &&pauses::Pause| {
                self.everything || self.ids.contains(&pause.id) || target.as_ref() == Some(&pause.target)
            };
            let ids: Vec<PauseId> = standing.iter().filter(meant).map(|pause| pause.id).collect();
            if ids.len() < self.ids.len() || (ids.is_empty() && !self.everything) {
                return Err(Failure::Failed(
                    "there is no such pause: `relay pauses` shows those there are".to_owned(),
                ));
            }
            let resumed = resume(client, schema, &ids, &signed).await?;
            let left = standing.len() - ids.len();
            match self.output {
                Output::Json => print(&format!(
                    "{:#}",
                    json!({ "pauses": resumed.pauses, "keys": resumed.keys, "left": left })
                )),
                Output::Table => {
                    print(&format!("ended {resumed}"));
                }
            }
            if left > 0 {
                let stand = if left == 1 { "pause stands" } else { "pauses stand" };
                say(&format!("{left} other {stand}: relay pauses"));
            }
            Ok(Exit::Ok)
        })
    }
}

/// List what is paused.
#[derive(Debug, Args)]
pub(super) struct Pauses {
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Pauses {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        let standing = runtime()?.block_on(async {
            let connection = open(config).await?;
            Ok::<_, Failure>(PauseTable::new(&config.database.schema).list(&connection.client).await?)
        })?;
        match self.output {
            Output::Json => {
                print(&format!("{:#}", Value::Array(standing.iter().map(to_json).collect())));
            }
            Output::Table if standing.is_empty() => say("nothing is paused"),
            Output::Table => print(&table(&standing)),
        }
        Ok(Exit::Ok)
    }
}

/// Pauses, for people.
pub(super) fn table(pauses: &[pauses::Pause]) -> String {
    let columns = ["pause", "of", "since", "by", "note"];
    let rows = pauses.iter().map(|pause| {
        [
            pause.id.to_string(),
            render::short(&pause.target.to_string(), 60),
            // To the second.
            format!("{}Z", timestamp(pause.since_us).get(..19).unwrap_or_default()),
            pause.actor.clone(),
            render::short(pause.note.as_deref().unwrap_or_default(), 60),
        ]
    });
    render::table(columns, rows)
}
