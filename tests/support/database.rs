//! A database for each test, cloned from a template that was migrated once, by the binary itself.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use relay::postgres::{
    migrate::MIGRATIONS,
    settings::{DatabaseSettings, Tls},
};
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls, Row, types::ToSql};
use uuid::Uuid;

use super::{servers::Servers, wait};

/// A key of advisory locks, of whoever makes the template: the bytes of "relaytst".
const LOCK: i64 = 0x7265_6c61_7974_7374;

/// Connects; the connection's task ends with the client.
pub async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// How relay is to reach it.
pub fn settings(url: &str) -> DatabaseSettings {
    DatabaseSettings {
        config: url.parse().expect("a URL"),
        tls: Tls::Disable,
        ca_file: None,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(30),
        pooled: false,
        schema: "relay".to_owned(),
    }
}

/// The URL with another database.
fn in_database(url: &str, name: &str) -> String {
    let (base, query) =
        url.split_once('?').map_or((url, String::new()), |(base, query)| (base, format!("?{query}")));
    let authority = base.find("://").map_or(0, |at| at + 3);
    let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
    format!("{}/{name}{query}", &base[..end])
}

/// What a row has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub published: bool,
    pub dead_reason: Option<String>,
    pub attempts: i32,
    pub state: String,
    pub last_error: Option<String>,
}

/// A database of one test's own, dropped with it.
#[derive(Debug)]
pub struct Database {
    pub url: String,
    name: String,
    admin_url: String,
    client: Mutex<Option<Arc<Client>>>,
}

impl Database {
    /// With relay's tables.
    pub async fn new(servers: &Servers) -> Self {
        let template = template(servers).await;
        Self::create(servers, Some(&template)).await
    }

    /// Without anything.
    pub async fn empty(servers: &Servers) -> Self {
        Self::create(servers, None).await
    }

    async fn create(servers: &Servers, template: Option<&str>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("relay_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let admin_url = servers.database_url.clone();
        let admin = connect(&admin_url).await.expect("the database server of the tests is reachable");
        let from = template.map(|template| format!("template {template}")).unwrap_or_default();
        admin.batch_execute(&format!("drop database if exists {name} with (force)")).await.expect("drop");
        admin.batch_execute(&format!("create database {name} {from}")).await.expect("create database");
        Self { url: in_database(&admin_url, &name), name, admin_url, client: Mutex::new(None) }
    }

    /// A new session.
    pub async fn session(&self) -> Client {
        wait::found("a session", wait::LONG, async || connect(&self.url).await.ok()).await
    }

    /// The session of the methods below. Made anew after the server was away.
    pub async fn client(&self) -> Arc<Client> {
        let mut kept = self.client.lock().await;
        match &*kept {
            Some(client) if !client.is_closed() => Arc::clone(client),
            _ => Arc::clone(kept.insert(Arc::new(self.session().await))),
        }
    }

    pub async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        self.client().await.query(sql, params).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> u64 {
        self.client().await.execute(sql, params).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// One number.
    pub async fn number(&self, sql: &str) -> i64 {
        self.query(sql, &[]).await[0].get(0)
    }

    /// Adds one plain row; returns its seq.
    pub async fn insert(&self, aggregate_id: &str, event_type: &str) -> i64 {
        insert(&*self.client().await, aggregate_id, event_type).await
    }

    /// Adds `rows` rows, spread over `keys` keys in turn, in one transaction. The payload is the row's number.
    pub async fn insert_many(&self, rows: i32, keys: i32) {
        let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload)
                   select 'order', 'k' || n % $2, 'placed', to_jsonb(n) from generate_series(1, $1) n";
        assert_eq!(self.execute(sql, &[&rows, &keys]).await, u64::try_from(rows).unwrap());
    }

    /// What became of a row.
    pub async fn state(&self, seq: i64) -> State {
        let sql = "select published_at is not null, dead_reason, attempts, state, last_error
                   from relay.outbox where seq = $1";
        let rows = self.query(sql, &[&seq]).await;
        let row = &rows[0];
        let dead_reason: Option<String> = row.get(1);
        State {
            published: row.get(0),
            dead_reason,
            attempts: row.get(2),
            state: row.get(3),
            last_error: row.get(4),
        }
    }

    /// The id under which a row is published.
    pub async fn event_id(&self, seq: i64) -> String {
        let id: Uuid =
            self.query("select event_id from relay.outbox where seq = $1", &[&seq]).await[0].get(0);
        id.to_string()
    }

    /// The ids of all rows, in seq order.
    pub async fn event_ids(&self) -> Vec<String> {
        let rows = self.query("select event_id from relay.outbox order by seq", &[]).await;
        rows.iter().map(|row| row.get::<_, Uuid>(0).to_string()).collect()
    }

    /// Rows neither published nor dead.
    pub async fn unfinished(&self) -> i64 {
        self.number("select count(*) from relay.outbox where published_at is null and dead_at is null").await
    }

    /// Rows published.
    pub async fn published(&self) -> i64 {
        self.number("select count(*) from relay.outbox where published_at is not null").await
    }

    /// Waits until a row is published.
    pub async fn wait_published(&self, seq: i64) {
        wait::until(&format!("row {seq} is published"), wait::LONG, async || self.state(seq).await.published)
            .await;
    }

    /// Waits until every row is published or dead.
    pub async fn wait_finished(&self, limit: Duration) {
        wait::until("every row is published or dead", limit, async || self.unfinished().await == 0).await;
    }
}

/// As [`Database::insert`], in a session (and transaction) of the caller's.
pub async fn insert(
    client: &impl tokio_postgres::GenericClient,
    aggregate_id: &str,
    event_type: &str,
) -> i64 {
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload)
               values ('order', $1, $2, '{}') returning seq";
    client.query_one(sql, &[&aggregate_id, &event_type]).await.expect("the row is stored").get(0)
}

