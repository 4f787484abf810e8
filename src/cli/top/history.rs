//! What was seen over time: points to draw, and since when nothing goes out.

use std::collections::VecDeque;

use crate::operator::sample::{Change, Sample};

/// Points kept, the newest of them.
const KEPT: usize = 240;

/// Heights of a bar, the lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What is drawn over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    Lag,
    Backlog,
    Added,
    Published,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    lag: f64,
    backlog: f64,
    added: Option<f64>,
    published: Option<f64>,
}

/// The samples of one outbox, as far as they are drawn.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    points: VecDeque<Point>,
    still: f64,
}

impl History {
    /// One more.
    pub(super) fn push(&mut self, sample: &Sample) {
        let backlog = &sample.status.backlog;
        if self.points.len() >= KEPT {
            self.points.pop_front();
        }
        self.points.push_back(Point {
            lag: backlog.oldest_age,
            backlog: backlog.pending.iter().sum::<i64>() as f64,
            added: sample.change.map(|change| rate(&change, change.added)),
            published: sample.change.map(|change| rate(&change, change.published)),
        });
        self.still = match sample.change {
            Some(change) if change.published == 0 && backlog.oldest_ready_age > 0.0 => {
                self.still + change.seconds
            }
            _ => 0.0,
        };
    }

    /// For how many seconds rows have been due, and none of them went out, as far as this has looked on.
    pub(super) fn still(&self) -> f64 {
        self.still
    }

    /// The newest points of a curve as bars, from nothing to the highest of them, at the right of so many columns.
    pub(super) fn bars(&self, curve: Curve, columns: usize) -> String {
        let skipped = self.points.len().saturating_sub(columns);
        let values: Vec<Option<f64>> = self
            .points
            .iter()
            .skip(skipped)
            .map(|point| match curve {
                Curve::Lag => Some(point.lag),
                Curve::Backlog => Some(point.backlog),
                Curve::Added => point.added,
                Curve::Published => point.published,
            })
            .collect();
        let highest = values.iter().flatten().copied().fold(0.0, f64::max);
        let bar = |value: &Option<f64>| match value {
            None => ' ',
            Some(value) if highest > 0.0 => {
                let height = (value / highest * (BARS.len() - 1) as f64).round();
                BARS.get(height as usize).copied().unwrap_or(' ')
            }
            Some(_) => BARS[0],
        };
        let bars: String = values.iter().map(bar).collect();
        format!("{bars:>columns$}")
    }
}

/// So many in that time, a second.
pub(super) fn rate(change: &Change, rows: i64) -> f64 {
    if change.seconds > 0.0 { rows as f64 / change.seconds } else { 0.0 }
}
