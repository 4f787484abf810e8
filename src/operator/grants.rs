//! What roles may do: least privileges, for `relay migrate`.

use tokio_postgres::Client;

use crate::postgres::connect::DatabaseError;

const RUN: &str = include_str!("../../sql/grants/run.sql");
const ENQUEUE: &str = include_str!("../../sql/grants/enqueue.sql");
const CONSUME: &str = include_str!("../../sql/grants/consume.sql");
const PRUNE: &str = include_str!("../../sql/grants/prune.sql");
const OPERATE: &str = include_str!("../../sql/grants/operate.sql");

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
    /// What operators do, by the command line or the page: looking, replaying, discarding, pausing and the like.
    Operate,
}

impl Purpose {
    /// The grants, written for psql.
    fn template(self) -> &'static str {
        match self {
            Self::Run => RUN,
            Self::Enqueue => ENQUEUE,
            Self::Consume => CONSUME,
            Self::Prune => PRUNE,
            Self::Operate => OPERATE,
        }
    }
}

/// The statements that give a role what its purpose needs, in a schema.
#[must_use]
pub fn script(purpose: Purpose, schema: &str, role: &str) -> String {
    fill(purpose.template(), schema, role)
}

/// A right on something in a schema, as `sql/queries/catalog/lacking_rights.sql` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// `schema`, `table`, `sequence` or `function`.
    pub kind: String,
    /// Its name; empty of the schema itself.
    pub object: String,
    /// The column, if it is on one alone; else empty.
    pub attribute: String,
    /// `select`, `usage` and so on.
    pub privilege: String,
}

/// The rights that a purpose needs, one by one: those of its grants, so that there is no second list of them.
#[must_use]
pub fn rights(purpose: Purpose) -> Vec<Right> {
    let script = fill(purpose.template(), "", "");
    let statements = script.split(';').map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut rights = Vec::new();
    for statement in statements {
        let grant = statement.strip_prefix("grant ").and_then(|grant| grant.split_once(" on "));
        let Some((privileges, target)) = grant else { continue };
        let target = target.split(" to ").next().unwrap_or_default();
        let (kind, name) = target.split_once(' ').unwrap_or(("table", target));
        let object = name.rsplit_once('.').map_or("", |(_, object)| object);
        for (privilege, attribute) in spread(privileges) {
            let (kind, object) = (kind.to_owned(), object.to_owned());
            rights.push(Right { kind, object, attribute, privilege });
        }
    }
    rights
}

/// `select, update (a, b)` is three: each privilege with a column, or none.
fn spread(privileges: &str) -> Vec<(String, String)> {
    let mut spread = Vec::new();
    // Behind each parenthesis that closes, and each comma outside of them, another privilege begins.
    for part in privileges.split_inclusive(')') {
        let (plain, columns) = part.split_once('(').unwrap_or((part, ""));
        let mut names: Vec<&str> = plain.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        if let Some(columns) = columns.strip_suffix(')')
            && let Some(last) = names.pop()
        {
            spread.extend(names.iter().map(|name| ((*name).to_owned(), String::new())));
            spread.extend(columns.split(',').map(|column| (last.to_owned(), column.trim().to_owned())));
        } else {
            spread.extend(names.iter().map(|name| ((*name).to_owned(), String::new())));
        }
    }
    spread
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
    fn rights_are_read_from_the_grants() {
        let told = |purpose| -> Vec<String> {
            rights(purpose)
                .into_iter()
                .map(|right| {
                    format!("{} {} {} {}", right.privilege, right.kind, right.object, right.attribute)
                })
                .collect()
        };
        let run = told(Purpose::Run);
        for right in [
            "usage schema  ",
            "select table outbox ",
            "update table outbox published_at",
            "update table outbox suspect",
            "select sequence outbox_seq_seq ",
            "delete table held_keys ",
            "select table lanes ",
            "update table lanes token",
            "select table audit affected",
            "execute function wake_class ",
        ] {
            assert!(run.iter().any(|known| known == right), "{right:?} is not in {run:?}");
        }
        assert!(
            !run.iter().any(|right| right.contains("payload") || right.starts_with("delete table outbox"))
        );
        let prune = told(Purpose::Prune);
        assert!(prune.contains(&"select table audit audit_id".to_owned()), "{prune:?}");
        assert!(prune.contains(&"insert table audit note".to_owned()), "{prune:?}");
    }

    #[test]
    fn a_role_is_an_identifier_whatever_it_is_called() {
        let text = script(Purpose::Run, "shop", "o\"; drop table x; --");
        assert!(text.contains("grant usage on schema \"shop\" to \"o\"\"; drop table x; --\";"), "{text}");
        for purpose in [Purpose::Run, Purpose::Enqueue, Purpose::Consume, Purpose::Prune, Purpose::Operate] {
            let text = script(purpose, "shop", "r");
            assert!(!text.contains(":\"") && !text.contains("relay."), "{text}");
        }
    }
}
