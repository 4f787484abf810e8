//! A relay of this version on a schema that was not migrated yet, and migrating while everybody works.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use relay::postgres::{
    connect::connect,
    migrate::{History, MIGRATIONS, PATIENCE, RELAY},
};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::{
    rig::Rig,
    support::{
        broker::Broker,
        database::{Database, settings},
        relay::{Finished, RelayProcess, finish},
        servers, wait,
    },
};

/// Migrations that a version knew which gave its lanes to nobody else.
const OLDER: usize = 5;
/// Longer than a producer should ever wait for the table.
const NOT_LONG: &str = "set lock_timeout = '5s'";

/// The surroundings of a test, with so many of relay's migrations.
async fn rig(migrations: usize) -> Rig {
    let servers = servers::shared();
    let rig = Rig { database: Database::empty(servers).await, broker: Broker::new(servers).await };
    let history = History { migrations: &MIGRATIONS[..migrations], ..RELAY };
    let mut connection = connect(&settings(&rig.database.url), "test").await.unwrap();
    let applied = history.migrate(&mut connection, "relay", PATIENCE, |_| {}).await.unwrap();
    assert_eq!(applied.len(), migrations);
    rig
}

/// `relay migrate`, meanwhile.
fn migrate(rig: &Rig) -> JoinHandle<Finished> {
    let url = rig.database.url.clone();
    tokio::task::spawn_blocking(move || finish(&["migrate"], &[("DATABASE_URL", &url)]))
}

/// Somebody who adds row after row, and fails if one has to wait for long.
struct Producer {
    stop: Arc<AtomicBool>,
    added: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

impl Producer {
    async fn start(rig: &Rig) -> Self {
        let client = rig.database.session().await;
        client.batch_execute(NOT_LONG).await.unwrap();
        let (stop, added) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let task = tokio::spawn({
            let (stop, added) = (Arc::clone(&stop), Arc::clone(&added));
            async move {
                let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload)
                           values ('order', $1, 'placed', '{}')";
                while !stop.load(Relaxed) {
                    let number = added.fetch_add(1, Relaxed);
                    client.execute(sql, &[&(number % 40).to_string()]).await.expect("the table is free soon");
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        });
        Self { stop, added, task }
    }

    /// Waits until it has added as many more.
    async fn wait_more(&self, rows: i64) {
        let enough = self.added.load(Relaxed) + rows;
        wait::until("the producer goes on", wait::LONG, async || {
            assert!(!self.task.is_finished(), "the producer has failed");
            self.added.load(Relaxed) >= enough
        })
        .await;
    }

    async fn end(self) {
        self.stop.store(true, Relaxed);
        self.task.await.expect("every row was added");
    }
}

/// What others see of the relays and their lanes.
async fn ownership(rig: &Rig) -> (i64, i64, i64) {
    (
        rig.database.number("select count(*) from relay.relays").await,
        rig.database.number("select coalesce(sum(token), 0)::bigint from relay.lanes").await,
        rig.database.number("select count(*) from relay.lanes where owner is not null").await,
    )
}

fn says_what_is_pending(relay: &RelayProcess) -> bool {
    let names: Vec<_> = MIGRATIONS[OLDER..].iter().map(|migration| migration.name).collect();
    let (status, said) = relay.get("/readyz");
    status == 503 && said.contains(&format!("needs: {}; run `relay migrate`", names.join(", ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_older_schema_relay_waits_without_lanes_says_so_once_and_goes_on_when_it_is_migrated() {
    let rig = rig(OLDER).await;
    // An older relay's.
    let old = Uuid::new_v4();
    let lease = "update relay.lanes set owner = $1, token = 7, expires_at = now() + interval '1 hour'";
    rig.database.execute(lease, &[&old]).await;
    let producer = Producer::start(&rig).await;
    let relay = rig.relay().env("RELAY_LEASE_DURATION", "3s").start().await;
    wait::until("it says what is pending", wait::LONG, async || says_what_is_pending(&relay)).await;
    let before = ownership(&rig).await;
    wait::throughout("it says so once, and leaves everything alone", Duration::from_secs(4), async || {
        relay.complaints().len() == 1
            && says_what_is_pending(&relay)
            && ownership(&rig).await == before
            && relay.metric("relay_lanes_owned", &[]) == 0.0
    })
    .await;
    assert_eq!(rig.database.published().await, 0);
    assert_eq!(relay.get("/livez").0, 200);

    let migrated = migrate(&rig).await.unwrap();
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    relay.wait_ready().await;
    assert_eq!(
        relay.metric("relay_lanes_owned", &[]),
        0.0,
        "they are the older relay's until it gives them back"
    );
    producer.wait_more(10).await;
    rig.database.execute("update relay.lanes set owner = null, expires_at = '-infinity'", &[]).await;
    relay.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 32.0).await;
    producer.end().await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0, "nothing was in doubt");
    // It may have looked between two of the migrations, and then said which were left.
    assert!(relay.complaints().iter().all(|line| line.contains("lacks migrations")), "{}", relay.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_waits_for_a_migration_drains_at_once_and_complains_of_nothing() {
    let rig = rig(OLDER).await;
    let mut relay = rig.relay().start().await;
    wait::until("it says what is pending", wait::LONG, async || says_what_is_pending(&relay)).await;
    let before = ownership(&rig).await;
    relay.drain().await;
    assert_eq!(relay.complaints().len(), 1, "{}", relay.log());
    assert_eq!(ownership(&rig).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_waits_for_an_open_transaction_and_producers_do_not_wait_with_it() {
    let rig = rig(4).await;
    let producer = Producer::start(&rig).await;
    let mut report = rig.database.session().await;
    report.execute("set application_name = 'report'", &[]).await.unwrap();
    let report = report.transaction().await.unwrap();
    report.query("select count(*) from relay.outbox", &[]).await.unwrap();

    let migrating = migrate(&rig);
    let waiting = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and not granted
                   and relation = 'relay.outbox'::regclass";
    for _ in 0..3 {
        wait::until("it waits for the table", wait::LONG, async || rig.database.number(waiting).await > 0)
            .await;
        wait::until("it gives up", wait::LONG, async || rig.database.number(waiting).await == 0).await;
        producer.wait_more(20).await;
    }
    assert!(!migrating.is_finished());
    report.rollback().await.unwrap();
    let migrated = migrating.await.unwrap();
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    let said = &migrated.stderr;
    assert_eq!(said.matches("0005_suspect waits for tables in use").count(), 1, "{said}");
    assert!(said.contains("of \"report\", its transaction open for"), "{said}");
    assert!(said.contains("applied 0006_sharing"), "{said}");
    producer.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_gives_up_when_a_table_stays_in_use_and_names_who_uses_it() {
    let rig = rig(4).await;
    let mut report = rig.database.session().await;
    let report = report.transaction().await.unwrap();
    report.batch_execute("lock table relay.outbox in access share mode").await.unwrap();
    let pid: i32 = report.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let mut connection = connect(&settings(&rig.database.url), "test").await.unwrap();
    let error =
        RELAY.migrate(&mut connection, "relay", Duration::ZERO, |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("0005_suspect") && error.contains(&format!("session {pid}")), "{error}");
    assert_eq!(RELAY.pending(&connection.client, "relay").await.unwrap().len(), MIGRATIONS.len() - 4);
    report.rollback().await.unwrap();
    RELAY.migrate(&mut connection, "relay", Duration::ZERO, |_| {}).await.expect("the same again works");
}
