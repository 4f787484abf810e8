//! The outbox's tables and what belongs to them: as the migrations made them, and this role's to work on.

use std::collections::BTreeSet;

use super::{Check, Checkup, database::Server};
use crate::{
    daemon::OutboxSettings,
    operator::grants::{Purpose, Right, rights},
    outbox::sequence,
    postgres::{
        connect::{Connection, DatabaseError},
        migrate::RELAY,
        shape::{Kind, Part, parts},
        sql::{in_schema, quoted},
    },
};

/// What is looked at when the tables are there.
const REST: [Check; 6] =
    [Check::Rights, Check::Indexes, Check::Trigger, Check::Retention, Check::Sequence, Check::Autovacuum];
/// Things named in one finding at most.
const NAMED: usize = 5;
/// Where statements stand that nothing else repeats.
const SCRIPT: &str = "take its statement from `relay migrate --print-sql`";

pub(super) async fn examine(
    checkup: &mut Checkup,
    settings: &OutboxSettings,
    connection: &Connection,
    server: &Server,
) {
    let schema = &settings.database.schema;
    let Some(found) = checkup.ask(Check::Tables, connection, found(connection, schema)).await else {
        return checkup.skip_all(&REST, Check::Tables);
    };
    if !found.iter().any(|thing| thing.kind == Kind::Table.as_str()) {
        checkup.fail(Check::Migrations, format!("there are no tables in schema {schema}"), "relay migrate");
        checkup.skip_all(&[Check::Tables], Check::Migrations);
        return checkup.skip_all(&REST, Check::Migrations);
    }
    let readable = run_rights(checkup, connection, schema, server).await;
    let pending = if readable {
        migrations(checkup, connection, schema).await
    } else {
        checkup.skip_all(&[Check::Migrations], Check::Rights);
        false
    };
    compare(checkup, &found, schema, pending);
    retention(checkup, settings, connection, server).await;
    if readable {
        numbers(checkup, connection, schema).await;
    } else {
        checkup.skip_all(&[Check::Sequence], Check::Rights);
    }
    autovacuum(checkup, connection, schema).await;
}

/// Something that is there.
struct Thing {
    kind: String,
    of: String,
    name: String,
    works: bool,
}

async fn found(connection: &Connection, schema: &str) -> Result<Vec<Thing>, DatabaseError> {
    let statement = include_str!("../../../sql/queries/catalog/parts.sql");
    let rows = connection.client.query(statement, &[&schema]).await?;
    rows.iter()
        .map(|row| {
            Ok(Thing {
                kind: row.try_get(0)?,
                of: row.try_get::<_, Option<String>>(1)?.unwrap_or_default(),
                name: row.try_get(2)?,
                works: row.try_get(3)?,
            })
        })
        .collect()
}

/// What this role may not do of a purpose's.
pub(super) async fn lacking(
    checkup: &mut Checkup,
    check: Check,
    connection: &Connection,
    schema: &str,
    purpose: Purpose,
) -> Option<Vec<Right>> {
    let needed = rights(purpose);
    let column =
        |of: fn(&Right) -> &String| needed.iter().map(|right| of(right).as_str()).collect::<Vec<_>>();
    let (kinds, objects) = (column(|right| &right.kind), column(|right| &right.object));
    let (attributes, privileges) = (column(|right| &right.attribute), column(|right| &right.privilege));
    let asking = async {
        let statement = include_str!("../../../sql/queries/catalog/lacking_rights.sql");
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&schema, &kinds, &objects, &attributes, &privileges];
        let rows = connection.client.query(statement, &values).await?;
        rows.iter()
            .map(|row| {
                Ok(Right {
                    kind: row.try_get(0)?,
                    object: row.try_get(1)?,
                    attribute: row.try_get(2)?,
                    privilege: row.try_get(3)?,
                })
            })
            .collect::<Result<Vec<_>, DatabaseError>>()
    };
    checkup.ask(check, connection, asking).await
}