impl Drop for Database {
    fn drop(&mut self) {
        let (url, name) = (self.admin_url.clone(), self.name.clone());
        // Best effort: a test may have taken the server down.
        finally(async move {
            if let Ok(admin) = connect(&url).await {
                let _ = admin.batch_execute(&format!("drop database if exists {name} with (force)")).await;
            }
        });
    }
}

/// Runs a clean-up to its end, from a drop.
pub fn finally(work: impl Future<Output = ()> + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            let _ = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), work).await });
        }
    });
    let _ = thread.join();
}

/// Makes the template of these migrations unless it exists; returns its name.
async fn template(servers: &Servers) -> String {
    let checksums: String = MIGRATIONS.iter().map(|migration| migration.checksum()).collect();
    let hash = checksums.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let name = format!("relay_template_{hash:016x}");
    let admin = connect(&servers.database_url).await.expect("the database server of the tests is reachable");
    // Tests of several processes may want it at once. The lock goes with the session.
    admin.execute("select pg_advisory_lock($1)", &[&LOCK]).await.expect("lock");
    let exists = admin.query("select from pg_database where datname = $1", &[&name]).await.expect("look");
    if exists.is_empty() {
        let unfinished = format!("{name}_new");
        admin
            .batch_execute(&format!("drop database if exists {unfinished} with (force)"))
            .await
            .expect("drop");
        admin.batch_execute(&format!("create database {unfinished}")).await.expect("create");
        let migrate = Command::new(env!("CARGO_BIN_EXE_relay"))
            .arg("migrate")
            .env_clear()
            .env("DATABASE_URL", in_database(&servers.database_url, &unfinished))
            .output()
            .expect("relay can be run");
        assert!(migrate.status.success(), "{}", String::from_utf8_lossy(&migrate.stderr));
        // A connection that just ended may be counted for a moment yet.
        let rename = format!("alter database {unfinished} rename to {name}");
        wait::until("the template is free", wait::LONG, async || admin.batch_execute(&rename).await.is_ok())
            .await;
    }
    name
}
