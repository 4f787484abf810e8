//! What operators do by commands or the page: whether their connection is there, leads to the same tables, and its role may do it
//! all.

use super::{
    Check, Checkup, Operators,
    schema::{lacking, listed, told},
};
use crate::{
    daemon::OutboxSettings,
    operator::grants::Purpose,
    postgres::{
        connect::{Connection, DatabaseError, connect},
        settings::DatabaseSettings,
    },
};

const NAME: &str = "relay doctor";

/// The outbox as a connection sees it.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    database: i64,
    outbox: i64,
}

pub(super) async fn examine(checkup: &mut Checkup, settings: &OutboxSettings, operators: Option<&Operators>) {
    let check = Check::Operators;
    let Some(operators) = operators else {
        return checkup.skip(check, "page.enabled = false, and database.operator_url is not set");
    };
    if !operators.own && !operators.acts {
        return checkup.ok(check, "the page only shows, for page.operator_token is not set");
    }
    if !operators.own && !checkup.went_well(Check::Database) {
        return checkup.skip_all(&[check], Check::Database);
    }
    // As if through a pooler: nothing is left in a session that may be somebody else's in a moment.
    let database = DatabaseSettings { pooled: true, ..operators.database.clone() };
    let connection = match checkup.in_time(check, connect(&database, NAME)).await {
        Some(Ok(connection)) => connection,
        Some(Err(error)) => {
            let cure = error.cure().map_or_else(
                || "check host and port in database.operator_url".to_owned(),
                |cure| format!("of database.operator_url: {cure}"),
            );
            return checkup.warn(check, format!("operators can't act: {error}"), cure);
        }
        None => return,
    };
    let schema = &database.schema;
    let Some(seen) = checkup.ask(check, &connection, place(&connection, schema)).await else { return };
    let Some((there, role)) = seen else {
        let what = format!("{} has no outbox in schema {schema}", database.server());
        return checkup.warn(
            check,
            what,
            "database.operator_url = the database of database.url, by another role",
        );
    };
    if operators.own && checkup.went_well(Check::Tables) && is_elsewhere(checkup, settings, &there).await {
        let what = format!("{} is not where the outbox is that relay publishes", database.server());
        return checkup.warn(
            check,
            what,
            "database.operator_url = the database of database.url, by another role",
        );
    }
    let Some(lacking) = lacking(checkup, check, &connection, schema, Purpose::Operate).await else { return };
    if lacking.is_empty() {
        return checkup.ok(check, format!("role {role:?} may do what operators do"));
    }
    let what = format!("operators act as role {role:?}, which may not {}", listed(lacking.iter().map(told)));
    let cure = if operators.own {
        format!("relay migrate --grant-operate-to {role}, by the owner of the schema")
    } else {
        "create a role for it, relay migrate --grant-operate-to that role, and name it in database.operator_url".to_owned()
    };
    checkup.warn(check, what, cure);
}

/// Which outbox a connection sees, and as whom.
async fn place(connection: &Connection, schema: &str) -> Result<Option<(Place, String)>, DatabaseError> {
    let statement = include_str!("../../../sql/queries/catalog/outbox.sql");
    let row = connection.client.query_opt(statement, &[&schema]).await?;
    let place = |row: tokio_postgres::Row| {
        Ok((Place { database: row.try_get(0)?, outbox: row.try_get(1)? }, row.try_get(2)?))
    };
    row.map(place).transpose()
}

/// Whether it is another outbox than relay's own connection sees. If that can't be asked any more, others say so.
async fn is_elsewhere(checkup: &mut Checkup, settings: &OutboxSettings, there: &Place) -> bool {
    let database = DatabaseSettings { pooled: true, ..settings.database.clone() };
    let Some(Ok(connection)) = checkup.in_time(Check::Operators, connect(&database, NAME)).await else {
        return false;
    };
    let here = checkup.ask(Check::Operators, &connection, place(&connection, &database.schema)).await;
    matches!(here, Some(Some((here, _))) if here != *there)
}
