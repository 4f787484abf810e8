//! What migrations make, read from their own text: so that a database can be compared with them, and what is missing be
//! made again by the very statement that made it first.

use super::migrate::History;

/// Kinds of things that a migration makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A table.
    Table,
    /// A column.
    Column,
    /// An index, be it of a constraint.
    Index,
    /// A trigger.
    Trigger,
    /// A function.
    Function,
}

impl Kind {
    /// Its name, as `sql/queries/catalog/parts.sql` has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Column => "column",
            Self::Index => "index",
            Self::Trigger => "trigger",
            Self::Function => "function",
        }
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// The table it belongs to; empty of a function.
    pub of: String,
    /// Its name.
    pub name: String,
    /// Whether something is unique by it.
    pub unique: bool,
    /// The statement that makes it again, where one alone does; written for the history's schema.
    pub remake: Option<String>,
}

impl Part {
    fn new(kind: Kind, of: &str, name: &str, remake: Option<String>) -> Self {
        Self { kind, of: of.to_owned(), name: name.to_owned(), unique: false, remake }
    }

    fn unique(of: &str, name: &str, remake: String) -> Self {
        Self { unique: true, ..Self::new(Kind::Index, of, name, Some(remake)) }
    }
}

/// Everything the migrations of a history make, in their order. It relies on how they are written: in lower case, every
/// object named with its schema.
#[must_use]
pub fn parts(history: &History) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for migration in history.migrations {
        let text: Vec<&str> =
            migration.sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
        let text = text.join("\n");
        let schema = format!("{}.", history.written_for);
        let mut rest = text.as_str();
        while let Some(at) = next(rest) {
            let statement = rest.get(at..).unwrap_or_default();
            for part in read(statement, &schema) {
                // A function may be replaced.
                if !parts
                    .iter()
                    .any(|known| (known.kind, &known.of, &known.name) == (part.kind, &part.of, &part.name))
                {
                    parts.push(part);
                }
            }
            rest = statement.get(1..).unwrap_or_default();
        }
    }
    parts
}

/// Where the next statement begins that makes something.
fn next(text: &str) -> Option<usize> {
    ["create ", "alter table "].iter().filter_map(|begin| text.find(begin)).min()
}

/// What the statement at the beginning of this text makes.
fn read(statement: &str, schema: &str) -> Vec<Part> {
    let end = statement.find(';').unwrap_or(statement.len());
    let line = words(statement.get(..end).unwrap_or_default());
    let after = |begin: &str| Some(line.strip_prefix(begin)?.strip_prefix(schema)?.to_owned());
    if let Some(rest) = after("create table ") {
        let Some((name, body)) = rest.split_once(" (") else { return Vec::new() };
        return table(schema, name, body.strip_suffix(')').unwrap_or(body));
    }
    if let Some(rest) = after("alter table ")
        && let Some((table, column)) = rest.split_once(" add column ")
    {
        return vec![column_of(schema, table, column)];
    }
    for begin in ["create index ", "create unique index "] {
        if let Some(rest) = line.strip_prefix(begin)
            && let Some((name, on)) = rest.split_once(" on ")
            && let Some(table) = on.strip_prefix(schema).map(identifier)
        {
            let remake = Some(format!("{begin}concurrently {rest}"));
            let unique = begin.contains("unique");
            return vec![Part { unique, ..Part::new(Kind::Index, table, name, remake) }];
        }
    }
    for begin in ["create function ", "create or replace function "] {
        if let Some(rest) = after(begin) {
            return vec![Part::new(Kind::Function, "", identifier(&rest), None)];
        }
    }
    if let Some(rest) = line.strip_prefix("create trigger ")
        && let Some((name, on)) = rest.split_once(' ')
        && let Some((_, table)) = on.split_once(&format!(" on {schema}"))
    {
        return vec![Part::new(Kind::Trigger, identifier(table), name, None)];
    }
    Vec::new()
}

/// A table, its columns, and the indexes of its constraints.
fn table(schema: &str, name: &str, body: &str) -> Vec<Part> {
    let mut parts = vec![Part::new(Kind::Table, name, name, None)];
    for entry in entries(body) {
        if let Some(columns) = entry.strip_prefix("primary key ") {
            let remake = format!("alter table {schema}{name} add primary key {columns}");
            parts.push(Part::unique(name, &format!("{name}_pkey"), remake));
        }
        if ["primary key ", "check ", "check(", "unique ", "constraint "]
            .iter()
            .any(|word| entry.starts_with(word))
        {
            continue;
        }
        let column = column_of(schema, name, &entry);
        if entry.contains(" primary key") {
            let remake = format!("alter table {schema}{name} add primary key ({})", column.name);
            parts.push(Part::unique(name, &format!("{name}_pkey"), remake));
        } else if entry.contains(" unique") {
            let remake = format!("alter table {schema}{name} add unique ({})", column.name);
            parts.push(Part::unique(name, &format!("{name}_{}_key", column.name), remake));
        }
        parts.push(column);
    }
    parts
}

fn column_of(schema: &str, table: &str, entry: &str) -> Part {
    let remake = format!("alter table {schema}{table} add column {entry}");
    Part::new(Kind::Column, table, identifier(entry), Some(remake))
}

/// What stands between the commas that are in no parentheses.
fn entries(body: &str) -> Vec<String> {
    let (mut entries, mut entry, mut depth) = (Vec::new(), String::new(), 0_i32);
    for letter in body.chars() {
        match letter {
            ',' if depth == 0 => entries.push(std::mem::take(&mut entry).trim().to_owned()),
            _ => {
                depth += match letter {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
                entry.push(letter);
            }
        }
    }
    entries.push(entry.trim().to_owned());
    entries
}

/// The identifier at the beginning of this text.
fn identifier(text: &str) -> &str {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().unwrap_or_default()
}

/// In one line, with single spaces.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{super::migrate::RELAY, *};

    fn remake(kind: Kind, of: &str, name: &str) -> Option<String> {
        let part =
            parts(&RELAY).into_iter().find(|part| (part.kind, &*part.of, &*part.name) == (kind, of, name));
        part.unwrap_or_else(|| panic!("no {kind:?} {name} of {of}")).remake
    }

    #[test]
    fn what_migrations_make_is_read_from_their_text() {
        assert_eq!(
            remake(Kind::Index, "outbox", "outbox_ready").as_deref(),
            Some(
                "create index concurrently outbox_ready on relay.outbox (seq) where state = 'ready' and \
                 published_at is null and dead_at is null"
            )
        );
        assert_eq!(
            remake(Kind::Index, "outbox", "outbox_event_id_key").as_deref(),
            Some("alter table relay.outbox add unique (event_id)")
        );
        assert_eq!(
            remake(Kind::Index, "held_keys", "held_keys_pkey").as_deref(),
            Some("alter table relay.held_keys add primary key (aggregate_type, aggregate_id)")
        );
        assert_eq!(
            remake(Kind::Column, "outbox", "suspect").as_deref(),
            Some("alter table relay.outbox add column suspect boolean not null default false")
        );
        for function in ["enqueue", "wake", "wake_class", "lane_of", "uuid_v7", "close_released"] {
            assert_eq!(remake(Kind::Function, "", function), None);
        }
        assert_eq!(remake(Kind::Trigger, "outbox", "wake"), None);
        assert_eq!(parts(&RELAY).iter().filter(|part| part.kind == Kind::Table).count(), 8);
    }
}
