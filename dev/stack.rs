//! Runs `dev/stack`, for all that needs servers of its own: tests, the benchmark, the demonstration.

use std::{
    path::Path,
    process::{Command, Stdio},
};

pub(crate) const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
pub(crate) const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dev/stack");

/// Where the two servers are.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    pub(crate) database_url: String,
    pub(crate) amqp_url: String,
}

/// `dev/stack VERB FOLDER`, with no server given: that one would be used instead of started.
pub(crate) fn in_folder(verb: &str, folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg(verb).arg(folder).env_remove("DATABASE_URL").env_remove("AMQP_URL");
    command
}

/// Runs `dev/stack up ..` and reads what it prints. What goes wrong is told with its stderr, unless the caller shows that.
pub(crate) fn up(stack: &mut Command) -> Result<Servers, String> {
    let output = stack.stdin(Stdio::null()).output().map_err(|error| format!("{PROGRAM}: {error}"))?;
    if !output.status.success() {
        return Err(format!("there are no servers:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    // It prints what a shell is to evaluate, so that is what reads it.
    let script = r#"eval "$1" && printf '%s\n%s\n' "$DATABASE_URL" "$AMQP_URL""#;
    let printed = String::from_utf8_lossy(&output.stdout);
    let read = Command::new("bash").args(["-c", script, "-", &printed]).output();
    let read = read.map_err(|error| format!("bash: {error}"))?;
    match String::from_utf8_lossy(&read.stdout).lines().collect::<Vec<_>>()[..] {
        [database_url, amqp_url] => {
            Ok(Servers { database_url: database_url.to_owned(), amqp_url: amqp_url.to_owned() })
        }
        _ => Err(format!("dev/stack did not say where the servers are, but {printed:?}")),
    }
}
