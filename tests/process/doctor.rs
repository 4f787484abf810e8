//! `relay doctor`, where the database or the outbox in it is not as it should be.

use relay::{
    operator::doctor::Check,
    postgres::{
        migrate::RELAY,
        shape::{Kind, parts},
    },
};
use serde_json::Value;

use crate::{
    poolers::{SESSIONS, assert_nothing_left},
    rig::Rig,
    support::{
        broker::Broker,
        database::Database,
        pooler::Pooler,
        relay::{Finished, finish},
        servers, wait,
    },
};

/// What it says between a test's database and its corner of the broker.
pub struct Doctor<'a> {
    env: Vec<(&'a str, String)>,
}

impl<'a> Doctor<'a> {
    pub fn new(database: &Database, broker: &Broker) -> Self {
        let env = [
            ("DATABASE_URL", &database.url),
            ("AMQP_URL", &broker.url),
            ("RELAY_OUTBOX_EXCHANGE", &broker.exchange),
            ("RELAY_DEAD_LETTER_EXCHANGE", &broker.dead_letter_exchange),
            ("RELAY_DEAD_LETTER_QUEUE", &broker.dead_letter_queue),
        ];
        let env = env.map(|(name, value)| (name, value.clone()));
        Self { env: env.into() }
    }

    pub fn env(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name, value.into()));
        self
    }

    pub fn run(&self, args: &[&str]) -> Finished {
        let env: Vec<(&str, &str)> = self.env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        finish(&[&["doctor"], args].concat(), &env)
    }

    pub fn says(&self) -> Said {
        let finished = self.run(&["-o", "json"]);
        let report = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", finished.stdout, finished.stderr));
        Said { code: finished.code.unwrap(), report }
    }
}

/// What it said.
pub struct Said {
    pub code: i32,
    pub report: Value,
}

impl Said {
    pub fn of(&self, check: Check) -> Vec<&Value> {
        let findings = self.report["findings"].as_array().unwrap();
        findings.iter().filter(|finding| finding["check"] == check.as_str()).collect()
    }

    /// That check found this trouble, in these words, and names this cure.
    #[track_caller]
    pub fn assert(&self, check: Check, verdict: &str, what: &str, cure: &str) {
        let text = |finding: &Value, part: &str| finding[part].as_str().unwrap_or_default().to_owned();
        let found = self.of(check).iter().any(|finding| {
            finding["verdict"] == verdict
                && text(finding, "what").contains(what)
                && text(finding, "cure").contains(cure)
        });
        assert!(found, "no {verdict} of {check} says {what:?} and {cure:?}: {:#}", self.report);
    }

    /// That check found nothing wrong.
    #[track_caller]
    pub fn assert_well(&self, check: Check) {
        let found = self.of(check);
        assert!(
            !found.is_empty() && found.iter().all(|finding| finding["verdict"] == "ok"),
            "{check} is not ok: {:#}",
            self.report
        );
    }

    /// Nothing but this went wrong.
    #[track_caller]
    pub fn assert_only(&self, checks: &[Check]) {
        for check in Check::ALL.iter().filter(|check| !checks.contains(check)) {
            self.assert_well(*check);
        }
    }
}

