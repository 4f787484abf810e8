//! Servers of a benchmark's own, and the relay under measurement.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use lapin::{
    Connection, ConnectionProperties, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use tokio_postgres::{Client, NoTls};

use crate::{
    program::Program,
    stack::{self, Servers},
};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

pub(crate) const EXCHANGE: &str = "outbox.events";
pub(crate) const QUEUE: &str = "bench";

pub(crate) struct Bench {
    directory: PathBuf,
    pub(crate) database_url: String,
    pub(crate) amqp_url: String,
    pub(crate) postgres_pid: u32,
    pub(crate) broker_pid: u32,
    /// Relay's publishers, and the channels of raw publishing.
    pub(crate) publishers: usize,
}

pub(crate) fn short(text: &str) -> Result<ShortString> {
    Ok(ShortString::try_new(text)?)
}

/// Closes a connection. Its channels may be closing already, which is no error worth a benchmark; and when the connection
/// ends meanwhile, lapin's answer may never come.
pub(crate) async fn close(connection: &Connection) -> Result<()> {
    let _ = tokio::time::timeout(Duration::from_secs(2), connection.close(200, short("done")?)).await;
    Ok(())
}

impl Bench {
    pub(crate) async fn up(publishers: usize) -> Result<Self> {
        let directory = Path::new(stack::REPOSITORY).join(".relay-dev/bench");
        let options = "-c shared_buffers=1GB -c max_wal_size=4GB -c checkpoint_timeout=30min";
        let mut up = stack::in_folder("up", &directory);
        up.env("RELAY_DEV_PG_OPTS", options).stderr(Stdio::inherit());
        let Servers { database_url, amqp_url } = stack::up(&mut up)?;
        let mut bench =
            Self { directory, database_url, amqp_url, postgres_pid: 0, broker_pid: 0, publishers };
        bench.postgres_pid = first_line(&bench.data_file("pg/postmaster.pid"))?;
        bench.broker_pid = first_line(&bench.data_file("rabbit/rabbit.pid"))?;
        bench.migrate("relay").await?;
        Ok(bench)
    }

    /// New tables in a schema of this name; what was in it is gone.
    pub(crate) async fn migrate(&self, schema: &str) -> Result<()> {
        let client = self.database().await?;
        client.batch_execute(&format!("drop schema if exists {schema} cascade")).await?;
        let output = self.command().arg("migrate").env("RELAY_DATABASE_SCHEMA", schema).output()?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
        }
    }

    fn data_file(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    pub(crate) fn down(&self) {
        let _ = stack::in_folder("wipe", &self.directory).status();
    }

    pub(crate) async fn database(&self) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.database_url, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub(crate) async fn broker(&self) -> Result<Connection> {
        Ok(Connection::connect(&self.amqp_url, ConnectionProperties::default()).await?)
    }

    /// An empty queue of this type, bound to everything.
    pub(crate) async fn queue(&self, kind: &str) -> Result<()> {
        let connection = self.broker().await?;
        let channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel
            .exchange_declare(short(EXCHANGE)?, ExchangeKind::Topic, durable, FieldTable::default())
            .await?;
        channel.queue_delete(short(QUEUE)?, QueueDeleteOptions::default()).await?;
        let mut arguments = FieldTable::default();
        arguments.insert(short("x-queue-type")?, AMQPValue::LongString(LongString::from(kind)));
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(short(QUEUE)?, durable, arguments).await?;
        let bind = QueueBindOptions::default();
        channel.queue_bind(short(QUEUE)?, short(EXCHANGE)?, short("#")?, bind, FieldTable::default()).await?;
        close(&connection).await?;
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        command
            .current_dir(&self.directory)
            .env("DATABASE_URL", &self.database_url)
            .env("AMQP_URL", &self.amqp_url)
            .env("RELAY_ADMIN_LISTEN", "127.0.0.1:0")
            .env("RELAY_LOG_FORMAT", "json")
            .env("RELAY_AMQP_PUBLISHERS", self.publishers.to_string());
        command
    }

    pub(crate) fn start(&self) -> Result<Program> {
        self.start_with(&[])
    }

    /// Starts a relay with these variables set.
    pub(crate) fn start_with(&self, variables: &[(&str, &str)]) -> Result<Program> {
        Program::start(self.command().arg("run").envs(variables.iter().copied()))
    }
}

fn first_line(path: &PathBuf) -> Result<u32> {
    Ok(std::fs::read_to_string(path)?.lines().next().unwrap_or("").trim().parse()?)
}
