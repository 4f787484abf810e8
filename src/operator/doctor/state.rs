//! What is in the outbox: whether it is worked on, and what waits for somebody.

use std::time::Duration;

use super::{Check, Checkup, database::seconds, routes::Seen};
use crate::{
    daemon::OutboxSettings,
    operator::status::Status,
    outbox::backlog::COUNTED_TO,
    postgres::{
        client::Client,
        connect::{Connection, DatabaseError},
        sql::in_schema,
    },
};

/// A row that is due and not out for so long is late.
const LATE: f64 = 60.0;

/// Looks at it; returns where rows went lately.
pub(super) async fn examine(
    checkup: &mut Checkup,
    settings: &OutboxSettings,
    connection: &Connection,
) -> Option<Seen> {
    let checks = [Check::Backlog, Check::Lanes, Check::Dead];
    let needed = [Check::Migrations, Check::Tables, Check::Rights];
    if let Some(needed) = needed.into_iter().find(|check| !checkup.went_well(*check)) {
        checkup.skip_all(&checks, needed);
        return None;
    }
    let schema = &settings.database.schema;
    let reading = async { Status::read(&connection.client, schema).await };
    let Some(status) = checkup.ask(Check::Backlog, connection, reading).await else {
        checkup.skip_all(&checks[1..], Check::Backlog);
        return None;
    };
    let listing = async { relays(&connection.client, schema).await };
    if let Some(relays) = checkup.ask(Check::Lanes, connection, listing).await {
        // They say so three times in a lease.
        let alive = relays.iter().filter(|relay| relay.seen_ago < settings.lease.as_secs_f64()).count();
        backlog(checkup, &status, alive > 0);
        lanes(checkup, &status, &relays, alive);
    } else {
        checkup.skip_all(&[Check::Backlog], Check::Lanes);
    }
    dead(checkup, &status);
    let seeing = async { Seen::read(&connection.client, schema, &settings.policy).await };
    // What it is for says that it is missing.
    checkup.ask(Check::Routes, connection, seeing).await
}

fn backlog(checkup: &mut Checkup, status: &Status, alive: bool) {
    let (backlog, rows) = (&status.backlog, status.backlog.pending.iter().sum::<i64>());
    let what = format!("{} unfinished rows", counted(rows));
    if backlog.oldest_age < LATE {
        return checkup.ok(Check::Backlog, what);
    }
    let what = format!("{what}, and the oldest is due for {}", age(backlog.oldest_age));
    let cure = if alive { "relay status, and docs/operations.md: \"The lag grows\"" } else { "relay run" };
    checkup.warn(Check::Backlog, what, cure);
}

/// A relay that did not say that it leaves.
struct Relay {
    name: String,
    seen_ago: f64,
}

async fn relays(client: &Client, schema: &str) -> Result<Vec<Relay>, DatabaseError> {
    let statement = in_schema(include_str!("../../../sql/queries/relays/not_left.sql"), schema);
    let rows = client.query(&statement, &[]).await?;
    rows.iter().map(|row| Ok(Relay { name: row.try_get(0)?, seen_ago: row.try_get(1)? })).collect()
}

fn lanes(checkup: &mut Checkup, status: &Status, relays: &[Relay], alive: usize) {
    let (lanes, unowned) = (status.lanes, status.unowned.len());
    match relays.first() {
        None => checkup.ok(Check::Lanes, format!("{lanes} lanes, and no relay runs")),
        Some(last) if alive == 0 => {
            let what = format!("no relay lives; {} died: it was last seen {} ago", last.name, age(last.seen_ago));
            if status.backlog.oldest_age > 0.0 {
                let what = format!("{what}, and rows wait that are due: nothing is published");
                checkup.fail(Check::Lanes, what, "relay run");
            } else {
                checkup.warn(Check::Lanes, what, "relay run");
            }
        }
        Some(_) if unowned == 0 => checkup.ok(Check::Lanes, format!("{lanes} lanes, relays: {alive}")),
        Some(_) => checkup.warn(
            Check::Lanes,
            format!("relays live ({alive}), and none of them holds {unowned} of {lanes} lanes"),
            "look again after lease.duration, then at /readyz of the relays: docs/operations.md, \"Lanes are not \
             taken over\"",
        ),
    }
}

fn dead(checkup: &mut Checkup, status: &Status) {
    match status.backlog.dead {
        0 => checkup.ok(Check::Dead, "no dead rows"),
        dead => checkup.warn(
            Check::Dead,
            format!("{} dead rows, and nobody has dealt with them", counted(dead)),
            "relay dlq list",
        ),
    }
}

fn counted(rows: i64) -> String {
    if rows >= COUNTED_TO { format!("{rows} or more") } else { rows.to_string() }
}

fn age(age: f64) -> String {
    seconds(Duration::try_from_secs_f64(age).unwrap_or(Duration::MAX))
}
