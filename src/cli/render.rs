//! Tables for people.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};

/// A table with these columns.
pub(crate) fn table<const N: usize>(
    columns: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.map(str::to_uppercase));
    for row in rows {
        table.add_row(row.map(|cell| plain(&cell)));
    }
    lines(&table)
}

/// Names and values, one a line.
pub(crate) fn pairs(pairs: impl IntoIterator<Item = (String, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    for (name, value) in pairs {
        table.add_row([name, plain(&value)]);
    }
    lines(&table)
}

/// Without the padding that the preset leaves. A first cell that is empty keeps its width.
fn lines(table: &Table) -> String {
    let lines: Vec<String> =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Data on a terminal must not steer it.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

/// Text cut to a column's width.
pub(crate) fn short(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What was counted, with its noun: 1 row, 3 rows.
pub(crate) fn many(number: impl Into<i128>, noun: &str) -> String {
    let number = number.into();
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Seconds, for people.
pub(crate) fn seconds(seconds: f64) -> String {
    let rounded = if seconds < 10.0 { (seconds * 10.0).round() / 10.0 } else { seconds.round() };
    let duration = Duration::try_from_secs_f64(rounded.max(0.0)).unwrap_or(Duration::MAX);
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_data_do_not_reach_the_terminal() {
        let text = table(["a"], [["\u{1b}[2Jx".to_owned()]]);
        assert!(!text.contains('\u{1b}') && text.contains("[2Jx"), "{text}");
    }

    #[test]
    fn an_empty_first_cell_keeps_its_column() {
        let text = table(["at", "what"], [["now", "a"], ["", "b"]].map(|row| row.map(str::to_owned)));
        assert_eq!(text, "AT   WHAT\nnow  a\n     b");
    }

    #[test]
    fn text_is_cut_at_a_character_and_seconds_are_rounded() {
        assert_eq!(short("éé", 1), "é…");
        assert_eq!(short("éé", 2), "éé");
        assert_eq!([many(0, "row"), many(1_u64, "row"), many(2_i64, "row")], ["0 rows", "1 row", "2 rows"]);
        assert_eq!(seconds(1.26), "1s 300ms");
        assert_eq!(seconds(61.4), "1m 1s");
        assert_eq!(seconds(-1.0), "0s");
    }
}
