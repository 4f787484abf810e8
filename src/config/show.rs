//! `relay config show`: every key with its value and who set it.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::json;

use super::load::{Loaded, Setting};
use super::value::Value;

/// For people: one line a key, and, where there are several outboxes, whose it is.
pub fn table(outboxes: &[Loaded]) -> String {
    let mut table = Table::new();
    // A line a key, whatever its width, so that the output can be searched and cut.
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let several = outboxes.len() > 1;
    let line = |outbox: &str, cells: [String; 3]| {
        several.then(|| outbox.to_owned()).into_iter().chain(cells).collect::<Vec<_>>()
    };
    table.set_header(line("OUTBOX", ["KEY", "VALUE", "ORIGIN"].map(str::to_owned)));
    for loaded in outboxes {
        for Setting { key, value, origin } in &loaded.settings {
            let value = match value {
                Value::Unset => "-".to_owned(),
                Value::Text(text) if text.is_empty() => "\"\"".to_owned(),
                value => value.to_string().escape_debug().to_string(),
            };
            table.add_row(line(&loaded.config.outbox.name, [key.path(), value, origin.to_string()]));
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    lines.join("\n")
}

/// For programs: an array of objects, in the table's order, an outbox after the other.
pub fn json(outboxes: &[Loaded]) -> serde_json::Value {
    let settings = outboxes.iter().flat_map(|loaded| {
        loaded.settings.iter().map(|Setting { key, value, origin }| {
            json!({
                "outbox": loaded.config.outbox.name,
                "key": key.path(),
                "value": value.to_json(),
                "origin": origin.to_string(),
                "secret": key.secret(),
            })
        })
    });
    settings.collect()
}
