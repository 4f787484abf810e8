//! The `shipments` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    relay::shipping::cli::main().into()
}
