//! The server: whether it is there, takes writes, and treats sessions as relay needs it.

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, mpsc};
use tokio_postgres::{SimpleQueryMessage, config::TargetSessionAttrs};
use uuid::Uuid;

use super::{Check, Checkup, human, routes::Seen, schema, state};
use crate::{
    daemon::OutboxSettings,
    outbox::cleanup::{Holder, Kind},
    postgres::{
        connect::{Connection, DatabaseError, Ear, answered, connect, connect_listening},
        settings::DatabaseSettings,
        value::Micros,
    },
};

const NAME: &str = "relay doctor";
/// The oldest version that relay is tested with.
const OLDEST: i32 = 14;
/// Connections that one relay takes.
const CONNECTIONS: i64 = 6;
/// How long a notification may take.
const HEARING: Duration = Duration::from_secs(5);
/// Clocks further apart than this are no accident: NTP keeps them within milliseconds.
const SKEW: Duration = Duration::from_secs(2);

/// What can be asked only of a database that answers, in order.
const REST: [Check; 18] = [
    Check::Server,
    Check::Primary,
    Check::Pooler,
    Check::Listen,
    Check::Sessions,
    Check::Clock,
    Check::Cleanup,
    Check::Rights,
    Check::Migrations,
    Check::Tables,
    Check::Indexes,
    Check::Trigger,
    Check::Retention,
    Check::Sequence,
    Check::Autovacuum,
    Check::Backlog,
    Check::Lanes,
    Check::Dead,
];

/// Who asks, and whom.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) role: String,
    database: String,
    replica: bool,
    read_only: bool,
    version: String,
    major: i32,
    free: Option<i64>,
    idle_limit: i64,
    transaction_limit: i64,
    synchronous: bool,
}

/// Looks at the database and the outbox in it; returns what was published lately, where that could be seen.
pub(super) async fn examine(checkup: &mut Checkup, settings: &OutboxSettings) -> Option<Seen> {
    // As if through a pooler in any case: nothing is left in a session that may be somebody else's in a moment.
    let database = DatabaseSettings { pooled: true, ..settings.database.clone() };
    let reached = match checkup.in_time(Check::Database, reach(&database)).await {
        Some(Ok(reached)) => reached,
        Some(Err(error)) => {
            let cure = error.cure().map_or_else(|| unreachable_cure(&database), str::to_owned);
            checkup.fail(Check::Database, error.to_string(), cure);
            checkup.skip_all(&REST, Check::Database);
            return None;
        }
        None => {
            checkup.skip_all(&REST, Check::Database);
            return None;
        }
    };
    let Reached { settings: database, connection, took } = reached;
    let encrypted = if database.encrypted() { "encrypted and verified" } else { "in plaintext" };
    checkup.ok(Check::Database, format!("{} in {}, {encrypted}", database.server(), millis(took)));
    let Some(server) = checkup.ask(Check::Server, &connection, describe(&connection)).await else {
        checkup.skip_all(&REST[1..], Check::Server);
        return None;
    };
    version(checkup, &server);
    primary(checkup, &server);
    let shared = pooler(checkup, &database, settings.database.pooled).await;
    listen(checkup, settings, &connection, shared, server.replica).await;
    sessions(checkup, settings, &server);
    clock(checkup, &connection).await;
    cleanup(checkup, settings, &connection).await;
    schema::examine(checkup, settings, &connection, &server).await;
    state::examine(checkup, settings, &connection).await
}

/// A connection, and how it was had.
struct Reached {
    settings: DatabaseSettings,
    connection: Connection,
    took: Duration,
}

/// Connects, be it to a server that takes no writes: what else is wrong with it is worth knowing.
async fn reach(settings: &DatabaseSettings) -> Result<Reached, DatabaseError> {
    let asked = Instant::now();
    let mut settings = settings.clone();
    let refused = match connect(&settings, NAME).await {
        Ok(connection) => return Ok(Reached { settings, connection, took: asked.elapsed() }),
        Err(refused) => refused,
    };
    // The library found nothing wrong but that; a server that says no itself is not asked twice.
    if matches!(&refused, DatabaseError::Connect { source, .. } if source.code().is_none()) {
        settings.config.target_session_attrs(TargetSessionAttrs::ReadOnly);
        if let Ok(connection) = connect(&settings, NAME).await {
            return Ok(Reached { settings, connection, took: asked.elapsed() });
        }
    }
    Err(refused)
}

fn unreachable_cure(settings: &DatabaseSettings) -> String {
    let server = settings.server();
    let host = server.split(['/', ',']).find(|part| !part.is_empty()).unwrap_or_default();
    let (host, port) = host.rsplit_once(':').unwrap_or((host, "5432"));
    format!("check host and port in database.url, and whether it is up: `pg_isready -h {host} -p {port}`")
}