/// The tables and columns, the dead-letter objects and everything else as a relay has left them.
async fn run_once(rig: &Rig) {
    let mut relay = rig.relay().ready().await;
    let seq = rig.database.insert("1", "placed").await;
    rig.database.wait_published(seq).await;
    relay.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well_before_a_relay_ran_while_one_runs_and_after() {
    let rig = Rig::new().await;
    let doctor = Doctor::new(&rig.database, &rig.broker);
    let tables = |client: tokio_postgres::Client| async move {
        let sql = "select (select count(*) from relay.outbox) + (select count(*) from relay.relays)
                   + (select count(*) from relay.audit) + (select count(*) from relay.held_keys)";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    for _ in 0..2 {
        let said = doctor.says();
        said.assert_only(&[]);
        assert_eq!((said.code, &said.report["verdict"]), (0, &"ok".into()), "{:#}", said.report);
        assert_eq!(tables(rig.database.session().await).await, 0, "it writes nothing");
        // Nor does it declare anything, or publish to what is there.
        said.assert(Check::DeadLetterQueue, "ok", "relay run declares it", "");
        said.assert(Check::Exchange, "ok", "takes messages", "");
        assert!(rig.broker.tapped().await.is_empty());
    }
    let mut relay = rig.relay().ready().await;
    let seq = rig.database.insert("1", "placed").await;
    rig.database.wait_published(seq).await;
    assert_eq!(rig.broker.wait_tapped(1).await.len(), 1);
    let said = doctor.says();
    said.assert_only(&[]);
    said.assert(Check::DeadLetterQueue, "ok", "quorum queue with 0 letters", "");
    said.assert(Check::Lanes, "ok", "32 lanes, relays: 1", "");
    said.assert(Check::Routes, "ok", "1 found a queue", "");
    said.assert(Check::RoundTrip, "ok", "confirmed in", "");
    assert!(rig.broker.tapped().await.is_empty(), "a probe was delivered");
    relay.drain().await;
    let said = doctor.run(&[]);
    assert_eq!(said.code, Some(0), "{}", said.stdout);
    assert!(said.stdout.contains("warnings: 0, failures: 0"), "{}", said.stdout);
    for check in Check::ALL {
        assert!(said.stdout.contains(check.as_str()), "{check} is not told: {}", said.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_migrations_text_tells_just_what_they_make() {
    let rig = Rig::new().await;
    let sql = include_str!("../../sql/queries/catalog/parts.sql");
    let rows = rig.database.query(sql, &[&"relay"]).await;
    let there = rows.iter().map(|row| {
        let of = row.get::<_, Option<&str>>(1).unwrap_or_default();
        format!("{} {of} {}", row.get::<_, &str>(0), row.get::<_, &str>(2))
    });
    // The history comes before all of them.
    let mut there: Vec<String> = there.filter(|part| !part.contains(" migrations")).collect();
    let told = parts(&RELAY);
    let mut told: Vec<String> =
        told.iter().map(|part| format!("{} {} {}", part.kind.as_str(), part.of, part.name)).collect();
    there.sort();
    told.sort();
    assert_eq!(told, there);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_with_the_statement_that_makes_it_again() {
    let rig = Rig::new().await;
    let doctor = Doctor::new(&rig.database, &rig.broker);
    let triggers = async || {
        let sql = "select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal";
        rig.database.query(sql, &[]).await.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
    };
    let made = triggers().await;
    let breakages = [
        ("drop index relay.outbox_ready", Check::Indexes, "warning"),
        ("alter table relay.outbox drop constraint outbox_event_id_key", Check::Indexes, "failure"),
        ("alter table relay.outbox drop column suspect", Check::Tables, "failure"),
        ("drop trigger wake on relay.outbox", Check::Trigger, "warning"),
        ("alter table relay.outbox disable trigger wake", Check::Trigger, "warning"),
        ("alter table relay.outbox alter column seq set cache 50", Check::Sequence, "failure"),
        ("alter table relay.outbox set (autovacuum_enabled = false)", Check::Autovacuum, "warning"),
        (
            "update pg_index set indisvalid = false where indexrelid = 'relay.outbox_dead'::regclass",
            Check::Indexes,
            "warning",
        ),
    ];
    for (breakage, check, verdict) in breakages {
        rig.database.execute(breakage, &[]).await;
        let said = doctor.says();
        said.assert(check, verdict, "", "");
        // Rows are not looked at where a column is missing.
        let depending: &[Check] = if check == Check::Tables {
            &[Check::Backlog, Check::Lanes, Check::Dead, Check::Routes]
        } else {
            &[]
        };
        said.assert_only(&[&[check], depending].concat());
        assert_eq!(said.code, if verdict == "failure" { 2 } else { 1 }, "{breakage}: {:#}", said.report);
        // The cure is one.
        let cure = said.of(check)[0]["cure"].as_str().unwrap().to_owned();
        rig.database
            .client()
            .await
            .batch_execute(&cure)
            .await
            .unwrap_or_else(|error| panic!("{cure}: {error:?}"));
        let said = doctor.says();
        said.assert_only(&[]);
        assert_eq!(said.code, 0, "after {cure}: {:#}", said.report);
    }
    assert_eq!(triggers().await, made, "the trigger is another one now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_without_tables_or_with_older_ones_is_to_be_migrated() {
    let servers = servers::shared();
    let (database, broker) = (Database::empty(servers).await, Broker::named(servers));
    let doctor = Doctor::new(&database, &broker);
    let said = doctor.says();
    assert_eq!(said.code, 2);
    said.assert(Check::Migrations, "failure", "no tables", "relay migrate");
    said.assert(Check::Trigger, "skipped", "needs schema.migrations", "");
    said.assert(Check::Backlog, "skipped", "needs schema.migrations", "");
    // It goes on with what does not depend on them.
    said.assert_well(Check::Listen);
    said.assert_well(Check::RoundTrip);
    let rig = Rig::new().await;
    let sql =
        "delete from relay.migrations where version = 6; alter table relay.relays drop column expires_at";
    rig.database.client().await.batch_execute(sql).await.unwrap();
    let doctor = Doctor::new(&rig.database, &rig.broker);
    let said = doctor.says();
    said.assert(Check::Migrations, "failure", "0006_sharing", "relay migrate");
    said.assert(Check::Tables, "skipped", "needs schema.migrations", "");
    let newer = "insert into relay.migrations (version, name, checksum) values (999, 'later', '0');
                 alter table relay.relays add column expires_at timestamptz;
                 insert into relay.migrations (version, name, checksum) select 6, 'x', '0'";
    rig.database.client().await.batch_execute(newer).await.unwrap();
    doctor.says().assert(Check::Migrations, "failure", "was changed after it had been applied", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_right_that_a_role_lacks_is_named() {
    let rig = Rig::new().await;
    let role = format!("doctor_{}", std::process::id());
    let sql = format!(
        "create role {role} login password 'relay'; revoke execute on all functions in schema relay from public"
    );
    rig.database.client().await.batch_execute(&sql).await.unwrap();
    let grant = |purpose: &'static str| {
        let done = finish(&["migrate", purpose, &role], &[("DATABASE_URL", &rig.database.url)]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    };
    let (start, end) = rig.database.url.split_once("://").unwrap();
    let (_, host) = end.split_once('@').unwrap();
    let url = format!("{start}://{role}:relay@{host}");
    let doctor = Doctor::new(&rig.database, &rig.broker).env("DATABASE_URL", url);
    let said = doctor.says();
    said.assert(
        Check::Rights,
        "failure",
        "usage the schema",
        &format!("relay migrate --grant-run-to {role}"),
    );
    said.assert(Check::Migrations, "skipped", "needs schema.rights", "");
    said.assert_well(Check::Tables);
    said.assert_well(Check::RoundTrip);
    grant("--grant-run-to");
    let said = doctor.says();
    said.assert_well(Check::Rights);
    said.assert(
        Check::Retention,
        "warning",
        "delete outbox",
        &format!("relay migrate --grant-prune-to {role}"),
    );
    said.assert_only(&[Check::Retention]);
    assert_eq!(said.code, 1);
    assert_eq!(doctor.run(&["--fail-on", "warning"]).code, Some(1));
    let lenient = doctor.run(&["--fail-on", "failure"]);
    assert_eq!(lenient.code, Some(0), "a warning is no failure: {}", lenient.stdout);
    assert!(
        lenient.stdout.contains("warnings: 1, failures: 0"),
        "it is told all the same: {}",
        lenient.stdout
    );
    grant("--grant-prune-to");
    doctor.says().assert_only(&[]);
    for (revoke, lacks) in [
        ("usage on schema relay", "usage the schema"),
        ("select on relay.outbox", "select outbox"),
        ("update (suspect) on relay.outbox", "update outbox (suspect)"),
        ("select on sequence relay.outbox_seq_seq", "select sequence outbox_seq_seq"),
        ("execute on function relay.close_released", "execute function close_released"),
        ("insert on relay.relays", "insert relays"),
        ("select (affected) on relay.audit", "select audit (affected)"),
    ] {
        rig.database.execute(&format!("revoke {revoke} from {role}"), &[]).await;
        let said = doctor.says();
        assert_eq!(said.code, 2, "without {revoke}: {:#}", said.report);
        said.assert(Check::Rights, "failure", lacks, "--grant-run-to");
        grant("--grant-run-to");
    }
    let said = doctor.env("RELAY_RETENTION_PUBLISHED", "off").says();
    said.assert(Check::Retention, "skipped", "retention.published", "");
    rig.database
        .client()
        .await
        .batch_execute(&format!("drop owned by {role}; drop role {role}"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_is_found_and_nothing_is_left_in_its_sessions() {
    let rig = Rig::new().await;
    let pooler = Pooler::before(&rig.database.url, SESSIONS).await;
    let doctor = Doctor::new(&rig.database, &rig.broker);
    let through = Doctor::new(&rig.database, &rig.broker).env("DATABASE_URL", pooler.url());
    let said = through.says();
    assert_eq!(said.code, 2, "{:#}", said.report);
    said.assert(Check::Pooler, "failure", "lends sessions for a transaction", "database.pooled = true");
    said.assert(Check::Listen, "skipped", "needs postgres.pooler", "");
    said.assert_only(&[Check::Pooler, Check::Listen]);
    let pooled = through.env("RELAY_DATABASE_POOLED", "true");
    let said = pooled.says();
    said.assert(Check::Pooler, "ok", "as database.pooled says", "");
    said.assert(Check::Listen, "skipped", "database.listen_url", "");
    assert_eq!(said.code, 0, "{:#}", said.report);
    let direct = pooled.env("RELAY_DATABASE_LISTEN_URL", rig.database.url.clone());
    direct.says().assert_only(&[]);
    let deaf = direct.env("RELAY_DATABASE_LISTEN_URL", pooler.url());
    deaf.says().assert(Check::Listen, "warning", "leads through a pooler", "database.listen_url");
    assert_nothing_left(&pooler, &rig.database).await;
    // Somebody else's database hears nothing.
    let other = Database::empty(servers::shared()).await;
    let said = doctor.env("RELAY_DATABASE_LISTEN_URL", other.url.clone()).says();
    said.assert(Check::Listen, "warning", "passed no notification on", "name the same database");
    assert_eq!(said.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_is_no_primary_and_sessions_that_are_ended_are_told() {
    let rig = Rig::new().await;
    let name = rig.database.url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let doctor = Doctor::new(&rig.database, &rig.broker);
    for (setting, check, verdict) in [
        ("default_transaction_read_only = on", Check::Primary, "failure"),
        ("idle_session_timeout = '1min'", Check::Sessions, "warning"),
        ("synchronous_commit = off", Check::Server, "warning"),
    ] {
        let alter = format!("alter database {name} set {setting}");
        rig.database.client().await.batch_execute(&alter).await.unwrap();
        let said = doctor.says();
        said.assert(check, verdict, "", "alter role \"postgres\" in database");
        assert!(matches!(said.code, 1 | 2));
        let cure = said.of(check)[0]["cure"].as_str().unwrap().to_owned();
        let admin = crate::support::database::connect(&servers::shared().database_url).await.unwrap();
        admin.batch_execute(&cure).await.unwrap();
        doctor.says().assert_only(&[]);
    }
    let limit = format!("alter database {name} connection limit 4");
    rig.database.client().await.batch_execute(&limit).await.unwrap();
    doctor.says().assert(Check::Sessions, "warning", "connections are left to role", "raise max_connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_wait_dead_rows_and_whoever_holds_vacuum_back_are_told() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let doctor = Doctor::new(&rig.database, &rig.broker);
    let mut relay = rig.relay().env("RELAY_RETRY_MAX_ATTEMPTS", "1").ready().await;
    rig.database.insert("1", "placed").await;
    let lost = rig.database.insert("2", "shipped").await;
    rig.database.wait_finished(wait::LONG).await;
    assert_eq!(rig.database.state(lost).await.dead_reason.as_deref(), Some("unroutable"));
    let said = doctor.says();
    said.assert(Check::Dead, "warning", "1 dead rows", "relay dlq list");
    said.assert(
        Check::Routes,
        "warning",
        "no queue took \"order.shipped\"",
        "routing_key=order.shipped; then relay replay-dlq",
    );
    said.assert(Check::Routes, "ok", "1 found a queue", "");
    assert_eq!(said.code, 1);
    // With a queue and a replay all is well again.
    rig.broker.bind(&rig.broker.tap, &rig.broker.exchange, "order.shipped").await;
    let replayed = finish(
        &["replay-dlq", "--all", "--yes", "--no-dlq-cleanup"],
        &[("DATABASE_URL", rig.database.url.as_str())],
    );
    assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
    rig.database.wait_published(lost).await;
    doctor.says().assert_only(&[]);
    relay.kill9();
    rig.database.execute("update relay.relays set seen_at = now() - interval '1 hour'", &[]).await;
    doctor.says().assert(Check::Lanes, "warning", "no relay lives", "relay run");
    // A row that is late, one that may not go where it says, and one that waits for its letter.
    let rows = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, exchange, created_at, available_at)
                values ('order', '3', 'placed', '{}', 'elsewhere', now() - interval '1 hour', now() - interval '1 hour')";
    rig.database.execute(rows, &[]).await;
    let rows = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, state, attempts, first_failed_at, available_at, last_error)
                values ('order', '4', 'billed', '{}', 'waiting', 8, now(), now() + interval '1 hour',
                        'returned by the broker: 312 NO_ROUTE; its dead letter could not be published: 312 NO_ROUTE')";
    rig.database.execute(rows, &[]).await;
    let mut session = rig.database.session().await;
    let pid: i32 = session.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let transaction = session.transaction().await.unwrap();
    transaction.execute("select pg_current_xact_id()", &[]).await.unwrap();
    let age = "select count(*) from pg_stat_activity where pid = $1 and clock_timestamp() - xact_start > interval '10 ms'";
    let old = async || rig.database.query(age, &[&pid]).await[0].get::<_, i64>(0) == 1;
    wait::until("it is old", wait::LONG, old).await;
    let said = doctor.env("RELAY_DATABASE_OLD_TRANSACTION", "10ms").says();
    assert_eq!(said.code, 2);
    said.assert(Check::Backlog, "warning", "the oldest is due for", "relay run");
    said.assert(Check::Lanes, "failure", "and rows wait that are due", "relay run");
    said.assert(
        Check::Cleanup,
        "warning",
        &format!("session {pid}"),
        &format!("pg_terminate_backend({pid})"),
    );
    said.assert(Check::Routes, "warning", "\"elsewhere\", which is not allowed", "outbox.allowed_exchanges");
    said.assert(Check::Routes, "warning", "no queue took \"order.billed\"", "routing_key=order.billed");
    said.assert(Check::DeadLetterBinding, "failure", "312 NO_ROUTE", "rabbitmqadmin declare binding");
    said.assert_well(Check::Dead);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_hangs_or_refuses_is_told_in_time_and_the_broker_all_the_same() {
    let rig = Rig::new().await;
    run_once(&rig).await;
    let (proxy, through) = crate::rig::through_proxy(&rig.database.url).await;
    let doctor = Doctor::new(&rig.database, &rig.broker)
        .env("DATABASE_URL", through)
        .env("RELAY_DATABASE_CONNECT_TIMEOUT", "1s");
    doctor.says().assert_only(&[]);
    for (name, fault) in [("refuses", true), ("hangs", false)] {
        if fault {
            proxy.refuse();
        } else {
            proxy.thaw();
            proxy.freeze();
        }
        let said = doctor.says();
        assert_eq!(said.code, 2, "{name}");
        said.assert(Check::Database, "failure", "", "pg_isready -h 127.0.0.1 -p");
        said.assert(Check::Rights, "skipped", "needs postgres.connection", "");
        said.assert_well(Check::RoundTrip);
        said.assert_well(Check::DeadLetterQueue);
        said.assert(Check::Routes, "skipped", "needs", "");
    }
    let said = Doctor::new(&rig.database, &rig.broker)
        .env("DATABASE_URL", format!("{}_none", rig.database.url))
        .says();
    said.assert(Check::Database, "failure", "does not exist", "create the database");
    // All of it has an end.
    let said = doctor.run(&["--timeout", "10ms"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stdout.contains("relay doctor --timeout"), "{}", said.stdout);
}

#[test]
fn a_bad_configuration_is_no_finding() {
    let said = finish(&["doctor"], &[("DATABASE_URL", "nonsense://x")]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(78), ""), "{}", said.stderr);
}

#[test]
fn every_kind_of_part_is_one_of_the_catalogs() {
    let sql = include_str!("../../sql/queries/catalog/parts.sql");
    for kind in [Kind::Table, Kind::Column, Kind::Index, Kind::Trigger, Kind::Function] {
        assert!(sql.contains(&format!("'{}'", kind.as_str())), "{kind:?}");
    }
}
