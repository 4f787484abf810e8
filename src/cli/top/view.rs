//! The views: what was read, as lines of text.

use std::time::Duration;

use ratatui_core::text::{Line, Span};

use super::{
    columns::{Kind, Palette, fitted},
    history::{Curve, rate},
    listener::{Breaker, Says},
    screen::{Picture, View},
};
use crate::{
    cli::render::{seconds, short},
    metrics::STATES,
    operator::sample::Sample,
    outbox::backlog::COUNTED_TO,
    pause::Target,
};

/// Columns that the names of facts take.
const NAMES: usize = 11;
/// Columns that facts take beside a curve, and the most that a curve does.
const FACT: usize = 44;
const CURVE: usize = 60;
/// Rows of a table that the overview shows.
pub(super) const FEW: usize = 5;
/// Rows that are due and do not go out, for so many seconds, are worth a word.
const STILL: f64 = 10.0;
/// Characters of a text of others' that are shown at most.
pub(super) const LONG: usize = 200;

/// What a view is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) sample: &'a Sample,
    pub(super) picture: &'a Picture,
    /// From which age on a transaction that holds back vacuum matters.
    pub(super) old: Duration,
    pub(super) width: usize,
    pub(super) palette: Palette,
}

pub(super) type Lines = Vec<Line<'static>>;

