//! What roles may do: least privileges, for `relay migrate`.

use tokio_postgres::Client;

use crate::postgres::connect::DatabaseError;

const RUN: &str = include_str!("../../sql/grants/run.sql");
const ENQUEUE: &str = include_str!("../../sql/grants/enqueue.sql");
const CONSUME: &str = include_str!("../../sql/grants/consume.sql");
const PRUNE: &str = include_str!("../../sql/grants/prune.sql");

/// What a role is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `relay run`.
    Run,
    /// Adding rows.
    Enqueue,
    /// Consuming, with the inbox.
    Consume,
    /// Removing old rows: `relay prune`, and what `relay run` does of it.
    Prune,
}

/// The statements that give a role what its purpose needs, in a schema.
#[must_use]
pub fn script(purpose: Purpose, schema: &str, role: &str) -> String {
    let template = match purpose {
        Purpose::Run => RUN,
        Purpose::Enqueue => ENQUEUE,
        Purpose::Consume => CONSUME,
        Purpose::Prune => PRUNE,
    };
    fill(template, schema, role)
}

/// Puts schema and role into a template written for psql.
#[must_use]
pub fn fill(template: &str, schema: &str, role: &str) -> String {
    // Comments would name what a role's name might break out of.
    let statements: Vec<&str> =
        template.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    statements.join("\n").replace(":\"schema\"", &quote(schema)).replace(":\"role\"", &quote(role))
}

/// An identifier that can be nothing else.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Gives a role what its purpose needs.
///
/// # Errors
/// When there is no such role, or whoever connects may not grant.
pub async fn grant(client: &Client, purpose: Purpose, schema: &str, role: &str) -> Result<(), DatabaseError> {
    run(client, &script(purpose, schema, role), role).await
}

/// Runs grants to a role: all, or none.
///
/// # Errors
/// As [`grant`].
pub async fn run(client: &Client, script: &str, role: &str) -> Result<(), DatabaseError> {
    let known: bool = client
        .query_one("select exists (select from pg_roles where rolname = $1)", &[&role])
        .await?
        .try_get(0)?;
    if !known {
        return Err(DatabaseError::Schema(format!(
            "there is no role {}; create it first: create role {} login",
            quote(role),
            quote(role)
        )));
    }
    // One simple query of several statements is one transaction.
    Ok(client.batch_execute(script).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_an_identifier_whatever_it_is_called() {
        let text = script(Purpose::Run, "shop", "o\"; drop table x; --");
        assert!(text.contains("grant usage on schema \"shop\" to \"o\"\"; drop table x; --\";"), "{text}");
        for purpose in [Purpose::Run, Purpose::Enqueue, Purpose::Consume, Purpose::Prune] {
            let text = script(purpose, "shop", "r");
            assert!(!text.contains(":\"") && !text.contains("relay."), "{text}");
        }
    }
}
