//! The table of keys, for editors (`relay config schema`) and for readers (the reference in the documentation).

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::keys::{KEYS, Key, OUTBOX};
use super::kind::Kind;

/// A JSON Schema of `relay.toml`, for editors and for checks before a deployment.
///
/// What a schema cannot say (ranges of durations, relations between keys) `relay config check` does.
pub fn schema() -> Json {
    let mut sections = Map::new();
    for key in KEYS {
        let section = sections.entry(key.section).or_insert_with(|| object(Map::new()));
        section["properties"][key.name] = property(key);
    }
    // One outbox, or a list of them, each with what differs from the rest of the file.
    if let Some(outbox) = sections.remove(OUTBOX) {
        let mut block = outbox["properties"].as_object().cloned().unwrap_or_default();
        let own = |name: &str| KEYS.iter().any(|key| key.section == name && !key.of_process());
        let others = sections.iter().filter(|(name, _)| own(name));
        block.extend(others.map(|(name, section)| (name.clone(), section.clone())));
        let mut block = object(block);
        block["required"] = json!(["name"]);
        let list = json!({ "type": "array", "minItems": 1, "items": block });
        sections.insert(OUTBOX.to_owned(), json!({ "oneOf": [outbox, list] }));
    }
    let mut schema = object(sections);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "relay.toml".into();
    schema
}

fn object(properties: Map<String, Json>) -> Json {
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn property(key: &Key) -> Json {
    let mut property = match key.kind {
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Size { min, max } => json!({ "type": ["integer", "string"], "minimum": min, "maximum": max }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Exchanges => {
            json!({ "type": "array", "items": { "type": "string", "minLength": 1, "maxLength": 255 } })
        }
        Kind::Choice(names) => json!({ "type": "string", "enum": names }),
        Kind::Name | Kind::Exchange => json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
        Kind::Identifier => json!({ "type": "string", "pattern": "^[a-z_][a-z0-9_]{0,62}$" }),
        Kind::PostgresUrl | Kind::AmqpUrl => json!({ "type": "string", "writeOnly": true }),
        Kind::Token => json!({ "type": "string", "minLength": 16, "maxLength": 255, "writeOnly": true }),
        Kind::Duration { .. }
        | Kind::Age { .. }
        | Kind::Template
        | Kind::Filter
        | Kind::Path
        | Kind::Address => {
            json!({ "type": "string" })
        }
    };
    property["description"] = format!("{} Write {}.", key.doc, key.kind).into();
    if let (Some(default), Ok(value)) = (key.default, key.default_value()) {
        // A size reads better as it stands in the table.
        property["default"] = match key.kind {
            Kind::Size { .. } if default.parse::<u64>().is_err() => default.into(),
            _ => value.to_json(),
        };
    }
    property
}

/// The reference of all keys, a Markdown table a section.
pub fn reference() -> String {
    let mut text = String::new();
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            let heading = "| Key | Environment | Default | Meaning |\n|---|---|---|---|\n";
            let gap = if text.is_empty() { "" } else { "\n" };
            // Writing to a string cannot fail.
            let _ = write!(text, "{gap}### `[{section}]`\n\n{heading}");
        }
        let default = match key.default {
            None => "none".to_owned(),
            Some("") => "empty".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        let variables: Vec<String> = key
            .variables()
            .map(|name| if key.secret() { format!("`{name}`[`_FILE`]") } else { format!("`{name}`") })
            .collect();
        let meaning = key.doc.replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {} | {default} | {meaning} |", key.name, variables.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_every_key_and_nothing_else() {
        let schema = schema();
        for key in KEYS {
            let mut section = &schema["properties"][key.section];
            if key.section == OUTBOX {
                section = &section["oneOf"][0];
            }
            let property = &section["properties"][key.name];
            assert!(property["type"].is_string() || property["type"].is_array(), "{key:?}");
            assert!(property["description"].is_string(), "{key:?}");
            assert_eq!(property.get("default").is_some(), key.default.is_some(), "{key:?}");
        }
        let block = &schema["properties"][OUTBOX]["oneOf"][1]["items"]["properties"];
        for key in KEYS.iter().filter(|key| key.section != OUTBOX) {
            let there = block[key.section]["properties"][key.name].is_object();
            assert_eq!(there, !key.of_process(), "{key:?} in a block");
        }
        assert!(block["exchange"].is_object());
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["lease"]["additionalProperties"], false);
        assert_eq!(schema["properties"]["limits"]["properties"]["in_flight_bytes"]["default"], "64MiB");
        assert_eq!(schema["properties"]["amqp"]["properties"]["publishers"]["default"], 4);
    }

    #[test]
    fn the_reference_has_a_line_for_every_key() {
        let text = reference();
        for key in KEYS {
            assert!(text.contains(&format!("| `{}` | `{}`", key.name, key.variable())), "{key:?}");
        }
        assert!(text.contains("`RELAY_DATABASE_URL`[`_FILE`], `DATABASE_URL`[`_FILE`]"));
    }
}
