//! Migrations after the first only add, and only what a table in use can bear. What is none of the forms below needs a form
//! of its own here, and a reason why it does no harm; "Migrations" in docs/architecture.md says what to do instead.

use relay::{
    postgres::migrate::{History, RELAY},
    shipping::migrations::HISTORY,
};

/// Migrations that may do as they like: nothing older than them is in use any more, or was when they came.
const RELEASED: &[&str] =
    &["0001_outbox", "0001_orders", "0002_shipments", "0003_invoices", "0004_notices", "0005_api"];

/// What never is to be in one, not even in a block of PL/pgSQL.
const NEVER: &[&str] = &[
    "drop ",
    "rename ",
    "truncate ",
    "lock table",
    "vacuum ",
    "cluster ",
    "reindex ",
    "alter column",
    "set not null",
    "set schema",
    "disable ",
];

/// Tables no producer touches, and in which few rows are. An index of those of its rows that have a value in a column that
/// came with it is built of nothing, in one look at them.
const NO_PRODUCERS: &[&str] = &["relay.held_keys"];

/// Constants, which a new column can have without a look at the rows.
fn is_constant(default: &str) -> bool {
    let word = default.split([' ', ',']).next().unwrap_or_default();
    word.starts_with('\'') || ["true", "false", "null"].contains(&word) || word.parse::<f64>().is_ok()
}

/// Its statements, without comments, in lower case, with single spaces. What stands in dollar quotes is one word.
fn statements(sql: &str) -> Vec<String> {
    let code: Vec<&str> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let code = code.join("\n").to_lowercase();
    let (mut found, mut statement, mut rest) = (Vec::new(), String::new(), code.as_str());
    while let Some(at) = rest.find([';', '$', '\'']) {
        let (before, from) = rest.split_at(at);
        statement.push_str(before);
        let length = match from.as_bytes()[0] {
            b';' => {
                found.push(std::mem::take(&mut statement));
                rest = &from[1..];
                continue;
            }
            b'\'' => 1 + from[1..].find('\'').map_or(from.len() - 1, |end| end + 1),
            _ => {
                let tag = &from[..from[1..].find('$').expect("a tag ends") + 2];
                tag.len() + from[tag.len()..].find(tag).expect("a quote ends") + tag.len()
            }
        };
        statement.push_str(&from[..length]);
        rest = &from[length..];
    }
    found.push(statement + rest);
    let single = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    found.into_iter().map(single).filter(|text| !text.is_empty()).collect()
}

/// The word after one of these beginnings.
fn named<'a>(statement: &'a str, beginnings: &[&str]) -> Option<&'a str> {
    let rest = beginnings.iter().find_map(|beginning| statement.strip_prefix(beginning))?;
    rest.split([' ', '(']).find(|word| !word.is_empty())
}

/// What is wrong with a migration.
fn objections(sql: &str) -> Vec<String> {
    let statements = statements(sql);
    let new: Vec<&str> = statements
        .iter()
        .filter_map(|one| named(one, &["create table if not exists ", "create table "]))
        .collect();
    let is_new = |table: Option<&str>| table.is_some_and(|table| new.contains(&table));
    let mut wrong = Vec::new();
    for statement in &statements {
        let start: String = statement.chars().take(70).collect();
        let mut object = |why: &str| wrong.push(format!("{start:?}: {why}"));
        let is_function = ["create function ", "create or replace function "];
        if is_function.iter().any(|beginning| statement.starts_with(beginning)) {
            continue;
        }
        for never in NEVER.iter().filter(|never| statement.contains(**never)) {
            object(&format!("no {never:?}"));
        }
        if ["create table ", "comment on ", "grant ", "do "].iter().any(|free| statement.starts_with(free)) {
            continue;
        }
        if let Some(table) = named(statement, &["insert into ", "update ", "delete from "]) {
            if !is_new(Some(table)) {
                object(
                    "rows that are there already are changed a few at a time, by relay, not in one transaction",
                );
            }
        } else if statement.starts_with("create index ") || statement.starts_with("create unique index ") {
            let table = statement.split(" on ").nth(1).and_then(|rest| rest.split([' ', '(']).next());
            let of_nothing = statement
                .strip_suffix(" is not null")
                .and_then(|rest| rest.split(" where ").nth(1))
                .zip(table.filter(|table| NO_PRODUCERS.contains(table)))
                .is_some_and(|(column, table)| {
                    let added = format!("alter table {table} add column {column} ");
                    statements.iter().any(|one| one.starts_with(&added))
                });
            if !is_new(table) && !of_nothing {
                object("producers would wait until the index is built");
            }
        } else if let Some(table) = named(statement, &["alter table "]) {
            let what = statement.strip_prefix("alter table ").and_then(|rest| rest.strip_prefix(table));
            let what = what.unwrap_or_default().trim_start();
            if is_new(Some(table)) || what.starts_with("set (") {
                continue;
            }
            let Some(column) = what.strip_prefix("add column ") else {
                object("an older relay knows nothing of it, or all wait for it");
                continue;
            };
            if [" add ", " unique", " primary key", " references ", " check ", " check(", " generated "]
                .iter()
                .any(|word| column.contains(word))
            {
                object("one column, without a constraint: every row would be looked at");
            }
            match column.split_once(" default ") {
                Some((_, default)) if !is_constant(default) => object("every row would be written anew"),
                None if column.contains(" not null") => {
                    object("without a default an older relay can't insert")
                }
                _ => {}
            }
        } else {
            object("none of the forms that are known to do no harm");
        }
    }
    wrong
}

