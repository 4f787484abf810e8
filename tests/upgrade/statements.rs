//! The statements of every version before a migration, as they were, on the schema as it is. `dev/upgrade keep` writes them.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use relay::{
    operator::grants::fill,
    postgres::{
        connect::connect,
        migrate::{History, MIGRATIONS, Migration, PATIENCE, RELAY},
    },
};
use tokio_postgres::Client;

use crate::support::{
    database::{Database, settings},
    servers,
};

/// The first migration of which the statements before it are kept: the sixth. What came before was in use nowhere.
const KEPT_FROM: usize = 5;

/// Of a version: its files below sql, by their names.
fn kept(last: &Migration) -> BTreeMap<String, String> {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/upgrade/statements", &format!("{}.sql", last.name)]
            .iter()
            .collect();
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; before a migration is added, `dev/upgrade keep` keeps the statements",
            path.display()
        )
    });
    let mut files = BTreeMap::<String, String>::new();
    let mut file = None;
    for line in text.lines() {
        match line.strip_prefix("-- file: ") {
            Some(name) => file = Some(files.entry(name.to_owned()).or_default()),
            None => writeln!(file.as_mut().expect("a file is named first"), "{line}").unwrap(),
        }
    }
    files
}

/// What a statement takes and returns, by whom it may be run; or why it can't be.
async fn looks(client: &Client, role: &str, statement: &str) -> Result<String, String> {
    let said = |error: tokio_postgres::Error| {
        error.as_db_error().map_or(error.to_string(), |db| db.message().to_owned())
    };
    let prepared = client.prepare(statement).await.map_err(said)?;
    let columns: Vec<_> =
        prepared.columns().iter().map(|column| format!("{} {}", column.name(), column.type_())).collect();
    // Nothing happens, but rights are checked as if it did.
    let values = vec!["null"; prepared.params().len()].join(", ");
    let values = if values.is_empty() { values } else { format!("({values})") };
    let explain = format!(
        "begin; set local role \"{role}\"; prepare it as {statement}; explain execute it {values}; deallocate it; rollback"
    );
    if let Err(error) = client.batch_execute(&explain).await {
        client.batch_execute("rollback; deallocate all").await.unwrap();
        return Err(said(error));
    }
    Ok(format!("{:?} -> {columns:?}", prepared.params()))
}

/// How all statements look to each of these roles.
async fn all_looks(
    client: &Client,
    roles: &[String],
    queries: &[(&String, &String)],
) -> BTreeMap<(String, String), Result<String, String>> {
    let mut found = BTreeMap::new();
    for role in roles {
        for (name, statement) in queries {
            found.insert((role.clone(), (*name).clone()), looks(client, role, statement.trim_end()).await);
        }
    }
    found
}

async fn migrate(database: &Database, migrations: &'static [Migration]) {
    let mut connection = connect(&settings(&database.url), "test").await.unwrap();
    History { migrations, ..RELAY }.migrate(&mut connection, "relay", PATIENCE, |_| {}).await.unwrap();
}

#[tokio::test]
async fn what_an_older_version_could_do_before_a_migration_it_can_do_after_it_by_the_same_role() {
    for older in KEPT_FROM..MIGRATIONS.len() {
        let version = &MIGRATIONS[older - 1];
        let files = kept(version);
        let (grants, queries): (Vec<_>, Vec<_>) =
            files.iter().partition(|(name, _)| name.starts_with("grants/"));
        assert!(grants.len() >= 3 && queries.len() >= 50, "not all of {} were kept", version.name);

        let database = Database::empty(servers::shared()).await;
        migrate(&database, &MIGRATIONS[..older]).await;
        let client = database.session().await;
        let owner: String = client.query_one("select current_user::text", &[]).await.unwrap().get(0);
        let mut roles = vec![owner];
        for (name, script) in &grants {
            let of = name.trim_start_matches("grants/").trim_end_matches(".sql");
            let role = format!("upgrade_{}_{older}_{of}", std::process::id());
            client.batch_execute(&format!("create role \"{role}\"")).await.unwrap();
            client.batch_execute(&fill(script, "relay", &role)).await.unwrap();
            roles.push(role);
        }
        let before = all_looks(&client, &roles, &queries).await;
        migrate(&database, MIGRATIONS).await;
        let after = all_looks(&database.session().await, &roles, &queries).await;
        for role in &roles[1..] {
            client.batch_execute(&format!("drop owned by \"{role}\"; drop role \"{role}\"")).await.unwrap();
        }

        for (statement, before) in before.iter().filter(|(_, before)| before.is_ok()) {
            assert_eq!(
                after[statement], *before,
                "{statement:?} of the version before {}",
                MIGRATIONS[older].name
            );
        }
        for role in &roles {
            let able = before.iter().filter(|((of, _), before)| of == role && before.is_ok()).count();
            let least = if *role == roles[0] { queries.len() } else { 1 };
            assert!(able >= least, "{role} was able to run {able}: {before:#?}");
        }
    }
}
