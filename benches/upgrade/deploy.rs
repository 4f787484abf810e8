//! One deploy: a database, a corner of the broker, producers, and what is said of it.

use relay::postgres::{connect::connect, migrate::RELAY};

use crate::{
    load::Load,
    rig::Rig,
    support::{
        broker::Broker,
        database::{Database, settings},
        relay::{RelayProcess, finish, finish_of},
        servers, wait,
    },
};

/// Rows that are added in a phase, after what it begins with has happened.
const ROWS: i64 = 500;

pub struct Deploy {
    rig: Rig,
    older: String,
    load: Load,
    /// When the phase began, in microseconds of the database's clock.
    since: i64,
    /// When the first relays had caught up.
    start: i64,
}

impl Deploy {
    /// With the older version's schema; producers begin.
    pub async fn begin(title: &str, older: &str) -> Self {
        println!("{title}");
        let servers = servers::shared();
        let rig = Rig { database: Database::empty(servers).await, broker: Broker::new(servers).await };
        let migrated = finish_of(older, &["migrate"], &[("DATABASE_URL", &rig.database.url)]);
        assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
        let load = Load::start(&rig).await;
        let since = clock(&rig).await;
        Self { rig, older: older.to_owned(), load, since, start: since }
    }

    pub async fn older(&self) -> RelayProcess {
        self.rig.relay().program(&self.older).ready().await
    }

    pub async fn newer(&self) -> RelayProcess {
        self.rig.relay().ready().await
    }

    /// It may have to wait for the schema.
    pub async fn newer_started(&self) -> RelayProcess {
        self.rig.relay().start().await
    }

    /// Whether the schema lacks what the newer version needs.
    pub async fn is_behind(&self) -> bool {
        let connection =
            connect(&settings(&self.rig.database.url), "test").await.expect("the database is there");
        !RELAY.pending(&connection.client, "relay").await.expect("there is a history").is_empty()
    }

    /// By the newer version.
    pub async fn migrate(&self) {
        let url = self.rig.database.url.clone();
        let migrating = tokio::task::spawn_blocking(move || finish(&["migrate"], &[("DATABASE_URL", &url)]));
        let migrated = migrating.await.expect("it ends");
        assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    }

    /// Waits until these relays have all lanes, each its share.
    pub async fn wait_shared(&self, relays: &[RelayProcess]) {
        wait::until("the lanes are shared", wait::LONG, async || {
            let owned: Vec<f64> = relays.iter().map(|relay| relay.metric("relay_lanes_owned", &[])).collect();
            let (most, least) = owned
                .iter()
                .fold((0.0_f64, 32.0_f64), |(most, least), lanes| (most.max(*lanes), least.min(*lanes)));
            owned.iter().sum::<f64>() == 32.0 && most - least <= 1.0
        })
        .await;
    }

    /// The first relays run: from here on nothing is to stand still.
    pub async fn runs(&mut self, what: &str) {
        let caught_up = async || self.rig.database.unfinished().await < 100;
        wait::until("the first relays have caught up", wait::LONG, caught_up).await;
        self.since = clock(&self.rig).await;
        self.start = self.since;
        self.phase(what).await;
    }

    /// A phase ends when some more rows have gone out; says how long the slowest of it took.
    pub async fn phase(&mut self, what: &str) {
        self.load.wait_more(ROWS).await;
        let end = clock(&self.rig).await;
        let since = std::mem::replace(&mut self.since, end);
        let pending = format!(
            "select count(*) from relay.outbox where published_at is null and {}",
            between(since, end)
        );
        wait::until("the rows of the phase are out", wait::LONG, async || {
            self.rig.database.number(&pending).await == 0
        })
        .await;
        println!("  {:>5} ms at most: {what}", slowest(&self.rig, since, end).await);
    }

    /// The account of it.
    pub async fn end(self) {
        let rows = self.load.end().await;
        let duplicates = self.rig.assert_all_went_out(wait::LONG).await;
        let end = clock(&self.rig).await;
        let slowest = slowest(&self.rig, self.start, end).await;
        assert_eq!(duplicates, 0, "nothing was in doubt");
        println!("  {rows} rows, all out, in order, {duplicates} twice; the slowest after {slowest} ms");
    }
}

/// The longest from the beginning of a row's transaction to its mark, in milliseconds.
async fn slowest(rig: &Rig, since: i64, end: i64) -> i64 {
    let sql = format!(
        "select coalesce(max(extract(epoch from published_at - created_at) * 1000), 0)::bigint
         from relay.outbox where {}",
        between(since, end)
    );
    rig.database.number(&sql).await
}

fn between(since: i64, end: i64) -> String {
    format!(
        "extract(epoch from created_at) * 1000000 >= {since} and extract(epoch from created_at) * 1000000 < {end}"
    )
}

async fn clock(rig: &Rig) -> i64 {
    rig.database.number("select (extract(epoch from clock_timestamp()) * 1000000)::bigint").await
}
