//! The private servers and the relays.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tokio_postgres::{Client, NoTls};

use crate::stack::{self, Servers};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A Postgres and a RabbitMQ of our own, which may be killed.
pub(crate) struct Stack {
    directory: PathBuf,
    pub(crate) database_url: String,
    pub(crate) amqp_url: String,
}

/// The program beside this one.
fn relay_program() -> Result<PathBuf> {
    let example = std::env::current_exe()?;
    let profile = example.ancestors().nth(2).ok_or("the demo is not in cargo's target folder")?;
    let program = profile.join("relay");
    if program.exists() { Ok(program) } else { Err("build relay first: make demo does".into()) }
}

impl Stack {
    pub(crate) async fn up() -> Result<Self> {
        let directory = Path::new(stack::REPOSITORY).join(".relay-dev/demo");
        // Nothing else goes on yet, so this may block.
        let Servers { database_url, amqp_url } =
            stack::up(stack::in_folder("up", &directory).stderr(Stdio::inherit()))?;
        let stack = Self { directory, database_url, amqp_url };
        stack.start_afresh().await?;
        Ok(stack)
    }

    /// A demonstration that was interrupted leaves tables behind, and messages.
    async fn start_afresh(&self) -> Result<()> {
        let database = self.database().await?;
        database
            .batch_execute("drop schema if exists relay cascade; drop schema if exists shop cascade")
            .await?;
        for queue in ["demo.orders", "outbox.dlq"] {
            let _ = self
                .stack("rabbitmqctl")
                .args(["--", "-q", "delete_queue", queue])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .await?;
        }
        Ok(())
    }

    fn stack(&self, verb: &str) -> Command {
        stack::in_folder(verb, &self.directory).into()
    }

    pub(crate) async fn control(&self, what: &str) -> Result<()> {
        let status = self.stack(what).stdout(Stdio::null()).stderr(Stdio::null()).status().await?;
        if status.success() { Ok(()) } else { Err(format!("dev/stack {what} failed").into()) }
    }

    pub(crate) async fn down(&self) {
        let _ = self.control("wipe").await;
    }

    pub(crate) async fn database(&self) -> Result<Client> {
        connect(&self.database_url).await
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(relay_program()?);
        command
            .current_dir(&self.directory)
            .env("DATABASE_URL", &self.database_url)
            .env("AMQP_URL", &self.amqp_url)
            .env("RELAY_RETRY_FLOOR", "200ms")
            .env("RELAY_RETRY_MAX_ATTEMPTS", "3")
            .env("RELAY_LEASE_DURATION", "3s")
            .env("RELAY_ADMIN_LISTEN", "127.0.0.1:0");
        Ok(command)
    }

    /// Runs one of relay's commands, its output on ours.
    pub(crate) async fn relay_command(&self, arguments: &[&str]) -> Result<()> {
        let status = self.command()?.args(arguments).status().await?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("relay {} failed: {status}", arguments.join(" ")).into())
        }
    }
}

pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A `relay run`.
pub(crate) struct Relay(Child);

impl Relay {
    /// Starts one and waits until it says so.
    pub(crate) async fn start(stack: &Stack, name: &str) -> Result<Self> {
        let mut child = stack
            .command()?
            .arg("run")
            .env("RELAY_LOG_FORMAT", "json")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let started = async {
            while let Some(line) = lines.next_line().await? {
                if line.contains("broker is up") {
                    return Result::Ok(());
                }
            }
            Err(format!("relay {name} ended").into())
        };
        tokio::time::timeout(Duration::from_secs(10), started)
            .await
            .map_err(|_| format!("relay {name} did not start"))??;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self(child))
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.0.start_kill();
    }

    pub(crate) async fn terminate(mut self) -> Result<()> {
        let pid = self.0.id().ok_or("the relay has ended by itself")?;
        Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await?;
        let status = tokio::time::timeout(Duration::from_secs(10), self.0.wait()).await??;
        if status.success() { Ok(()) } else { Err(format!("relay ended with {status}").into()) }
    }
}
