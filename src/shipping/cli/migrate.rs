//! `shipments migrate`.

use clap::Args;

use super::servers::Database;
use crate::{
    cli::{Exit, Failure, print, runtime, say},
    postgres::{
        connect::connect,
        migrate::{History, PATIENCE, RELAY},
    },
    shipping::{
        migrations::{HISTORY, SCHEMA},
        roles::{self, Part},
    },
};

/// Create or upgrade the tables: relay's, and shipping's beside them
#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    database: Database,
    /// Change nothing; exit with 1 if anything is pending
    #[arg(long)]
    check: bool,
    /// Give a part's role what the part needs: PART, or PART=ROLE if it is not called `shipping_PART`; `all` for every
    /// part. The roles must exist. May be repeated
    #[arg(long, value_name = "PART[=ROLE]", conflicts_with = "check", value_parser = grant)]
    grant: Vec<Grant>,
}

#[derive(Debug, Clone)]
struct Grant {
    part: Option<Part>,
    role: Option<String>,
}

fn grant(text: &str) -> Result<Grant, String> {
    let (part, role) = match text.split_once('=') {
        Some((part, role)) => (part, Some(role.to_owned())),
        None => (text, None),
    };
    if part == "all" && role.is_none() {
        return Ok(Grant { part: None, role });
    }
    let names = || Part::ALL.iter().map(|part| part.as_str()).collect::<Vec<_>>().join(", ");
    let part = part.parse().map_err(|_| format!("the parts are {}, and all", names()))?;
    Ok(Grant { part: Some(part), role })
}

impl Migrate {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let settings = self.database.settings()?;
        let histories: [(History, &str); 2] = [(RELAY, &settings.schema), (HISTORY, SCHEMA)];
        runtime()?.block_on(async {
            let mut connection = connect(&settings, "shipments migrate").await?;
            let mut exit = Exit::Ok;
            for (history, schema) in histories {
                if self.check {
                    let state = history.state(&connection.client, schema).await?;
                    for migration in &state.pending {
                        print(&format!("pending: {schema} {}", migration.name));
                        exit = Exit::Failed;
                    }
                    continue;
                }
                for name in history.migrate(&mut connection, schema, PATIENCE, say).await? {
                    say(&format!("applied {name}"));
                }
                say(&format!("schema {schema} at {} is up to date", settings.server()));
            }
            for (part, role) in self.grants() {
                roles::grant(&connection.client, part, &settings.schema, &role).await?;
                say(&format!("role {role} may do what {part} needs"));
            }
            Ok(exit)
        })
    }

    fn grants(&self) -> impl Iterator<Item = (Part, String)> {
        self.grant.iter().flat_map(|grant| {
            let parts = grant.part.as_ref().map_or(Part::ALL, std::slice::from_ref);
            parts.iter().map(|part| (*part, grant.role.clone().unwrap_or_else(|| part.role())))
        })
    }
}
