//! Migrations: numbered, immutable, checksummed, applied under an advisory lock, each in its own transaction.

use tokio_postgres::Client;

use super::{
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
}

/// A key of Postgres' advisory locks, for the time of a migration: the bytes of "relaymig".
const LOCK: i64 = 0x7265_6c61_796d_6967;

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

    /// Compares the database with this program.
    ///
    /// # Errors
    /// When the history can't be read, or a migration was changed after it had been applied.
    pub async fn state(&self, client: &Client, schema: &str) -> Result<State, DatabaseError> {
        let known: bool = client
            .query_one("select to_regclass($1) is not null", &[&format!("{}.migrations", quoted(schema))])
            .await?
            .try_get(0)?;
        let mut state = State { pending: self.migrations.to_vec(), unknown: Vec::new() };
        if !known {
            return Ok(state);
        }
        let rows = client
            .query(
                &format!("select version, checksum from {}.migrations order by version", quoted(schema)),
                &[],
            )
            .await?;
        for row in rows {
            let (version, checksum): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
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

    /// Applies what is pending; returns the names of what was applied.
    ///
    /// # Errors
    /// When a statement fails: its migration is rolled back, earlier ones stay.
    pub async fn migrate(
        &self,
        connection: &mut Connection,
        schema: &str,
    ) -> Result<Vec<&'static str>, DatabaseError> {
        let client = &mut connection.client;
        // Building an index may take longer than any query should.
        client.batch_execute("set statement_timeout = 0; set lock_timeout = 0").await?;
        client.execute("select pg_advisory_lock($1)", &[&LOCK]).await?;
        // Another migrator may take its time; a table that is in use may not.
        client.batch_execute("set lock_timeout = '30s'").await?;
        let applied = self.apply(client, schema).await;
        let unlocked = client.execute("select pg_advisory_unlock($1)", &[&LOCK]).await;
        let applied = applied?;
        unlocked?;
        Ok(applied)
    }

    async fn apply(&self, client: &mut Client, schema: &str) -> Result<Vec<&'static str>, DatabaseError> {
        let mut applied = Vec::new();
        let exists: bool = client
            .query_one("select to_regclass($1) is not null", &[&format!("{}.migrations", quoted(schema))])
            .await?
            .try_get(0)?;
        if !exists {
            client.batch_execute(&preamble(schema)).await?;
        }
        for migration in self.state(client, schema).await?.pending {
            let transaction = client.transaction().await?;
            transaction.batch_execute(&renamed(migration.sql, self.written_for, schema)).await?;
            transaction.batch_execute(&record(schema, &migration)).await?;
            transaction.commit().await?;
            applied.push(migration.name);
        }
        Ok(applied)
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
