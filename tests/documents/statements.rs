//! SQL that the documents tell somebody to run, or show.

use std::{fs, path::Path};

use crate::{rig::Rig, support::database::connect};

/// What a statement of a code span begins with. Others, such as `update`, are words.
const BEGINNINGS: [&str; 6] =
    ["select ", "update relay", "grant ", "rollback prepared ", "alter table ", "alter system "];

/// What the examples for producers and consumers have of their own.
const TABLES: &str = "create table orders (id bigint, state text); create table shipments (order_id bigint)";

fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md")];
    for folder in ["docs", "docs/runbooks"] {
        found.extend(fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found.into_iter().map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

/// Statements of blocks, and of code spans. One with a gap in it is not whole.
fn statements(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, part) in text.split("\n```").enumerate() {
        match part.strip_prefix("sql\n") {
            Some(block) => found.extend(split(block)),
            None if number % 2 == 0 => {
                let spans = part.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " "));
                found.extend(
                    spans.filter(|span| BEGINNINGS.iter().any(|beginning| span.starts_with(beginning))),
                );
            }
            None => {}
        }
    }
    found.retain(|statement| !statement.contains('…'));
    found
}

/// At semicolons, but for those in comments and texts.
fn split(block: &str) -> Vec<String> {
    let bare: Vec<&str> =
        block.lines().map(|line| line.split_once("--").map_or(line, |(before, _)| before)).collect();
    bare.join("\n").split(';').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

#[tokio::test]
async fn every_statement_of_the_documents_is_one_that_postgres_takes() {
    let rig = Rig::new().await;
    rig.client.batch_execute(TABLES).await.unwrap();
    let (mut broken, mut tried) = (Vec::new(), 0);
    for (path, text) in documents() {
        for statement in statements(&text) {
            tried += 1;
            // A session of its own: after an error a session of several statements would have to be mended.
            let client = connect(&rig.db.url).await.unwrap();
            if let Err(error) = client.prepare(&statement).await {
                broken.push(format!("{path}: {statement}: {error:?}"));
            }
        }
    }
    assert!(tried > 20, "only {tried} statements were found: the search is broken");
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn the_search_would_find_statements() {
    let text = "Say `select 1`, not `update`:\n\n```sql\n-- one; two\nselect 2; select\n3;\n```\n\nor `select\n4`.\n\n```sh\nls `pwd`\n```\n";
    assert_eq!(statements(text), ["select 1", "select 2", "select\n3", "select 4"]);
}