impl Frame<'_> {
    /// A view's lines.
    pub(super) fn body(&self, view: View) -> Lines {
        let mut lines = match &self.picture.trouble {
            Some(trouble) => vec![self.line(Kind::Bad, &format!("! {trouble}"))],
            None => Vec::new(),
        };
        match view {
            View::Overview => self.overview(&mut lines),
            View::Keys => {
                lines.extend(self.held(usize::MAX));
                lines.extend(self.hot());
            }
            View::Rows => {
                lines.extend(self.retrying());
                lines.extend(self.dead(usize::MAX));
            }
            View::Relays => {
                lines.extend(self.relays());
                lines.extend(self.lanes());
                lines.extend(self.asked());
            }
        }
        lines
    }

    fn overview(&self, lines: &mut Lines) {
        lines.extend(self.remarks().iter().map(|(kind, text)| self.line(*kind, text)));
        lines.push(Line::default());
        lines.extend(self.facts());
        lines.extend(self.relays());
        lines.extend(self.pauses());
        lines.extend(self.held(FEW));
        lines.extend(self.dead(FEW));
    }

    pub(super) fn line(&self, kind: Kind, text: &str) -> Line<'static> {
        Line::from(self.palette.span(kind, text))
    }

    /// What stands out, the worst first.
    fn remarks(&self) -> Vec<(Kind, String)> {
        let status = &self.sample.status;
        let mut remarks = Vec::new();
        let mut say = |kind, text: String| remarks.push((kind, format!("! {text}")));
        let (unowned, lanes) = (status.unowned.len(), status.lanes);
        if unowned == lanes {
            let last = status.relays.iter().min_by(|a, b| a.seen_ago.total_cmp(&b.seen_ago));
            let last = last.map_or_else(
                || "none was here within a day".to_owned(),
                |relay| format!("{} was last heard of {} ago", relay.name, seconds(relay.seen_ago)),
            );
            say(Kind::Bad, format!("no relay lives, so nothing is published: {last}"));
        } else if unowned > 0 {
            say(Kind::Bad, format!("no relay holds {unowned} of {lanes} lanes"));
        }
        let everything = status.pauses.iter().find(|pause| pause.target == Target::All);
        if let Some(pause) = everything {
            say(Kind::Warning, format!("everything is paused, by {}", pause.actor));
        }
        let still = self.picture.history.still();
        if still >= STILL && everything.is_none() && unowned < lanes {
            let text = format!("rows are due, and none was seen to go out for {}", seconds(still));
            say(Kind::Bad, format!("{text}: ask a relay why, by its /readyz, or relay doctor"));
        }
        for asked in &self.picture.asked {
            match &asked.answer {
                Ok(Says { breaker: Some(Breaker::Open), .. }) => {
                    say(Kind::Bad, format!("{}: its circuit to the broker is open", asked.whom));
                }
                Ok(Says { blocked: Some(true), .. }) => {
                    say(Kind::Bad, format!("{}: the broker takes no messages", asked.whom));
                }
                Ok(_) => {}
                Err(error) => say(Kind::Warning, format!("{}: {error}", asked.whom)),
            }
        }
        if status.backlog.dead > 0 {
            say(
                Kind::Warning,
                format!("{} dead rows wait for you: relay dlq list", count(status.backlog.dead)),
            );
        }
        let others = status.pauses.iter().filter(|pause| pause.target != Target::All).count();
        if others > 0 {
            say(Kind::Warning, format!("pauses of routes or keys: {others}"));
        }
        if let Some(holder) = &status.cleanup
            && holder.seconds.is_none_or(|age| age >= self.old.as_secs_f64())
        {
            let age = holder.seconds.map_or_else(String::new, |age| format!(", for {}", seconds(age)));
            say(Kind::Warning, format!("vacuum is held back by {holder}{age}"));
        }
        if remarks.is_empty() {
            remarks.push((Kind::Good, "nothing stands out".to_owned()));
        }
        remarks
    }

    fn facts(&self) -> Lines {
        let (sample, backlog) = (self.sample, &self.sample.status.backlog);
        let pending: i64 = backlog.pending.iter().sum();
        let states: Vec<String> = STATES
            .iter()
            .zip(backlog.pending)
            .map(|(state, rows)| format!("{state} {}", count(rows)))
            .collect();
        let change = sample.change;
        let a_second = |rows: Option<i64>| match (change, rows) {
            (Some(change), Some(rows)) => per_second(rate(&change, rows)),
            _ => "reading …".to_owned(),
        };
        let more = if change.is_some_and(|change| change.more_published) { "more than " } else { "" };
        let published = format!("{more}{}", a_second(change.map(|change| change.published)));
        let mut lines = vec![
            self.fact("lag", Kind::Title, &seconds(backlog.oldest_age), Some(Curve::Lag)),
            self.fact("backlog", loud(pending > 0), &states.join("  "), Some(Curve::Backlog)),
            self.fact("added", Kind::Plain, &a_second(change.map(|change| change.added)), Some(Curve::Added)),
            self.fact("published", Kind::Plain, &published, Some(Curve::Published)),
        ];
        let mut dead = count(backlog.dead);
        if backlog.dead > 0 {
            let reasons: Vec<String> = sample
                .dead_by_reason
                .iter()
                .map(|(reason, rows)| format!("{reason} {}", count(*rows)))
                .collect();
            let since = seconds(backlog.oldest_dead_age);
            dead = format!("{dead}  {}  since {since}", reasons.join("  "));
        }
        if let Some(change) = change.filter(|change| change.died > 0) {
            dead.push_str(&format!("  dying {}", per_second(rate(&change, change.died))));
        }
        lines.push(self.fact("dead", bad(backlog.dead > 0), &dead, None));
        let next = sample.retrying.first().map(|row| {
            if row.due_in > 0.0 { format!("  next in {}", seconds(row.due_in)) } else { "  due".to_owned() }
        });
        let retrying = format!("{}{}", sample.retrying_rows, next.unwrap_or_default());
        lines.push(self.fact("retrying", loud(sample.retrying_rows > 0), &retrying, None));
        let mut held = count(backlog.held_keys);
        if backlog.oldest_held_age > 0.0 {
            held.push_str(&format!("  behind a failed row for {}", seconds(backlog.oldest_held_age)));
        }
        lines.push(self.fact("held keys", loud(backlog.held_keys > 0), &held, None));
        let (unowned, all) = (sample.status.unowned.len(), sample.status.lanes);
        let relays = sample.status.relays.iter().filter(|relay| !relay.lanes.is_empty()).count();
        let lanes = format!("{} of {all} held, by {relays} relays", all - unowned);
        lines.push(self.fact("lanes", bad(unowned > 0), &lanes, None));
        let paused = match sample.status.pauses.as_slice() {
            [] => "nothing".to_owned(),
            pauses => {
                let targets: Vec<String> = pauses.iter().map(|pause| pause.target.to_string()).collect();
                format!("{}  {}", pauses.len(), targets.join("; "))
            }
        };
        lines.push(self.fact("paused", loud(!sample.status.pauses.is_empty()), &paused, None));
        lines.push(self.breaker());
        lines
    }

    /// The worst that the relays say which were asked.
    fn breaker(&self) -> Line<'static> {
        let said = self.picture.asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
        let breakers: Vec<Breaker> = said.filter_map(|says| says.breaker).collect();
        let (kind, text) = match breakers.iter().find(|breaker| **breaker != Breaker::Closed) {
            Some(Breaker::Open) => (Kind::Bad, "open"),
            Some(_) => (Kind::Warning, "half open"),
            None if breakers.is_empty() => (Kind::Dim, "not in the database: --ask URL asks a relay"),
            None => (Kind::Plain, "closed"),
        };
        self.fact("breaker", kind, text, None)
    }

    fn fact(&self, name: &str, kind: Kind, text: &str, curve: Option<Curve>) -> Line<'static> {
        let mut spans = vec![self.palette.span(Kind::Dim, &fitted(name, NAMES, false)), Span::raw(" ")];
        let room = self.width.saturating_sub(NAMES + 1 + FACT + 1).min(CURVE);
        match curve {
            Some(curve) if room >= 10 && text.len() <= FACT => {
                spans.push(self.palette.span(kind, &fitted(text, FACT, false)));
                let bars = self.picture.history.bars(curve, room);
                spans.extend([Span::raw(" "), self.palette.span(Kind::Dim, &bars)]);
            }
            _ => spans.push(self.palette.span(kind, &short(text, LONG))),
        }
        Line::from(spans)
    }
}