/// Says what this role lacks; returns whether it may look at what is in the tables.
async fn run_rights(checkup: &mut Checkup, connection: &Connection, schema: &str, server: &Server) -> bool {
    let Some(lacking) = lacking(checkup, Check::Rights, connection, schema, Purpose::Run).await else {
        return false;
    };
    let role = &server.role;
    if lacking.is_empty() {
        checkup.ok(Check::Rights, format!("role {role:?} may do what relay run does"));
        return true;
    }
    let what = format!("role {role:?} may not {}", listed(lacking.iter().map(told)));
    checkup.fail(
        Check::Rights,
        what,
        format!("relay migrate --grant-run-to {role}, by the owner of the schema"),
    );
    let may_look =
        |right: &Right| !matches!((&*right.kind, &*right.privilege), ("schema", _) | ("table", "select"));
    lacking.iter().all(may_look)
}

/// `update (suspect) outbox`.
pub(super) fn told(right: &Right) -> String {
    let Right { kind, object, attribute, privilege } = right;
    match (kind.as_str(), attribute.as_str()) {
        ("schema", _) => format!("{privilege} the schema"),
        ("table", "") => format!("{privilege} {object}"),
        ("table", column) => format!("{privilege} {object} ({column})"),
        _ => format!("{privilege} {kind} {object}"),
    }
}

/// The first few of them.
pub(super) fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let mut text = names.take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

async fn retention(
    checkup: &mut Checkup,
    settings: &OutboxSettings,
    connection: &Connection,
    server: &Server,
) {
    let Some(keep) = settings.retention else {
        return checkup.skip(Check::Retention, "retention.published = \"off\": nothing is removed");
    };
    let schema = &settings.database.schema;
    let Some(lacking) = lacking(checkup, Check::Retention, connection, schema, Purpose::Prune).await else {
        return;
    };
    // Of pruning by hand; relay in the background writes no audit.
    let lacking: Vec<&Right> = lacking.iter().filter(|right| right.object != "audit").collect();
    if lacking.is_empty() {
        return checkup.ok(Check::Retention, format!("rows go after {}", super::human(keep)));
    }
    let role = &server.role;
    checkup.warn(
        Check::Retention,
        format!(
            "role {role:?} may not {}, so rows that were published stay for ever",
            listed(lacking.into_iter().map(told))
        ),
        format!("relay migrate --grant-prune-to {role}, by the owner of the schema; or retention.published = \"off\""),
    );
}

/// Whether something is yet to be migrated: then what is missing is no wonder.
async fn migrations(checkup: &mut Checkup, connection: &Connection, schema: &str) -> bool {
    let asking = async { RELAY.state(&connection.client, schema).await };
    match checkup.ask(Check::Migrations, connection, asking).await {
        None => {}
        Some(state) if !state.pending.is_empty() => {
            let names = state.pending.iter().map(|migration| migration.name.to_owned());
            checkup.fail(Check::Migrations, format!("pending: {}", listed(names)), "relay migrate");
            return true;
        }
        Some(state) if !state.unknown.is_empty() => {
            checkup.ok(Check::Migrations, "all applied, and some of a newer version");
        }
        Some(_) => checkup.ok(Check::Migrations, "all applied"),
    }
    false
}

/// Says what is missing of what the migrations made, or does not work.
fn compare(checkup: &mut Checkup, found: &[Thing], schema: &str, pending: bool) {
    let there: BTreeSet<(&str, &str, &str)> =
        found.iter().map(|thing| (thing.kind.as_str(), thing.of.as_str(), thing.name.as_str())).collect();
    let made = parts(&RELAY);
    let is_there = |part: &Part| there.contains(&(part.kind.as_str(), part.of.as_str(), part.name.as_str()));
    let tables: BTreeSet<&str> = made
        .iter()
        .filter(|part| part.kind == Kind::Table && is_there(part))
        .map(|part| part.name.as_str())
        .collect();
    let missing: Vec<&Part> = made
        .iter()
        .filter(|part| !is_there(part))
        // With a table goes all that belongs to it.
        .filter(|part| part.kind == Kind::Table || part.of.is_empty() || tables.contains(part.of.as_str()))
        .collect();
    let broken: Vec<&Thing> =
        found.iter().filter(|thing| !thing.works && made.iter().any(|part| is(part, thing))).collect();
    for (check, kinds) in [
        (Check::Tables, &[Kind::Table, Kind::Column, Kind::Function][..]),
        (Check::Indexes, &[Kind::Index]),
        (Check::Trigger, &[Kind::Trigger]),
    ] {
        let missing: Vec<&&Part> = missing.iter().filter(|part| kinds.contains(&part.kind)).collect();
        let broken: Vec<&&Thing> =
            broken.iter().filter(|thing| kinds.iter().any(|kind| kind.as_str() == thing.kind)).collect();
        if missing.is_empty() && broken.is_empty() {
            let count = made.iter().filter(|part| kinds.contains(&part.kind)).count();
            checkup.ok(
                check,
                format!("{count} as the migrations made {}", if count == 1 { "it" } else { "them" }),
            );
        } else if pending {
            checkup.skip_all(&[check], Check::Migrations);
        } else {
            missing.iter().for_each(|part| lost(checkup, check, part, schema));
            broken.iter().for_each(|thing| idle(checkup, check, thing, schema));
        }
    }
}

