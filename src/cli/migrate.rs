//! `relay migrate`.

use clap::Args;

use super::{
    Exit, Failure, Sources,
    exit::{print, runtime, say},
};
use crate::{
    app,
    config::{Config, Needs},
    operator::grants::{self, Purpose},
    outbox::sequence,
    postgres::{
        connect::{Connection, connect},
        migrate::{PATIENCE, RELAY},
    },
};

/// Create or upgrade the tables.
#[derive(Debug, Args)]
pub(super) struct Migrate {
    /// Print the SQL for an empty database instead of running it.
    #[arg(long, conflicts_with = "check")]
    print_sql: bool,
    /// Change nothing; exit with 1 if anything is pending, or somebody gave the outbox's sequence a cache.
    #[arg(long)]
    check: bool,
    /// Give this role what `relay run` needs, and nothing more; may be repeated.
    #[arg(long, value_name = "ROLE", conflicts_with = "check")]
    grant_run_to: Vec<String>,
    /// Give this role what a producer needs; may be repeated.
    #[arg(long, value_name = "ROLE", conflicts_with = "check")]
    grant_enqueue_to: Vec<String>,
    /// Give this role what a consumer needs of the inbox; may be repeated.
    #[arg(long, value_name = "ROLE", conflicts_with = "check")]
    grant_consume_to: Vec<String>,
    /// Give this role what removing old rows needs, for `relay prune` or in addition to --grant-run-to; may be repeated.
    #[arg(long, value_name = "ROLE", conflicts_with = "check")]
    grant_prune_to: Vec<String>,
    /// Give this role what operators need, for the page (database.operator_url) or the command line; may be repeated.
    #[arg(long, value_name = "ROLE", conflicts_with = "check")]
    grant_operate_to: Vec<String>,
}

impl Migrate {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let outboxes = sources.load_all(Needs { database: !self.print_sql, amqp: false })?;
        if self.print_sql {
            outboxes.iter().for_each(|loaded| print(&self.script(&loaded.config.database.schema)));
            return Ok(Exit::Ok);
        }
        runtime()?.block_on(async {
            let mut exit = Exit::Ok;
            for loaded in &outboxes {
                let config = &loaded.config;
                let ended = if self.check { check(config).await? } else { self.migrate(config).await? };
                if ended != Exit::Ok {
                    exit = ended;
                }
            }
            Ok(exit)
        })
    }

    fn script(&self, schema: &str) -> String {
        let mut script = RELAY.script(schema);
        for (purpose, role) in self.grants() {
            script.push_str(&format!("\n{}\n", grants::script(purpose, schema, role)));
        }
        script
    }

    async fn migrate(&self, config: &Config) -> Result<Exit, Failure> {
        let (mut connection, server) = open(config).await?;
        let schema = &config.database.schema;
        for name in RELAY.migrate(&mut connection, schema, PATIENCE, say).await? {
            say(&format!("applied {name}"));
        }
        for (purpose, role) in self.grants() {
            grants::grant(&connection.client, purpose, schema, role).await?;
            let what = match purpose {
                Purpose::Run => "run relay",
                Purpose::Enqueue => "add events",
                Purpose::Consume => "keep an inbox",
                Purpose::Prune => "remove old rows",
                Purpose::Operate => "do what operators do",
            };
            say(&format!("role {role} may {what}"));
        }
        say(&format!("schema {schema} at {server} is up to date"));
        Ok(Exit::Ok)
    }

    fn grants(&self) -> impl Iterator<Item = (Purpose, &String)> {
        let run = self.grant_run_to.iter().map(|role| (Purpose::Run, role));
        run.chain(self.grant_enqueue_to.iter().map(|role| (Purpose::Enqueue, role)))
            .chain(self.grant_consume_to.iter().map(|role| (Purpose::Consume, role)))
            .chain(self.grant_prune_to.iter().map(|role| (Purpose::Prune, role)))
            .chain(self.grant_operate_to.iter().map(|role| (Purpose::Operate, role)))
    }
}

/// Connects, and says where to.
async fn open(config: &Config) -> Result<(Connection, String), Failure> {
    let url = config.database_url().map_err(|error| Failure::Failed(error.to_string()))?;
    let settings = app::unpooled(config, url)?;
    Ok((connect(&settings, "relay migrate").await?, settings.server().to_string()))
}

/// Says what is pending, or wrong with the sequence.
async fn check(config: &Config) -> Result<Exit, Failure> {
    let (connection, _) = open(config).await?;
    let schema = &config.database.schema;
    let state = RELAY.state(&connection.client, schema).await?;
    for migration in &state.pending {
        print(&format!("pending: {}", migration.name));
    }
    for version in &state.unknown {
        say(&format!("schema {schema} has migration {version}, which this version does not know"));
    }
    if !state.pending.is_empty() {
        return Ok(Exit::Failed);
    }
    let trouble = sequence::trouble(&connection.client, schema).await?;
    if let Some(trouble) = &trouble {
        say(&trouble.to_string());
    }
    Ok(if trouble.is_none() { Exit::Ok } else { Exit::Failed })
}