#[test]
fn migrations_only_add_what_an_older_relay_and_a_table_in_use_can_bear() {
    let histories: [History; 2] = [RELAY, HISTORY];
    let mut judged = 0;
    for migration in histories.iter().flat_map(|history| history.migrations) {
        if !RELEASED.contains(&migration.name) {
            let wrong = objections(migration.sql);
            assert!(wrong.is_empty(), "{}:\n{}", migration.name, wrong.join("\n"));
            judged += 1;
        }
    }
    assert!(judged >= 5);
}

#[test]
fn what_an_older_relay_or_a_table_in_use_can_not_bear_is_noticed() {
    for harmful in [
        "alter table relay.outbox drop column last_error",
        "alter table relay.outbox rename column last_error to error",
        "alter table relay.outbox alter column attempts type bigint",
        "alter table relay.outbox alter column exchange set not null",
        "alter table relay.outbox add column tenant text not null",
        "alter table relay.outbox add column tenant uuid not null default gen_random_uuid()",
        "alter table relay.outbox add column tenant text check (tenant <> '')",
        "alter table relay.outbox add column lane2 smallint generated always as (1) stored",
        "alter table relay.outbox add constraint positive check (attempts >= 0)",
        "create index outbox_type on relay.outbox (event_type)",
        "create index keys_since on relay.held_keys (since) where since is not null",
        "alter table relay.outbox add column a text; create index outbox_a on relay.outbox (a) where a is not null",
        "create unique index concurrently outbox_type on relay.outbox (event_type)",
        "update relay.outbox set state = 'ready'",
        "delete from relay.audit",
        "drop function relay.wake",
        "truncate relay.relays",
        "lock table relay.outbox",
        "do $$ begin execute 'alter table relay.outbox drop column suspect'; end $$",
        "create trigger two after insert on relay.outbox for each row execute function relay.wake()",
        "comment on table relay.outbox is 'a; b'; drop table relay.outbox",
    ] {
        assert!(!objections(harmful).is_empty(), "nothing is said of: {harmful}");
    }
    for harmless in [
        "alter table relay.outbox add column a text; alter table relay.outbox add column b boolean not null default false",
        "create table relay.a (b text primary key check (b <> '')); create index a_b on relay.a (b); -- drop table\n
         insert into relay.a (b) values ('c')",
        "create or replace function relay.f() returns void language plpgsql as $b$ begin delete from relay.a; end $b$",
        "alter table relay.outbox set (autovacuum_vacuum_threshold = 1)",
        "alter table relay.held_keys add column a text; create index keys_a on relay.held_keys (a) where a is not null",
        "comment on table relay.outbox is 'to; drop '''",
    ] {
        // A word in a comment on a table is no act; that it is called one costs a rephrasing.
        let objections: Vec<_> = objections(harmless).into_iter().filter(|one| !one.starts_with("\"comment")).collect();
        assert!(objections.is_empty(), "{harmless}: {objections:?}");
    }
}
