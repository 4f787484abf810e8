//! The lists in the views: relays, lanes, pauses, keys and rows.

use ratatui_core::text::Line;

use super::{
    columns::{Cell, Column, Kind, table},
    listener::Breaker,
    view::{FEW, Frame, LONG, Lines, count},
};
use crate::{
    cli::render::{seconds, short},
    operator::status::Relay,
    outbox::backlog::COUNTED_TO,
};

impl Frame<'_> {
    pub(super) fn relays(&self) -> Lines {
        let columns = [
            Column::text("relay", 0),
            Column::number("lanes", 0),
            Column::text("last seen", 1),
            Column::text("lease left", 2),
            Column::text("version", 3),
        ];
        let rows = self.sample.status.relays.iter().map(|relay| {
            let kind = if relay.lanes.is_empty() { Kind::Dim } else { Kind::Plain };
            [
                Cell::of(kind, short(&relay.name, LONG)),
                Cell::of(kind, relay.lanes.len().to_string()),
                Cell::of(kind, format!("{} ago", seconds(relay.seen_ago))),
                Cell::of(kind, relay.lease_left.map(seconds).unwrap_or_default()),
                Cell::of(kind, relay.version.clone()),
            ]
        });
        self.part(columns, &rows.collect::<Vec<_>>(), usize::MAX, "")
    }

    /// Each lane, by a letter of its owner's.
    pub(super) fn lanes(&self) -> Lines {
        let status = &self.sample.status;
        let owners: Vec<(char, &Relay)> =
            ('a'..='z').chain('A'..='Z').zip(status.relays.iter().filter(|r| !r.lanes.is_empty())).collect();
        let letter = |lane: usize| {
            let owns = |relay: &Relay| relay.lanes.iter().any(|own| usize::try_from(*own) == Ok(lane));
            let owner = owners.iter().find(|(_, relay)| owns(relay)).map(|(letter, _)| *letter);
            let unowned = status.unowned.iter().any(|free| usize::try_from(*free) == Ok(lane));
            owner.unwrap_or(if unowned { '.' } else { '?' })
        };
        let letters: String = (0..status.lanes).map(letter).collect();
        let mut lines = vec![Line::default(), self.line(Kind::Title, "LANES")];
        let kind = if status.unowned.is_empty() { Kind::Plain } else { Kind::Bad };
        lines.push(self.line(kind, &letters));
        lines.extend(owners.iter().map(|(letter, relay)| {
            self.line(Kind::Plain, &format!("{letter} {}", short(&relay.name, LONG)))
        }));
        if !status.unowned.is_empty() {
            lines.push(self.line(Kind::Bad, ". nobody"));
        }
        lines
    }

    /// What relays say of themselves.
    pub(super) fn asked(&self) -> Lines {
        if self.picture.asked.is_empty() {
            let text =
                "Circuit breakers and links to the broker are not in the database: --ask URL asks a relay's";
            return vec![
                Line::default(),
                self.line(Kind::Dim, text),
                self.line(Kind::Dim, "admin listener."),
            ];
        }
        let columns = [
            Column::text("asked", 0),
            Column::text("breaker", 0),
            Column::text("broker", 0),
            Column::number("in flight", 1),
            Column::number("published", 2),
            Column::number("retries", 3),
        ];
        let number =
            |value: Option<f64>| Cell::from(value.map(|value| value.to_string()).unwrap_or_default());
        let rows = self.picture.asked.iter().map(|asked| match &asked.answer {
            Ok(says) => {
                let (kind, breaker) = match says.breaker {
                    Some(Breaker::Closed) => (Kind::Plain, "closed"),
                    Some(Breaker::HalfOpen) => (Kind::Warning, "half open"),
                    Some(Breaker::Open) => (Kind::Bad, "open"),
                    None => (Kind::Dim, "unknown"),
                };
                let (link, broker) = match (says.connected, says.blocked) {
                    (Some(false), _) => (Kind::Bad, "away"),
                    (_, Some(true)) => (Kind::Bad, "blocked"),
                    (Some(true), _) => (Kind::Plain, "connected"),
                    (None, _) => (Kind::Dim, "unknown"),
                };
                [
                    Cell::from(asked.whom.clone()),
                    Cell::of(kind, breaker),
                    Cell::of(link, broker),
                    number(says.in_flight),
                    number(says.published),
                    number(says.retries),
                ]
            }
            Err(error) => [
                Cell::from(asked.whom.clone()),
                Cell::of(Kind::Warning, "no answer"),
                Cell::of(Kind::Warning, short(error, LONG)),
                "".into(),
                "".into(),
                "".into(),
            ],
        });
        self.part(columns, &rows.collect::<Vec<_>>(), usize::MAX, "")
    }

    pub(super) fn pauses(&self) -> Lines {
        let columns = [
            Column::number("pause", 0),
            Column::text("of", 0),
            Column::text("for", 1),
            Column::text("by", 2),
            Column::text("note", 3),
        ];
        let rows = self.sample.status.pauses.iter().map(|pause| {
            [
                Cell::from(pause.id.to_string()),
                Cell::of(Kind::Warning, short(&pause.target.to_string(), LONG)),
                Cell::from(self.ago(pause.since_us)),
                Cell::from(short(&pause.actor, LONG)),
                Cell::from(short(pause.note.as_deref().unwrap_or_default(), LONG)),
            ]
        });
        self.part(columns, &rows.collect::<Vec<_>>(), FEW, "relay pauses")
    }

    pub(super) fn held(&self, most: usize) -> Lines {
        let columns = [
            Column::text("held key", 0),
            Column::text("why", 0),
            Column::text("for", 1),
            Column::text("due in", 2),
            Column::number("behind seq", 4),
            Column::text("error", 3),
        ];
        let rows = self.sample.status.keys.iter().map(|key| {
            let why = key.paused_by.map_or_else(|| key.reason.clone(), |pause| format!("pause {pause}"));
            [
                Cell::from(named(&key.aggregate_type, &key.aggregate_id)),
                Cell::of(if key.reason == "parked" { Kind::Bad } else { Kind::Plain }, why),
                Cell::from(seconds(key.held_for)),
                Cell::from(key.due_in.map(seconds).unwrap_or_default()),
                Cell::from(key.head_seq.to_string()),
                Cell::from(short(key.error.as_deref().unwrap_or_default(), LONG)),
            ]
        });
        let rows: Vec<_> = rows.collect();
        self.titled(most, "held keys", columns, &rows, "2 shows more", self.sample.status.backlog.held_keys)
    }

    pub(super) fn hot(&self) -> Lines {
        let columns = [Column::text("hot key", 0), Column::number("ready", 0), Column::number("held", 0)];
        let rows = self.sample.hot.iter().map(|key| {
            [
                Cell::from(named(&key.aggregate_type, &key.aggregate_id)),
                Cell::from(key.ready.to_string()),
                Cell::from(key.held.to_string()),
            ]
        });
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            return vec![Line::default(), self.line(Kind::Dim, "no hot keys: none has two unfinished rows")];
        }
        let mut lines = self.part(columns, &rows, usize::MAX, "");
        let note = format!("counted among the first {COUNTED_TO} ready and the first {COUNTED_TO} held rows");
        lines.push(self.line(Kind::Dim, &note));
        lines
    }

    pub(super) fn retrying(&self) -> Lines {
        let columns = [
            Column::number("retried", 0),
            Column::text("key", 0),
            Column::number("attempts", 2),
            Column::text("due in", 1),
            Column::text("failing for", 4),
            Column::text("type", 5),
            Column::text("error", 3),
        ];
        let rows = self.sample.retrying.iter().map(|row| {
            [
                Cell::from(row.seq.to_string()),
                Cell::from(named(&row.aggregate_type, &row.aggregate_id)),
                Cell::from(row.attempts.to_string()),
                Cell::from(seconds(row.due_in)),
                Cell::from(seconds(row.failing_for)),
                Cell::from(short(&row.event_type, LONG)),
                Cell::from(short(&row.error, LONG)),
            ]
        });
        let rows: Vec<_> = rows.collect();
        self.titled(usize::MAX, "rows that are retried", columns, &rows, "", self.sample.retrying_rows)
    }

    pub(super) fn dead(&self, most: usize) -> Lines {
        let columns = [
            Column::number("dead", 0),
            Column::text("key", 0),
            Column::text("reason", 0),
            Column::text("died", 1),
            Column::number("attempts", 4),
            Column::text("type", 3),
            Column::text("error", 2),
        ];
        let rows = self.sample.dead.iter().map(|row| {
            [
                Cell::from(row.seq.to_string()),
                Cell::from(named(&row.aggregate_type, &row.aggregate_id)),
                Cell::of(Kind::Warning, row.reason.clone()),
                Cell::from(format!("{} ago", self.ago(row.dead_us))),
                Cell::from(row.attempts.to_string()),
                Cell::from(short(&row.event_type, LONG)),
                Cell::from(short(&row.error, LONG)),
            ]
        });
        let rows: Vec<_> = rows.collect();
        self.titled(most, "dead rows", columns, &rows, "3 shows more", self.sample.status.backlog.dead)
    }

    /// A table; where it is all that a view shows of them, also that there are none, or more.
    fn titled<const N: usize>(
        &self,
        most: usize,
        what: &str,
        columns: [Column; N],
        rows: &[[Cell; N]],
        more: &str,
        all: i64,
    ) -> Lines {
        if most < usize::MAX {
            return self.part(columns, rows, most, more);
        }
        if rows.is_empty() {
            return vec![Line::default(), self.line(Kind::Dim, &format!("no {what}"))];
        }
        let mut lines = self.part(columns, rows, most, more);
        if usize::try_from(all).is_ok_and(|all| all > rows.len()) {
            lines.push(self.line(Kind::Dim, &format!("the first {} of {} {what}", rows.len(), count(all))));
        }
        lines
    }

    /// A table under an empty line, if there are rows; of them the first few.
    fn part<const N: usize>(
        &self,
        columns: [Column; N],
        rows: &[[Cell; N]],
        most: usize,
        more: &str,
    ) -> Lines {
        if rows.is_empty() {
            return Vec::new();
        }
        let shown = rows.get(..most.min(rows.len())).unwrap_or_default();
        let mut lines = vec![Line::default()];
        lines.extend(table(columns, shown, self.width, self.palette));
        if shown.len() < rows.len() {
            lines.push(self.line(Kind::Dim, &format!("… {more}")));
        }
        lines
    }

    /// How long that is ago.
    fn ago(&self, at_us: i64) -> String {
        seconds((self.sample.at_us - at_us) as f64 / 1e6)
    }
}

fn named(aggregate_type: &str, aggregate_id: &str) -> String {
    short(&format!("{aggregate_type}/{aggregate_id}"), LONG)
}
