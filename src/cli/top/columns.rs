//! Text in columns, for a terminal of any width: what matters least is left out, then the widest is cut.

use ratatui_core::{
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

use crate::cli::render;

/// Blanks between two columns.
const GAP: usize = 2;
/// What is wider is left out rather than cut to less, if it may be left out; and to how much anything may be cut.
const LEGIBLE: usize = 12;
const LEAST: usize = 6;

/// What a text is, which decides its looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Title,
    Dim,
    Good,
    Warning,
    Bad,
    Chosen,
}

/// Whether there are colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Palette {
    pub(super) colour: bool,
}

impl Palette {
    /// Without colours what matters is told apart by being bold.
    pub(super) fn style(self, kind: Kind) -> Style {
        let coloured = |colour| if self.colour { Style::new().fg(colour) } else { Style::new() };
        match kind {
            Kind::Plain => Style::new(),
            Kind::Title => Style::new().add_modifier(Modifier::BOLD),
            Kind::Dim => coloured(Color::DarkGray),
            Kind::Good => coloured(Color::Green),
            Kind::Warning => coloured(Color::Yellow).add_modifier(Modifier::BOLD),
            Kind::Bad => coloured(Color::Red).add_modifier(Modifier::BOLD),
            Kind::Chosen => Style::new().add_modifier(Modifier::REVERSED),
        }
    }

    /// A piece of text that steers no terminal, whatever is in it.
    pub(super) fn span(self, kind: Kind, text: &str) -> Span<'static> {
        Span::styled(render::plain(text), self.style(kind))
    }
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    right: bool,
    /// What has the highest is left out first where there is no room; 0 never.
    rank: u8,
}

impl Column {
    pub(super) const fn text(title: &'static str, rank: u8) -> Self {
        Self { title, right: false, rank }
    }

    pub(super) const fn number(title: &'static str, rank: u8) -> Self {
        Self { title, right: true, rank }
    }
}

/// A cell of a table.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    kind: Kind,
}

impl Cell {
    pub(super) fn of(kind: Kind, text: impl Into<String>) -> Self {
        Self { text: render::plain(&text.into()), kind }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::of(Kind::Plain, text)
    }
}

/// A table's lines, its heading first.
pub(super) fn table<const N: usize>(
    columns: [Column; N],
    rows: &[[Cell; N]],
    width: usize,
    palette: Palette,
) -> Vec<Line<'static>> {
    let natural = |index: usize, column: &Column| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| columns_of(&cell.text));
        cells.fold(columns_of(column.title), usize::max)
    };
    let mut kept: Vec<(usize, Column, usize)> =
        columns.iter().enumerate().map(|(index, column)| (index, *column, natural(index, column))).collect();
    let gaps = |count: usize| GAP * count.saturating_sub(1);
    loop {
        let least: usize = kept.iter().map(|(_, _, natural)| (*natural).min(LEGIBLE)).sum();
        let last = kept.iter().enumerate().max_by_key(|(_, (_, column, _))| column.rank);
        match last {
            Some((place, (_, column, _))) if least + gaps(kept.len()) > width && column.rank > 0 => {
                kept.remove(place);
            }
            _ => break,
        }
    }
    let room = width.saturating_sub(gaps(kept.len()));
    while kept.iter().map(|(_, _, wide)| wide).sum::<usize>() > room {
        match kept.iter_mut().max_by_key(|(_, _, wide)| *wide) {
            Some((_, _, wide)) if *wide > LEAST => *wide -= 1,
            _ => break,
        }
    }
    let line = |cell: &dyn Fn(usize, &Column) -> (String, Kind)| {
        let mut spans = Vec::new();
        for (place, (index, column, wide)) in kept.iter().enumerate() {
            let (text, kind) = cell(*index, column);
            if place > 0 {
                spans.push(Span::raw(" ".repeat(GAP)));
            }
            spans.push(Span::styled(fitted(&text, *wide, column.right), palette.style(kind)));
        }
        Line::from(spans)
    };
    let mut lines = vec![line(&|_, column| (column.title.to_uppercase(), Kind::Title))];
    lines.extend(rows.iter().map(|row| {
        line(&|index, _| match row.get(index) {
            Some(cell) => (cell.text.clone(), cell.kind),
            None => (String::new(), Kind::Plain),
        })
    }));
    lines
}

/// How many columns of a terminal a text takes.
fn columns_of(text: &str) -> usize {
    Span::raw(text).width()
}

/// Text of exactly so many columns.
pub(super) fn fitted(text: &str, wide: usize, right: bool) -> String {
    let cut = cut(text, wide);
    let blanks = " ".repeat(wide.saturating_sub(columns_of(&cut)));
    if right { blanks + &cut } else { cut + &blanks }
}

/// Text of so many columns at most.
fn cut(text: &str, wide: usize) -> String {
    if columns_of(text) <= wide {
        return text.to_owned();
    }
    let mut kept = String::new();
    for char in text.chars() {
        kept.push(char);
        if columns_of(&kept) >= wide {
            kept.pop();
            break;
        }
    }
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Palette = Palette { colour: false };

    fn text(lines: &[Line<'_>]) -> Vec<String> {
        lines.iter().map(|line| line.to_string().trim_end().to_owned()).collect()
    }

    #[test]
    fn a_narrow_table_leaves_out_what_matters_least_and_then_cuts_what_is_widest() {
        let columns = [Column::text("key", 0), Column::number("rows", 1), Column::text("error", 2)];
        let rows = [[Cell::from("order/4711"), "12".into(), "no queue is bound".into()]];
        assert_eq!(
            text(&table(columns, &rows, 80, PLAIN)),
            ["KEY         ROWS  ERROR", "order/4711    12  no queue is bound"]
        );
        assert_eq!(
            text(&table(columns, &rows, 30, PLAIN)),
            ["KEY         ROWS  ERROR", "order/4711    12  no queue is…"]
        );
        assert_eq!(text(&table(columns, &rows, 29, PLAIN)), ["KEY         ROWS", "order/4711    12"]);
        assert_eq!(text(&table(columns, &rows, 15, PLAIN)), ["KEY", "order/4711"]);
        assert_eq!(text(&table(columns, &rows, 9, PLAIN)), ["KEY", "order/47…"]);
        assert_eq!(text(&table(columns, &rows, 0, PLAIN)), ["KEY", "order…"], "never nothing");
    }

    #[test]
    fn wide_characters_take_their_room_and_escapes_none() {
        assert_eq!(fitted("注文注文", 6, false), "注文… ");
        assert_eq!(fitted("é", 3, true), "  é");
        assert_eq!(Cell::from("\u{1b}[2J").text, "\u{fffd}[2J");
    }

    #[test]
    fn without_colours_nothing_is_coloured() {
        for kind in [Kind::Plain, Kind::Title, Kind::Dim, Kind::Good, Kind::Warning, Kind::Bad, Kind::Chosen]
        {
            let style = PLAIN.style(kind);
            assert_eq!((style.fg, style.bg), (None, None), "{kind:?}");
        }
        assert_eq!(Palette { colour: true }.style(Kind::Bad).fg, Some(Color::Red));
    }
}
