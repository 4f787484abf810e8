//! What is shown, and what keys do to it: a function of what was read and pressed.

use std::{sync::Arc, time::Duration};

use ratatui_core::{buffer::Buffer, layout::Rect, text::Line};

use super::{
    columns::{Kind, Palette},
    history::History,
    listener::Asked,
    view::{self, Frame},
};
use crate::{envelope::timestamp, operator::sample::Sample};

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Overview,
    Keys,
    Rows,
    Relays,
}

impl View {
    pub(super) const ALL: [Self; 4] = [Self::Overview, Self::Keys, Self::Rows, Self::Relays];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Keys => "keys",
            Self::Rows => "rows",
            Self::Relays => "relays",
        }
    }

    fn by(self, step: usize) -> Self {
        let place = Self::ALL.iter().position(|view| *view == self).unwrap_or(0);
        Self::ALL.get((place + step) % Self::ALL.len()).copied().unwrap_or(Self::Overview)
    }
}

/// A key that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Press {
    Quit,
    Freeze,
    Help,
    Next,
    Previous,
    View(View),
    Outbox,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    Back,
}

/// What a key asks for beyond the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Nothing,
    Quit,
    /// Read another outbox: this one, counted from 0.
    Outbox(usize),
}

/// An outbox, as far as it is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Title {
    pub(super) outbox: String,
    pub(super) server: String,
    pub(super) old_transaction: Duration,
}

/// What was read last, and before.
#[derive(Debug, Clone, Default)]
pub(super) struct Picture {
    pub(super) sample: Option<Arc<Sample>>,
    pub(super) history: History,
    pub(super) asked: Vec<Asked>,
    /// Why the last reading failed.
    pub(super) trouble: Option<String>,
}

/// What is shown.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    titles: Vec<Title>,
    outbox: usize,
    every: Duration,
    palette: Palette,
    view: View,
    scroll: usize,
    /// How many lines the last frame had room for, and how far down it could go.
    page: usize,
    bottom: usize,
    help: bool,
    live: Picture,
    frozen: Option<Picture>,
}

impl Screen {
    /// Of these outboxes the first, before anything was read.
    pub(super) fn new(titles: Vec<Title>, every: Duration, palette: Palette) -> Self {
        Self {
            titles,
            outbox: 0,
            every,
            palette,
            view: View::Overview,
            scroll: 0,
            page: 0,
            bottom: 0,
            help: false,
            live: Picture::default(),
            frozen: None,
        }
    }

    /// Something was read.
    pub(super) fn read(&mut self, sample: Sample, asked: Vec<Asked>) {
        self.live.history.push(&sample);
        self.live.sample = Some(Arc::new(sample));
        self.live.asked = asked;
        self.live.trouble = None;
    }

    /// Nothing could be read, for this reason.
    pub(super) fn failed(&mut self, trouble: String, asked: Vec<Asked>) {
        self.live.trouble = Some(trouble);
        self.live.asked = asked;
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, press: Press) -> Act {
        match press {
            Press::Quit => return Act::Quit,
            Press::Back if self.help => self.help = false,
            Press::Back => return Act::Quit,
            Press::Help => (self.help, self.scroll) = (!self.help, 0),
            Press::Freeze => {
                self.frozen = if self.frozen.is_some() { None } else { Some(self.live.clone()) };
            }
            Press::Next => self.look_at(self.view.by(1)),
            Press::Previous => self.look_at(self.view.by(View::ALL.len() - 1)),
            Press::View(view) => self.look_at(view),
            Press::Outbox if self.titles.len() > 1 => {
                self.outbox = (self.outbox + 1) % self.titles.len();
                (self.live, self.frozen, self.scroll) = (Picture::default(), None, 0);
                return Act::Outbox(self.outbox);
            }
            Press::Outbox => {}
            Press::Up => self.scroll = self.scroll.saturating_sub(1),
            Press::Down => self.scroll = (self.scroll + 1).min(self.bottom),
            Press::PageUp => self.scroll = self.scroll.saturating_sub(self.page),
            Press::PageDown => self.scroll = (self.scroll + self.page).min(self.bottom),
            Press::Top => self.scroll = 0,
            Press::Bottom => self.scroll = self.bottom,
        }
        Act::Nothing
    }

    fn look_at(&mut self, view: View) {
        (self.view, self.help, self.scroll) = (view, false, 0);
    }