/// What the keys do.
pub(super) fn help(palette: Palette) -> Lines {
    let keys = [
        ("q, Esc", "quit"),
        ("p, space", "freeze what is shown, and go on; reading goes on meanwhile"),
        ("1 2 3 4", "overview, keys, rows, relays; tab takes the next"),
        ("up, down", "scroll; page up and page down, home and end as well"),
        ("o", "the next outbox, where there are several"),
        ("?", "this"),
    ];
    let words = [
        "lag: the age of the oldest row that is due and not published.",
        "added: numbers drawn for new rows, also by transactions that rolled back or are still open.",
        "published: marks found among the newest rows and where the backlog begins, half a second behind.",
        "Counts end at 10000. Everything is the database's word: a breaker is a relay's own (--ask).",
    ];
    let mut lines = vec![Line::default()];
    lines.extend(keys.iter().map(|(key, text)| {
        Line::from(vec![
            palette.span(Kind::Title, &fitted(key, NAMES, false)),
            palette.span(Kind::Plain, text),
        ])
    }));
    lines.push(Line::default());
    lines.extend(words.iter().map(|text| Line::from(palette.span(Kind::Plain, text))));
    lines
}

pub(super) fn count(rows: i64) -> String {
    if rows >= COUNTED_TO { format!("{rows} or more") } else { rows.to_string() }
}

fn per_second(rate: f64) -> String {
    if rate == 0.0 || rate >= 10.0 { format!("{rate:.0}/s") } else { format!("{rate:.1}/s") }
}

fn loud(is: bool) -> Kind {
    if is { Kind::Warning } else { Kind::Plain }
}

fn bad(is: bool) -> Kind {
    if is { Kind::Bad } else { Kind::Plain }
}
