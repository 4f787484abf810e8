//! The command line of `shipments`: one file a command.

use clap::{Parser, Subcommand};

use crate::cli::{Exit, Failure, say};

mod api;
mod carrier_sim;
mod migrate;
mod operators;
pub mod notify;
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
#[command(
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 partly done, 69 a server is unreachable, 78 bad configuration."
)]
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
    CarrierSim(carrier_sim::CarrierSim),
}

/// Runs the command line; the result is the exit code.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as errors too, with a code of 0.
            let _ = error.print();
            return if error.exit_code() == 0 { Exit::Ok } else { Exit::Usage };
        }
    };
    let result: Result<Exit, Failure> = match cli.command {
        Command::Worker(worker) => worker.run(),
        Command::List(list) => list.run(),
        Command::Show(show) => show.run(),
        Command::Retry(retry) => retry.run(),
        Command::Resolve(resolve) => resolve.run(),
        Command::Cancel(cancel) => cancel.run(),
        Command::Api(api) => api.run(),
        Command::Migrate(migrate) => migrate.run(),
        Command::CarrierSim(sim) => sim.run(),
    };
    result.unwrap_or_else(|failure| {
        say(&format!("error: {failure}"));
        failure.exit()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
