//! Migrations: numbered, immutable, checksummed, applied under an advisory lock, each in its own transaction.
//!
//! The tables are in use meanwhile. A statement that changes one waits for every transaction that has touched it, and
//! whoever comes after it, producers first, waits behind it. So it waits for a moment only, lets them all pass, and tries
//! again.

use std::{
    fmt,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tokio_postgres::error::SqlState;

use super::{
    client::Client,
    connect::{Connection, DatabaseError},
    sql::{quoted, renamed},
};

/// One migration.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number; they are applied in this order.
    pub version: i32,
    /// Its name.
    pub name: &'static str,
    /// Its text, written for the history's schema.
    pub sql: &'static str,
}

/// The migrations of one product, in order, with the schema they are written for.
#[derive(Debug, Clone, Copy)]
pub struct History {
    /// What the texts call the schema. They may be applied to one of another name.
    pub written_for: &'static str,
    /// Every migration this version knows.
    pub migrations: &'static [Migration],
}

/// Relay's own.
pub const RELAY: History = History { written_for: "relay", migrations: MIGRATIONS };

macro_rules! migrations {
    ($($version:literal $name:literal),+ $(,)?) => {
        /// Every migration this version knows.
        pub const MIGRATIONS: &[Migration] = &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../sql/migrations/", $name, ".sql")),
        }),+];
    };
}

migrations! {
    1 "0001_outbox",
    2 "0002_wake_up",
    3 "0003_inbox",
    4 "0004_enqueue",
    5 "0005_suspect",
    6 "0006_sharing",
    7 "0007_pause",
    8 "0008_floors",
}

/// A key of Postgres' advisory locks, for the time of a migration: the bytes of "relaymig".
const LOCK: i64 = 0x7265_6c61_796d_6967;
/// How long a statement of a migration waits for a lock.
const WAIT: Duration = Duration::from_millis(200);
/// Between two tries, for those who waited behind the last one.
const REST: Duration = Duration::from_secs(1);
/// For how long a migration is tried while somebody is in its way.
pub const PATIENCE: Duration = Duration::from_secs(300);

