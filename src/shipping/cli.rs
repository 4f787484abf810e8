//! The command line of `shipments`: one file a command.

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::{EXIT_CODES, Exit, ended, not_run};

mod api;
mod carrier_sim;
mod doctor;
mod migrate;
pub mod notify;
mod operators;
mod servers;
mod worker;

/// Ships orders: the reference consumers of relay.
#[derive(Debug, Parser)]
#[command(
    name = "shipments",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Worker(Box<worker::Worker>),
    List(operators::List),
    Show(operators::Show),
    Retry(operators::Retry),
    Resolve(operators::Resolve),
    Cancel(operators::Cancel),
    Api(Box<api::Api>),
    Migrate(migrate::Migrate),
    Doctor(Box<doctor::Doctor>),
    CarrierSim(carrier_sim::CarrierSim),
}

/// The command line of `shipments`, for documentation to be held against.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line; the result is the exit code.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_run(&error),
    };
    ended(match cli.command {
        Command::Worker(worker) => worker.run(),
        Command::List(list) => list.run(),
        Command::Show(show) => show.run(),
        Command::Retry(retry) => retry.run(),
        Command::Resolve(resolve) => resolve.run(),
        Command::Cancel(cancel) => cancel.run(),
        Command::Api(api) => api.run(),
        Command::Migrate(migrate) => migrate.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::CarrierSim(sim) => sim.run(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