    /// Draws it; `age` is how long ago the last reading succeeded.
    pub(super) fn draw(&mut self, area: Rect, buffer: &mut Buffer, age: Duration) {
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        let head = [self.head(age), self.tabs(width)];
        let body = if self.help { view::help(self.palette) } else { self.body(self.view, width) };
        self.page = height.saturating_sub(head.len() + 1);
        self.bottom = body.len().saturating_sub(self.page);
        self.scroll = self.scroll.min(self.bottom);
        let shown = body.iter().skip(self.scroll).take(self.page);
        let footer = self.footer(body.len());
        let mut put = |row: usize, line: &Line<'static>| {
            if let Ok(row) = u16::try_from(row)
                && row < area.height
            {
                buffer.set_line(area.x, area.y + row, line, area.width);
            }
        };
        head.iter().chain(shown).enumerate().for_each(|(row, line)| put(row, line));
        if height > head.len() {
            put(height - 1, &footer);
        }
    }

    /// Everything, one view after the other, as text for whoever has no terminal.
    pub(super) fn text(&self, width: usize) -> String {
        let mut lines = vec![self.head(Duration::ZERO)];
        for view in View::ALL {
            lines.push(Line::default());
            lines.push(Line::from(view.name().to_uppercase()));
            lines.extend(self.body(view, width));
        }
        lines.iter().map(|line| line.to_string().trim_end().to_owned() + "\n").collect()
    }

    fn shown(&self) -> &Picture {
        self.frozen.as_ref().unwrap_or(&self.live)
    }

    fn body(&self, view: View, width: usize) -> Vec<Line<'static>> {
        let picture = self.shown();
        let Some(sample) = &picture.sample else {
            let waiting = match &picture.trouble {
                Some(trouble) => (Kind::Bad, trouble.as_str()),
                None => (Kind::Dim, "reading …"),
            };
            return vec![Line::default(), Line::from(self.palette.span(waiting.0, waiting.1))];
        };
        let old = self.titles.get(self.outbox).map_or(Duration::MAX, |title| title.old_transaction);
        let frame = Frame { sample, picture, old, width, palette: self.palette };
        frame.body(view)
    }

    /// Which outbox, as of when, and whether that is still so.
    fn head(&self, age: Duration) -> Line<'static> {
        let span = |kind, text: &str| self.palette.span(kind, text);
        let picture = self.shown();
        let mut spans = vec![span(Kind::Title, "relay top")];
        let title = self.titles.get(self.outbox);
        if let Some(title) = title {
            spans.push(span(Kind::Plain, &format!("  {}", title.outbox)));
            if self.titles.len() > 1 {
                spans.push(span(Kind::Dim, &format!(" ({} of {})", self.outbox + 1, self.titles.len())));
            }
        }
        if self.frozen.is_some() {
            spans.extend([span(Kind::Plain, "  "), span(Kind::Chosen, " FROZEN ")]);
        } else if picture.trouble.is_some() && picture.sample.is_some() {
            let ago = humantime::format_duration(Duration::from_secs(age.as_secs()));
            spans.extend([span(Kind::Plain, "  "), span(Kind::Bad, &format!("STALE for {ago}"))]);
        }
        if let Some(sample) = &picture.sample {
            let at = timestamp(sample.at_us);
            spans.push(span(Kind::Plain, &format!("  {}Z", at.get(..19).unwrap_or_default())));
        }
        if let Some(title) = title {
            spans.push(span(Kind::Dim, &format!("  {}", title.server)));
        }
        Line::from(spans)
    }

    fn tabs(&self, width: usize) -> Line<'static> {
        let mut spans = Vec::new();
        for (number, view) in View::ALL.iter().enumerate() {
            let chosen = *view == self.view && !self.help;
            let name = if width < 50 { view.name().get(..4).unwrap_or_default() } else { view.name() };
            let kind = if chosen { Kind::Chosen } else { Kind::Plain };
            spans.push(self.palette.span(kind, &format!(" {} {name} ", number + 1)));
        }
        if self.help {
            spans.push(self.palette.span(Kind::Chosen, " ? help "));
        }
        Line::from(spans)
    }

    fn footer(&self, lines: usize) -> Line<'static> {
        let mut text = String::new();
        if self.bottom > 0 {
            text = format!("{}-{} of {lines}  ", self.scroll + 1, (self.scroll + self.page).min(lines));
        }
        text.push_str("q quit  ? help  tab view  p ");
        text.push_str(if self.frozen.is_some() { "go on" } else { "freeze" });
        if self.titles.len() > 1 {
            text.push_str("  o outbox");
        }
        text.push_str(&format!("  every {}", humantime::format_duration(self.every)));
        Line::from(self.palette.span(Kind::Dim, &text))
    }
}