impl Migration {
    /// FNV-1a over the text: tells an edited migration from the released one. Not a defence against an attacker, who
    /// could write to the table anyway.
    #[must_use]
    pub fn checksum(&self) -> String {
        let hash = self.sql.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

/// What is applied and what isn't.
#[derive(Debug, Default)]
pub struct State {
    /// Migrations to apply yet.
    pub pending: Vec<Migration>,
    /// Versions applied that this program does not know: a newer one has been here.
    pub unknown: Vec<i32>,
}

impl History {
    /// The script that migrating would run against an empty database.
    #[must_use]
    pub fn script(&self, schema: &str) -> String {
        let mut text = preamble(schema);
        for migration in self.migrations {
            text.push_str(&format!(
                "\n-- {name}\nbegin;\n{sql}\n{record};\ncommit;\n",
                name = migration.name,
                sql = renamed(migration.sql, self.written_for, schema).trim_end(),
                record = record(schema, migration),
            ));
        }
        text
    }

    /// What is recorded as applied: versions with their checksums; nothing if there is no record.
    async fn recorded(&self, client: &Client, schema: &str) -> Result<Vec<(i32, String)>, DatabaseError> {
        let table = format!("{}.migrations", quoted(schema));
        let exists = client.query_one("select to_regclass($1) is not null", &[&table]).await?;
        if !exists.try_get(0)? {
            return Ok(Vec::new());
        }
        let sql = format!("select version, checksum from {table} order by version");
        let rows = client.query(&sql, &[]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// What is to be applied yet. Whether what was applied is still the same, [`Self::state`] says.
    ///
    /// # Errors
    /// When the history can't be read.
    pub async fn pending(&self, client: &Client, schema: &str) -> Result<Vec<Migration>, DatabaseError> {
        let recorded = self.recorded(client, schema).await?;
        let applied =
            |migration: &Migration| recorded.iter().any(|(version, _)| *version == migration.version);
        Ok(self.migrations.iter().filter(|migration| !applied(migration)).copied().collect())
    }

    /// Compares the database with this program.
    ///
    /// # Errors
    /// When the history can't be read, or a migration was changed after it had been applied.
    pub async fn state(&self, client: &Client, schema: &str) -> Result<State, DatabaseError> {
        let mut state = State { pending: self.migrations.to_vec(), unknown: Vec::new() };
        for (version, checksum) in self.recorded(client, schema).await? {
            match self.migrations.iter().find(|migration| migration.version == version) {
                Some(migration) if migration.checksum() == checksum => {
                    state.pending.retain(|pending| pending.version != version);
                }
                Some(migration) => {
                    return Err(DatabaseError::Schema(format!(
                        "migration {} was changed after it had been applied to schema {schema}; restore its file, and put \
                     the change into a new migration",
                        migration.name
                    )));
                }
                None => state.unknown.push(version),
            }
        }
        Ok(state)
    }

    /// Applies what is pending; returns the names of what was applied. While somebody is in the way, it tries again for as
    /// long as its patience lasts, and tells once who it is.
    ///
    /// # Errors
    /// When a statement fails, or somebody stays in the way: its migration is rolled back, earlier ones stay.
    pub async fn migrate(
        &self,
        connection: &mut Connection,
        schema: &str,
        patience: Duration,
        tell: impl Fn(&str),
    ) -> Result<Vec<&'static str>, DatabaseError> {
        let client = &mut connection.client;
        // Building an index may take longer than any query should, and so may another migrator.
        client.batch_execute("set statement_timeout = 0; set lock_timeout = 0").await?;
        client.execute("select pg_advisory_lock($1)", &[&LOCK]).await?;
        let applied = self.apply(client, schema, patience, tell).await;
        let unlocked = client.execute("select pg_advisory_unlock($1)", &[&LOCK]).await;
        let applied = applied?;
        unlocked?;
        // What follows on this connection is in nobody's way.
        client.batch_execute("set lock_timeout = '30s'").await?;
        Ok(applied)
    }

    async fn apply(
        &self,
        client: &mut Client,
        schema: &str,
        patience: Duration,
        tell: impl Fn(&str),
    ) -> Result<Vec<&'static str>, DatabaseError> {
        let mut applied = Vec::new();
        let known = format!("{}.migrations", quoted(schema));
        let exists = client.query_one("select to_regclass($1) is not null", &[&known]).await?;
        if !exists.try_get::<_, bool>(0)? {
            client.batch_execute(&preamble(schema)).await?;
        }
        for migration in self.state(client, schema).await?.pending {
            self.apply_when_free(client, schema, &migration, Instant::now() + patience, &tell).await?;
            applied.push(migration.name);
        }
        Ok(applied)
    }

    async fn apply_when_free(
        &self,
        client: &mut Client,
        schema: &str,
        migration: &Migration,
        until: Instant,
        tell: impl Fn(&str),
    ) -> Result<(), DatabaseError> {
        let (mut wait, mut told) = (WAIT, false);
        loop {
            client.batch_execute(&format!("set lock_timeout = {}", wait.as_millis())).await?;
            match self.apply_one(client, schema, migration).await {
                Err(error) if is_in_use(&error) => {}
                result => return result,
            }
            let obstacle = Obstacle::find(client, schema).await?;
            if Instant::now() >= until {
                return Err(DatabaseError::Schema(format!(
                    "migration {} was not applied, for its tables stayed in use: {obstacle}; end that, and run the same \
                     command again",
                    migration.name
                )));
            }
            if !std::mem::replace(&mut told, true) {
                tell(&format!("{} waits for tables in use: {obstacle}", migration.name));
            }
            wait = obstacle.wait(client).await?;
            // In no transaction, and so in nobody's way.
            sleep(REST).await;
        }
    }

    async fn apply_one(
        &self,
        client: &mut Client,
        schema: &str,
        migration: &Migration,
    ) -> Result<(), DatabaseError> {
        let transaction = client.transaction().await?;
        transaction.batch_execute(&renamed(migration.sql, self.written_for, schema)).await?;
        transaction.batch_execute(&record(schema, migration)).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Whether a statement gave up waiting for a lock of somebody else's.
fn is_in_use(error: &DatabaseError) -> bool {
    let lost = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
    matches!(error, DatabaseError::Statement(source) if source.code().is_some_and(|code| lost.contains(code)))
}

/// Who is in the way of a migration.
#[derive(Debug, Default)]
struct Obstacle {
    pid: Option<i32>,
    name: Option<String>,
    /// Since its transaction began, where that can be known.
    seconds: Option<f64>,
    /// Whether a vacuum is, that one or another.
    vacuum: bool,
}

impl Obstacle {
    /// Looks who holds locks on the schema's tables now; the oldest transaction is the likeliest.
    async fn find(client: &Client, schema: &str) -> Result<Self, DatabaseError> {
        let sql = include_str!("../../sql/queries/activity/hold_tables.sql");
        let Some(row) = client.query_opt(sql, &[&schema]).await? else { return Ok(Self::default()) };
        Ok(Self {
            pid: row.try_get(0)?,
            name: row.try_get(1)?,
            seconds: row.try_get(2)?,
            vacuum: row.try_get(3)?,
        })
    }

    /// How long the next try waits for a lock. Autovacuum makes way for whoever waits, but only after `deadlock_timeout`: who
    /// always gives up before would wait for its end.
    async fn wait(&self, client: &Client) -> Result<Duration, DatabaseError> {
        if !self.vacuum {
            return Ok(WAIT);
        }
        let sql = "select setting::bigint from pg_catalog.pg_settings where name = 'deadlock_timeout'";
        let timeout: i64 = client.query_one(sql, &[]).await?.try_get(0)?;
        Ok(Duration::from_millis(u64::try_from(timeout).unwrap_or(0)) + WAIT)
    }
}

impl fmt::Display for Obstacle {
    /// `session 4711 of "psql", its transaction open for 312 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.name) {
            (Some(pid), Some(name)) => write!(f, "session {pid} of {name:?}")?,
            (Some(pid), None) => write!(f, "session {pid}")?,
            (None, Some(name)) => write!(f, "the prepared transaction {name:?}")?,
            (None, None) => return f.write_str("nobody holds them any more"),
        }
        self.seconds.iter().try_for_each(|seconds| write!(f, ", its transaction open for {seconds:.0} s"))
    }
}

fn preamble(schema: &str) -> String {
    let name = quoted(schema);
    format!(
        // A schema may have been made by somebody with more rights, which `if not exists` would demand all the same.
        "do $schema$ begin\n    if to_regnamespace('{name}') is null then create schema {name}; end if;\nend $schema$;\n\
         create table if not exists {name}.migrations (\n    \
             version integer primary key,\n    name text not null,\n    checksum text not null,\n    \
             applied_at timestamptz not null default now()\n);\n"
    )
}

fn record(schema: &str, migration: &Migration) -> String {
    format!(
        "insert into {}.migrations (version, name, checksum) values ({}, '{}', '{}')",
        quoted(schema),
        migration.version,
        migration.name,
        migration.checksum()
    )
}
