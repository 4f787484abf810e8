//! `relay config`.

use clap::{Subcommand, ValueEnum};

use super::{
    Exit, Failure, Sources,
    exit::{print, say},
};
use crate::config::{self, Needs};

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Check or show the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Report every mistake at once; exit with 78 if there is one.
    Check,
    /// Print every key, its value and where it came from; secrets are masked.
    Show {
        /// How to print.
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Print the JSON Schema of relay.toml.
    Schema,
}

impl ConfigCommand {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        match self {
            Self::Check => {
                let outboxes = sources.load_all(Needs { database: true, amqp: true })?;
                for warning in outboxes.iter().flat_map(|loaded| &loaded.warnings) {
                    say(&format!("warning: {warning}"));
                }
                say("the configuration is usable");
            }
            Self::Show { output } => {
                let outboxes = sources.load_all(Needs::default())?;
                match output {
                    Output::Table => print(&config::table(&outboxes)),
                    Output::Json => print(&format!("{:#}", config::json(&outboxes))),
                }
            }
            Self::Schema => print(&format!("{:#}", config::schema())),
        }
        Ok(Exit::Ok)
    }
}
