//! The private servers, and what runs on them.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::process::Command;
use tokio_postgres::{Client, NoTls};

use crate::{
    part::Part,
    stack::{self, Servers},
};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Long enough for anything that works, on a busy machine; what takes longer is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A Postgres and a RabbitMQ of our own, which may be killed.
pub(crate) struct Stack {
    directory: PathBuf,
    /// Logs, and files of the parts; kept until the next time.
    pub(crate) files: PathBuf,
    next_port: AtomicU16,
    pub(crate) database_url: String,
    pub(crate) amqp_url: String,
}

/// Where cargo put this program and those beside it.
fn profile() -> Result<PathBuf> {
    let example = std::env::current_exe()?;
    let folder = example.ancestors().nth(2).ok_or("the demo is not in cargo's target folder")?;
    Ok(folder.to_owned())
}

impl Stack {
    pub(crate) fn up() -> Result<Self> {
        let directory = Path::new(stack::REPOSITORY).join(".relay-dev/demo");
        let files = profile()?.join("demo");
        if files.exists() {
            fs::remove_dir_all(&files)?;
        }
        fs::create_dir_all(&files)?;
        // A demonstration that was interrupted leaves tables behind, and messages.
        let wipe =
            stack::in_folder("wipe", &directory).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if !wipe.success() {
            return Err(format!("what is left in {} can't be removed", directory.display()).into());
        }
        // Nothing else goes on yet, so this may block.
        let Servers { database_url, amqp_url } =
            stack::up(stack::in_folder("up", &directory).stderr(Stdio::inherit()))?;
        let next_port = AtomicU16::new(rand::random_range(12_000..18_000));
        Ok(Self { directory, files, next_port, database_url, amqp_url })
    }

    pub(crate) async fn control(&self, what: &str) -> Result<()> {
        let mut command: Command = stack::in_folder(what, &self.directory).into();
        succeeded(command.stdout(Stdio::null()).stderr(Stdio::null())).await
    }

    pub(crate) async fn down(&self) {
        let _ = self.control("wipe").await;
    }

    pub(crate) async fn database(&self) -> Result<Client> {
        connect(&self.database_url).await
    }

    /// A path for a file.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// An address to listen on, whose port lies below those that the kernel gives to clients: a part that is started again
    /// must find it free.
    pub(crate) fn address(&self) -> Result<String> {
        let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        let mut tries = (0..1000).map(|_| self.next_port.fetch_add(1, Relaxed));
        let port = tries.find(free).ok_or("no port is free")?;
        Ok(format!("127.0.0.1:{port}"))
    }

    /// `relay` or `shipments`, with these servers and nothing else from the environment.
    fn command(&self, program: &str, arguments: &[&str]) -> Result<Command> {
        let path = profile()?.join(program);
        if !path.exists() {
            return Err(format!("build {program} first: make demo does").into());
        }
        let mut command = Command::new(path);
        command
            .args(arguments)
            .env_clear()
            .current_dir(&self.files)
            .env("DATABASE_URL", &self.database_url)
            .env("AMQP_URL", &self.amqp_url)
            .env("USER", "demo");
        Ok(command)
    }

    /// A program that goes on until it is told to end, ready once this URL says so.
    pub(crate) fn part(&self, name: &str, program: &str, arguments: &[&str], ready: String) -> Result<Part> {
        Part::new(name, self.command(program, arguments)?, ready, self.file(&format!("{name}.log")))
    }

    /// `relay run`.
    pub(crate) fn relay(&self, name: &str) -> Result<Part> {
        let admin = self.address()?;
        let part = self.part(name, "relay", &["run"], format!("http://{admin}/readyz"))?;
        let part = part.env("RELAY_ADMIN_LISTEN", &admin).env("RELAY_RETRY_FLOOR", "200ms");
        Ok(part.env("RELAY_RETRY_MAX_ATTEMPTS", "3").env("RELAY_LEASE_DURATION", "3s"))
    }

    /// Runs a command to its end, its output on ours.
    pub(crate) async fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        succeeded(&mut self.command(program, arguments)?).await
    }

    /// The same without a word.
    pub(crate) async fn run_quietly(&self, program: &str, arguments: &[&str]) -> Result<()> {
        succeeded(self.command(program, arguments)?.stdout(Stdio::null()).stderr(Stdio::null())).await
    }
}

async fn succeeded(command: &mut Command) -> Result<()> {
    let status = command.status().await?;
    if status.success() { Ok(()) } else { Err(format!("{:?}: {status}", command.as_std()).into()) }
}

pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Looks until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !holds().await? {
        if Instant::now() > end {
            return Err(format!("waited {PATIENCE:?} in vain until {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The first column of the only row.
pub(crate) async fn number(database: &Client, sql: &str) -> Result<u64> {
    let number: i64 = database.query_one(sql, &[]).await?.get(0);
    Ok(u64::try_from(number)?)
}
