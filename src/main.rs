//! The `relay` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    relay::cli::main().into()
}
