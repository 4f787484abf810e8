//! `relay config show`: every key with its value and who set it.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::json;

use super::load::{Loaded, Setting};
use super::value::Value;

/// For people: one line a key.
pub fn table(loaded: &Loaded) -> String {
    let mut table = Table::new();
    // A line a key, whatever its width, so that the output can be searched and cut.
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["KEY", "VALUE", "ORIGIN"]);
    for Setting { key, value, origin } in &loaded.settings {
        let value = match value {
            Value::Unset => "-".to_owned(),
            Value::Text(text) if text.is_empty() => "\"\"".to_owned(),
            value => value.to_string().escape_debug().to_string(),
        };
        table.add_row([key.path(), value, origin.to_string()]);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    lines.join("\n")
}

/// For programs: an array of objects, in the table's order.
pub fn json(loaded: &Loaded) -> serde_json::Value {
    let settings = loaded.settings.iter().map(|Setting { key, value, origin }| {
        json!({
            "key": key.path(),
            "value": value.to_json(),
            "origin": origin.to_string(),
            "secret": key.secret(),
        })
    });
    settings.collect()
}
