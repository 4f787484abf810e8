//! `relay migrate`.

use clap::Args;

use super::{
    Exit, Failure, Sources,
    exit::{print, runtime, say},
};
use crate::{
    app,
    config::Needs,
    operator::grants::{self, Purpose},
    outbox::sequence,
    postgres::{connect::connect, migrate::RELAY},
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
}

impl Migrate {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let loaded = sources.load(Needs { database: !self.print_sql, amqp: false })?;
        let config = &loaded.config;
        let schema = &config.database.schema;
        if self.print_sql {
            let mut script = RELAY.script(schema);
            for (purpose, role) in self.grants() {
                script.push_str(&format!("\n{}\n", grants::script(purpose, schema, role)));
            }
            print(&script);
            return Ok(Exit::Ok);
        }
        let url = config.database_url().map_err(|error| Failure::Failed(error.to_string()))?;
        let settings = app::unpooled(config, url)?;
        runtime()?.block_on(async {
            let mut connection = connect(&settings, "relay migrate").await?;
            if self.check {
                let state = RELAY.state(&connection.client, schema).await?;
                for migration in &state.pending {
                    print(&format!("pending: {}", migration.name));
                }
                for version in &state.unknown {
                    say(&format!(
                        "schema {schema} has migration {version}, which this version does not know"
                    ));
                }
                if !state.pending.is_empty() {
                    return Ok(Exit::Failed);
                }
                let trouble = sequence::trouble(&connection.client, schema).await?;
                if let Some(trouble) = &trouble {
                    say(trouble);
                }
                return Ok(if trouble.is_none() { Exit::Ok } else { Exit::Failed });
            }
            let applied = RELAY.migrate(&mut connection, schema).await?;
            for name in &applied {
                say(&format!("applied {name}"));
            }
            for (purpose, role) in self.grants() {
                grants::grant(&connection.client, purpose, schema, role).await?;
                let what = match purpose {
                    Purpose::Run => "run relay",
                    Purpose::Enqueue => "add events",
                    Purpose::Consume => "keep an inbox",
                    Purpose::Prune => "remove old rows",
                };
                say(&format!("role {role} may {what}"));
            }
            say(&format!("schema {schema} at {} is up to date", settings.server()));
            Ok(Exit::Ok)
        })
    }

    fn grants(&self) -> impl Iterator<Item = (Purpose, &String)> {
        let run = self.grant_run_to.iter().map(|role| (Purpose::Run, role));
        run.chain(self.grant_enqueue_to.iter().map(|role| (Purpose::Enqueue, role)))
            .chain(self.grant_consume_to.iter().map(|role| (Purpose::Consume, role)))
            .chain(self.grant_prune_to.iter().map(|role| (Purpose::Prune, role)))
    }
}
