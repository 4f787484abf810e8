//! `relay completions` and `relay man`: what clap knows, in other forms.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use super::{Exit, Failure, command, exit::print};

/// Print a shell's completions.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For which shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "relay", &mut text);
        print(&String::from_utf8_lossy(&text));
        Ok(Exit::Ok)
    }
}

/// Print the manual page, or write one for every command.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write the pages of all commands into this directory.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let failed = |source| Failure::Io { what: "cannot write the manual".to_owned(), source };
        if let Some(directory) = &self.to {
            clap_mangen::generate_to(command(), directory).map_err(failed)?;
            return Ok(Exit::Ok);
        }
        let mut text = Vec::new();
        clap_mangen::Man::new(command()).render(&mut text).map_err(failed)?;
        print(&String::from_utf8_lossy(&text));
        Ok(Exit::Ok)
    }
}