fn is(part: &Part, thing: &Thing) -> bool {
    (part.kind.as_str(), &part.of, &part.name) == (thing.kind.as_str(), &thing.of, &thing.name)
}

/// Something is missing.
fn lost(checkup: &mut Checkup, check: Check, part: &Part, schema: &str) {
    let remake = part.remake.as_deref().map(|statement| in_schema(statement, schema));
    let cure = match part.kind {
        Kind::Trigger => remade_trigger(&part.name, &quoted(schema)),
        _ => remake.unwrap_or_else(|| SCRIPT.to_owned()),
    };
    let name = match part.kind {
        Kind::Table | Kind::Function => format!("{} {}", part.kind.as_str(), part.name),
        _ => format!("{} {} of {}", part.kind.as_str(), part.name, part.of),
    };
    match part.kind {
        Kind::Trigger => {
            checkup.warn(check, format!("{name} is gone: nothing wakes a relay that sleeps"), cure)
        }
        Kind::Index if !part.unique => {
            checkup.warn(check, format!("{name} is gone: queries read the whole table"), cure);
        }
        _ => checkup.fail(check, format!("{name} is gone"), cure),
    }
}

/// The class of its lock stands in it as a number, for those who insert may not ask for it.
fn remade_trigger(name: &str, schema: &str) -> String {
    format!(
        "do $do$ begin execute format('create trigger {name} after insert on {schema}.outbox for each row when (not \
         pg_try_advisory_xact_lock_shared(%s, new.lane)) execute function {schema}.wake()', {schema}.wake_class()); \
         end $do$"
    )
}

/// Something is there and does nothing.
fn idle(checkup: &mut Checkup, check: Check, thing: &Thing, schema: &str) {
    let (of, name) = (format!("{}.{}", quoted(schema), thing.of), &thing.name);
    if thing.kind == Kind::Trigger.as_str() {
        let what = format!("trigger {name} of {} is disabled: nothing wakes a relay that sleeps", thing.of);
        return checkup.warn(check, what, format!("alter table {of} enable trigger {name}"));
    }
    let what = format!("index {name} of {} is invalid: it is not used", thing.of);
    checkup.warn(check, what, format!("reindex index concurrently {}.{name}", quoted(schema)));
}

async fn numbers(checkup: &mut Checkup, connection: &Connection, schema: &str) {
    let asking = async { sequence::trouble(&connection.client, schema).await };
    match checkup.ask(Check::Sequence, connection, asking).await {
        None => {}
        Some(None) => checkup.ok(Check::Sequence, "numbers rise as they are drawn"),
        Some(Some(trouble)) => {
            checkup.fail(Check::Sequence, trouble.what(), trouble.cure());
        }
    }
}

async fn autovacuum(checkup: &mut Checkup, connection: &Connection, schema: &str) {
    let asking = async {
        let statement = include_str!("../../../sql/queries/catalog/vacuum.sql");
        let row = connection.client.query_opt(statement, &[&schema]).await?;
        row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
    };
    match checkup.ask(Check::Autovacuum, connection, asking).await.flatten() {
        None => {}
        Some((true, true)) => checkup.ok(Check::Autovacuum, "on"),
        Some((true, false)) => checkup.warn(
            Check::Autovacuum,
            "it is off for the outbox, so the table and its indexes grow",
            format!("alter table {}.outbox reset (autovacuum_enabled)", quoted(schema)),
        ),
        Some((false, _)) => checkup.warn(
            Check::Autovacuum,
            "it is off on this server, so the table and its indexes grow",
            "alter system set autovacuum = on; alter system set track_counts = on; select pg_reload_conf()",
        ),
    }
}