async fn describe(connection: &Connection) -> Result<Server, DatabaseError> {
    let statement = include_str!("../../../sql/queries/catalog/server.sql");
    let row = connection.client.query_one(statement, &[]).await?;
    Ok(Server {
        version: row.try_get(0)?,
        major: row.try_get(1)?,
        replica: row.try_get(2)?,
        read_only: row.try_get(3)?,
        role: row.try_get(4)?,
        database: row.try_get(5)?,
        free: row.try_get(6)?,
        idle_limit: row.try_get(7)?,
        transaction_limit: row.try_get(8)?,
        synchronous: row.try_get(9)?,
    })
}

fn version(checkup: &mut Checkup, server: &Server) {
    let version = &server.version;
    if server.major < OLDEST {
        let cure = format!("upgrade it to {OLDEST} or newer");
        checkup.fail(Check::Server, format!("PostgreSQL {version}: relay needs {OLDEST}"), cure);
    } else if !server.synchronous {
        let what = "synchronous_commit is off: after a crash an event may be out whose change is lost";
        let cure = format!(
            "alter role {:?} in database {:?} set synchronous_commit = on",
            server.role, server.database
        );
        checkup.warn(Check::Server, format!("PostgreSQL {version}; {what}"), cure);
    } else {
        checkup.ok(Check::Server, format!("PostgreSQL {version}"));
    }
}

fn primary(checkup: &mut Checkup, server: &Server) {
    if server.replica {
        let cure = "name the primary in database.url, or all of them: postgres://one,two/shop; relay takes the one that \
                    takes writes";
        checkup.fail(Check::Primary, "this is a replica: it takes no marks", cure);
    } else if server.read_only {
        let what =
            format!("transactions of role {:?} in database {:?} are read-only", server.role, server.database);
        let cure = format!(
            "alter role {:?} in database {:?} set default_transaction_read_only = off",
            server.role, server.database
        );
        checkup.fail(Check::Primary, what, cure);
    } else {
        checkup.ok(Check::Primary, "takes writes");
    }
}

/// Whether a pooler in transaction mode is in front of `database.url`, as far as that could be found out.
async fn pooler(checkup: &mut Checkup, database: &DatabaseSettings, pooled: bool) -> bool {
    let Some(shared) = checkup.in_time(Check::Pooler, shares(database)).await else { return pooled };
    match (&shared, pooled) {
        (Err(error), _) => checkup.database_failed(Check::Pooler, error),
        (Ok(true), false) => checkup.fail(
            Check::Pooler,
            "a pooler lends sessions for a transaction at a time, and relay expects them to be its own",
            "database.pooled = true, and Postgres itself in database.listen_url; or Postgres itself in database.url",
        ),
        (Ok(true), true) => checkup.ok(Check::Pooler, "a pooler in transaction mode, as database.pooled says"),
        (Ok(false), false) => checkup.ok(Check::Pooler, "sessions are relay's own"),
        (Ok(false), true) => checkup.ok(
            Check::Pooler,
            "no pooler was seen; without database.pooled statements would be planned once a session",
        ),
    }
    pooled || matches!(shared, Ok(true))
}

/// Whether two sessions of ours are one of the server's: while one has a transaction open, another is asked which process
/// serves it, and one that is lent its process anew for each transaction gives itself away.
async fn shares(settings: &DatabaseSettings) -> Result<bool, DatabaseError> {
    let settings = DatabaseSettings { pooled: true, ..settings.clone() };
    let (first, second) = (connect(&settings, NAME).await?, connect(&settings, NAME).await?);
    let asking = async {
        let before = process(&first, "").await?;
        let between = process(&second, "begin;").await?;
        if before == between {
            return Ok(true);
        }
        let after = process(&first, "").await?;
        second.client.batch_execute("rollback").await?;
        Ok(before != after)
    };
    answered(&settings, asking).await
}

