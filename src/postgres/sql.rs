//! SQL text for the configured schema.

/// Puts the schema's name into a statement written for the schema `relay`.
///
/// Statements say `relay.` wherever they mean the schema and never otherwise, so they can be run as they stand.
#[must_use]
pub fn in_schema(statement: &str, schema: &str) -> String {
    renamed(statement, "relay", schema)
}

/// Puts a schema's name into a text written for a schema of another name, under the same rule.
#[must_use]
pub fn renamed(text: &str, written_for: &str, schema: &str) -> String {
    if schema == written_for {
        text.to_owned()
    } else {
        text.replace(&format!("{written_for}."), &format!("{}.", quoted(schema)))
    }
}

/// Session settings for statements that run thousands of times a second on a table that turns over: planned once, and by
/// their indexes. Planning each time would cost as much as running, and what statistics say of such a table, empty now
/// and a million rows in a minute, is no ground for a plan. Nor for compiling one: what only a sequential scan can do, such
/// as reading the sequence, then looks so dear that Postgres would spend 235 ms on it, each time.
pub const STEADY_PLANS: &[&str] =
    &["plan_cache_mode = force_generic_plan", "enable_seqscan = off", "enable_bitmapscan = off", "jit = off"];

/// Statements that make settings, each `name = value`, by a verb: `set`, or `set local`.
#[must_use]
pub fn sets(verb: &str, settings: &[impl AsRef<str>]) -> String {
    settings.iter().map(|setting| format!("{verb} {};", setting.as_ref())).collect()
}

/// The schema's name as SQL takes it, whatever word it is. The configuration allows letters, digits and underscores.
#[must_use]
pub fn quoted(schema: &str) -> String {
    format!("\"{schema}\"")
}

/// The channel that wakes the relays of a schema's outbox; the trigger builds the same name.
#[must_use]
pub fn channel(schema: &str) -> String {
    format!("{schema}.outbox")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_the_configured_schema() {
        assert_eq!(
            in_schema("select from relay.outbox, relay.lanes", "shop"),
            "select from \"shop\".outbox, \"shop\".lanes"
        );
    }

    #[test]
    fn settings_become_statements() {
        assert_eq!(sets("set local", &["jit = off", "a = b"]), "set local jit = off;set local a = b;");
    }
}
