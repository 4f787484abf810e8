//! The command line: one file a command. Data goes to stdout, messages to stderr.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{self, Env, KEYS, Loaded, Needs};

mod audit;
mod config_command;
mod connection;
mod dead;
mod dlq;
mod doctor;
mod enqueue;
mod exit;
mod generated;
mod inbox;
mod key;
mod logging;
mod migrate;
mod pause;
mod prune;
pub(crate) mod render;
mod replay;
mod run;
mod selection;
mod status;
mod telemetry;
mod terminal;
mod top;
mod trace;

pub(crate) use config_command::Output;
pub(crate) use doctor::Diagnosis;
pub(crate) use exit::{EXIT_CODES, ended, not_run, print, runtime, say};
pub use exit::{Exit, Failure};
pub(crate) use logging::start as start_logging;
pub(crate) use run::{listen, signals};
pub(crate) use telemetry::{end_tracing, start_tracing};
pub(crate) use terminal::{ask, is_interactive, whoever};

/// Publishes every committed row of a Postgres outbox to RabbitMQ.
#[derive(Debug, Parser)]
#[command(
    name = "relay",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// The configuration file [default: ./relay.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "RELAY_CONFIG")]
    config: Option<PathBuf>,
    /// Of several outboxes, deal with this one alone
    #[arg(long, global = true, value_name = "NAME")]
    outbox: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run,
    /// Create or upgrade the tables.
    Migrate(migrate::Migrate),
    Enqueue(enqueue::Enqueue),
    ReplayDlq(replay::Replay),
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    #[command(subcommand)]
    Key(key::Key),
    Pause(pause::Pause),
    Resume(pause::Resume),
    Pauses(pause::Pauses),
    Prune(prune::Prune),
    #[command(subcommand)]
    Audit(audit::Audit),
    Status(status::StatusCommand),
    Top(top::Top),
    Trace(trace::Trace),
    Doctor(doctor::DoctorCommand),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(config_command::ConfigCommand),
    Completions(generated::Completions),
    Man(generated::Man),
}

/// The whole command line, with a flag for every key of the configuration.
#[must_use]
pub fn command() -> clap::Command {
    KEYS.iter().fold(Cli::command(), |command, key| {
        command.arg(
            Arg::new(key.path())
                .long(key.flag())
                .value_name(key.name.to_uppercase())
                .help(key.doc)
                .help_heading("Configuration (also RELAY_SECTION_KEY and relay.toml)")
                .global(true)
                .hide_short_help(true),
        )
    })
}

/// Runs the command line; the result is the exit code.
pub fn main() -> Exit {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return not_run(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return not_run(&error),
    };
    let Global { config, outbox } = cli.global;
    let settings = Sources { config, outbox, flags: flags(&matches) };
    let result = match cli.command {
        Command::Run => run::run(&settings),
        Command::Migrate(migrate) => migrate.run(&settings),
        Command::Enqueue(enqueue) => enqueue.run(&settings),
        Command::ReplayDlq(replay) => replay.run(&settings),
        Command::Dlq(dlq) => dlq.run(&settings),
        Command::Key(key) => key.run(&settings),
        Command::Pause(pause) => pause.run(&settings),
        Command::Resume(resume) => resume.run(&settings),
        Command::Pauses(pauses) => pauses.run(&settings),
        Command::Prune(prune) => prune.run(&settings),
        Command::Audit(audit) => audit.run(&settings),
        Command::Status(status) => status.run(&settings),
        Command::Top(top) => top.run(&settings),
        Command::Trace(trace) => trace.run(&settings),
        Command::Doctor(doctor) => doctor.run(&settings),
        Command::Config(command) => command.run(&settings),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    ended(result)
}

/// Where configuration comes from beside the environment.
#[derive(Debug)]
struct Sources {
    config: Option<PathBuf>,
    outbox: Option<String>,
    flags: BTreeMap<String, String>,
}

impl Sources {
    /// The configuration of the outbox that is meant, for commands that deal with one.
    fn load(&self, needs: Needs) -> Result<Loaded, Failure> {
        let mut outboxes = self.load_all(needs)?;
        match (outboxes.pop(), outboxes.as_slice()) {
            (Some(one), []) => Ok(one),
            (last, others) => {
                let names: Vec<_> =
                    others.iter().chain(&last).map(|loaded| loaded.config.outbox.name.as_str()).collect();
                Err(Failure::Usage(format!(
                    "there are several outboxes, and this deals with one: add --outbox {}",
                    names.join(", or --outbox ")
                )))
            }
        }
    }

    /// That of every outbox, or of the one that `--outbox` names: at least one.
    fn load_all(&self, needs: Needs) -> Result<Vec<Loaded>, Failure> {
        let env: Env = std::env::vars_os().collect();
        let flags = self.flags.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
        Ok(config::load(&flags, self.config.as_deref(), &env, needs, self.outbox.as_deref())?)
    }
}

fn flags(matches: &ArgMatches) -> BTreeMap<String, String> {
    // A global flag may stand before or after the subcommand; clap propagates it to the innermost.
    let mut innermost = matches;
    while let Some((_, inner)) = innermost.subcommand() {
        innermost = inner;
    }
    KEYS.iter()
        .filter_map(|key| {
            let value = innermost.try_get_one::<String>(&key.path()).ok().flatten()?;
            Some((key.path(), value.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