/// The server's process, asked without preparing anything.
async fn process(connection: &Connection, before: &str) -> Result<Option<String>, DatabaseError> {
    let answer = connection.client.simple_query(&format!("{before}select pg_backend_pid()")).await?;
    Ok(answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

async fn listen(
    checkup: &mut Checkup,
    settings: &OutboxSettings,
    connection: &Connection,
    shared: bool,
    replica: bool,
) {
    let Some(listen) = &settings.listen else {
        let why = if settings.database.pooled {
            "no database.listen_url beside database.pooled: relay polls, every 50ms"
        } else {
            "database.listen = \"off\": relay polls"
        };
        return checkup.skip(Check::Listen, why);
    };
    if replica {
        return checkup.skip(Check::Listen, format!("needs {}", Check::Primary));
    }
    let own_url = !settings.database.pooled && listen.config == settings.database.config;
    if own_url && shared {
        // It would go on listening in a session that is lent to others.
        return checkup.skip(Check::Listen, format!("needs {}", Check::Pooler));
    }
    let hearing = hear(listen, connection, own_url);
    let Some(heard) = checkup.in_time(Check::Listen, hearing).await else { return };
    match heard {
        Ok(Heard::After(took)) => {
            checkup.ok(Check::Listen, format!("{}: a notification took {}", listen.server(), millis(took)));
        }
        Ok(Heard::Shared) => checkup.warn(
            Check::Listen,
            "database.listen_url leads through a pooler, which passes no notifications on: relay polls, every 50ms",
            "name Postgres itself in database.listen_url",
        ),
        Ok(Heard::Nothing) => checkup.warn(
            Check::Listen,
            format!(
                "{} passed no notification on from {} within {}: relay polls, every 50ms",
                listen.server(),
                settings.database.server(),
                human(HEARING)
            ),
            "name the same database in database.listen_url as in database.url, with no pooler in between",
        ),
        Err(error) => {
            let cure = error.cure().unwrap_or("check database.listen_url, or set database.listen = \"off\"");
            checkup.warn(Check::Listen, format!("{error}: relay polls, every 50ms"), cure);
        }
    }
}

enum Heard {
    After(Duration),
    Nothing,
    Shared,
}

/// Listens at one end and notifies at the other, on a channel that nobody else knows.
async fn hear(listen: &DatabaseSettings, from: &Connection, direct: bool) -> Result<Heard, DatabaseError> {
    if !direct && shares(listen).await? {
        return Ok(Heard::Shared);
    }
    let (heard, mut notifications) = mpsc::channel(1);
    let ear = Ear { heard, missed: Notify::new().into() };
    let listener = connect_listening(listen, NAME, Some(ear)).await?;
    let channel = format!("relay_doctor_{}", Uuid::new_v4().simple());
    let asked = Instant::now();
    let notified = async {
        listener.client.batch_execute(&format!("listen {channel}")).await?;
        from.client.execute("select pg_notify($1, '')", &[&channel]).await?;
        Ok(())
    };
    from.answer(notified).await?;
    Ok(match tokio::time::timeout(HEARING, notifications.recv()).await {
        Ok(Some(_)) => Heard::After(asked.elapsed()),
        _ => Heard::Nothing,
    })
}

fn sessions(checkup: &mut Checkup, settings: &OutboxSettings, server: &Server) {
    let (role, database) = (&server.role, &server.database);
    let statement = i64::try_from(settings.database.statement_timeout.as_millis()).unwrap_or(i64::MAX);
    if server.idle_limit > 0 {
        let limit = human(ms(server.idle_limit));
        checkup.warn(
            Check::Sessions,
            format!("idle_session_timeout ends sessions of relay that have nothing to do for {limit}"),
            format!("alter role {role:?} in database {database:?} set idle_session_timeout = 0"),
        );
    } else if (1..statement).contains(&server.transaction_limit) {
        let limit = human(ms(server.transaction_limit));
        checkup.warn(
            Check::Sessions,
            format!(
                "transaction_timeout ends statements after {limit}, before database.statement_timeout does"
            ),
            format!("alter role {role:?} in database {database:?} set transaction_timeout = 0"),
        );
    } else if let Some(free) = server.free.filter(|free| *free < CONNECTIONS && !settings.database.pooled) {
        checkup.warn(
            Check::Sessions,
            format!("{} connections are left to role {role:?}, and a relay takes {CONNECTIONS}", free.max(0)),
            "raise max_connections, or the limit of the role or the database; or put a pooler in between and set \
             database.pooled = true",
        );
    } else {
        let free = server.free.map_or_else(|| "enough".to_owned(), |free| free.to_string());
        checkup.ok(Check::Sessions, format!("{free} connections left"));
    }
}

async fn clock(checkup: &mut Checkup, connection: &Connection) {
    let asking = async {
        let asked = SystemTime::now();
        let row = connection.client.query_one("select clock_timestamp()", &[]).await?;
        Ok((asked, row.try_get::<_, Micros>(0)?, SystemTime::now()))
    };
    // What is asked first is prepared first.
    if checkup
        .ask(Check::Clock, connection, async { Ok(connection.client.batch_execute("").await?) })
        .await
        .is_none()
    {
        return;
    }
    let Some((asked, database, answered)) = checkup.ask(Check::Clock, connection, asking).await else {
        return;
    };
    skew(checkup, us(asked), database.0, us(answered));
}

/// How far the database's clock is from ours at least, which it showed between two times of ours. All in microseconds.
fn skew(checkup: &mut Checkup, asked: i64, database: i64, answered: i64) {
    let apart = (asked.saturating_sub(database)).max(database.saturating_sub(answered)).max(0);
    let apart = Duration::from_micros(u64::try_from(apart).unwrap_or(0));
    if apart < SKEW {
        return checkup.ok(Check::Clock, format!("within {} of this one", human(SKEW)));
    }
    let ahead = if database > answered { "ahead of" } else { "behind" };
    checkup.warn(
        Check::Clock,
        format!(
            "the database's clock is {} {ahead} this one: times in logs and metrics mislead",
            seconds(apart)
        ),
        "let NTP set both: `timedatectl set-ntp true`, `chronyc tracking`",
    );
}

async fn cleanup(checkup: &mut Checkup, settings: &OutboxSettings, connection: &Connection) {
    let finding = async { Holder::find(&connection.client).await };
    let Some(holder) = checkup.ask(Check::Cleanup, connection, finding).await else { return };
    let old = settings.old_transaction;
    let Some(holder) = holder else { return checkup.ok(Check::Cleanup, "nothing holds vacuum back") };
    let age = holder.seconds.and_then(|age| Duration::try_from_secs_f64(age).ok());
    if age.is_some_and(|age| age < old) {
        return checkup.ok(Check::Cleanup, format!("nothing older than {} holds vacuum back", human(old)));
    }
    let lasting =
        age.map_or_else(|| "nobody knows how long".to_owned(), |age| format!("for {}", seconds(age)));
    let what = format!(
        "{holder} keeps the table from being cleaned, {lasting}, {} transactions",
        holder.transactions
    );
    let name = holder.name.as_deref().unwrap_or_default().replace('\'', "''");
    let cure = match (holder.kind, holder.pid) {
        (Kind::Session, Some(pid)) => format!("select pg_terminate_backend({pid})"),
        (Kind::Session, None) => "grant pg_read_all_stats to this role to see which".to_owned(),
        (Kind::Prepared, _) => {
            format!("rollback prepared '{name}', or commit it, as its coordinator decided")
        }
        (Kind::Slot, _) => {
            format!("bring its standby back, or select pg_drop_replication_slot('{name}')")
        }
    };
    // Nobody knows the age of a slot, nor of a session that one may not look into: that alone is no trouble.
    match age {
        None if holder.transactions < UNAGED => checkup.ok(Check::Cleanup, what),
        _ => checkup.warn(Check::Cleanup, what, cure),
    }
}

/// What holds for nobody knows how long matters when so many transactions have begun since.
const UNAGED: i64 = 100_000;

fn ms(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn us(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// To a tenth of a millisecond.
pub(super) fn millis(duration: Duration) -> String {
    format!("{:.1}ms", duration.as_secs_f64() * 1000.0)
}

/// To the second.
pub(super) fn seconds(duration: Duration) -> String {
    human(Duration::from_secs(duration.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::{super::super::finding::Verdict, *};

    #[test]
    fn clocks_that_differ_are_told_and_a_slow_answer_is_no_difference() {
        let told = |asked, database, answered| {
            let mut checkup = Checkup::new(HEARING);
            skew(&mut checkup, asked, database, answered);
            let finding = checkup.report.findings.remove(0);
            (finding.verdict, finding.what)
        };
        assert_eq!(told(1_000_000, 1_500_000, 2_000_000).0, Verdict::Ok);
        assert_eq!(told(0, 9_000_000, 10_000_000).0, Verdict::Ok);
        let (verdict, what) = told(1_000_000, 62_000_000, 2_000_000);
        assert!(verdict == Verdict::Warning && what.contains("1m ahead of"), "{what}");
        let (verdict, what) = told(61_000_000, 1_000_000, 62_000_000);
        assert!(verdict == Verdict::Warning && what.contains("1m behind"), "{what}");
    }

    #[test]
    fn a_server_that_is_away_is_asked_after_where_it_should_be() {
        let settings = |url: &str| DatabaseSettings {
            config: url.parse().unwrap(),
            tls: crate::postgres::settings::Tls::Auto,
            ca_file: None,
            connect_timeout: HEARING,
            statement_timeout: HEARING,
            pooled: false,
            schema: "relay".to_owned(),
        };
        for (url, part) in [
            ("postgres://a@db.example:6432/shop", "pg_isready -h db.example -p 6432"),
            ("postgres://a@one,two/shop", "pg_isready -h one -p 5432"),
        ] {
            assert!(unreachable_cure(&settings(url)).contains(part), "{url}");
        }
    }
}
