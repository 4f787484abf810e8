//! What was measured over the last day, for the charts: each sample of the last hour, and each minute of the last day. Pure,
//! and always of the same size.

use std::{collections::VecDeque, time::Duration};

/// Between two samples: as often as relay measures its backlog.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// Samples of a minute.
const A_MINUTE: usize = 12;
/// Samples kept: an hour.
const SAMPLES: usize = 60 * A_MINUTE;
/// Minutes kept: a day.
const MINUTES: usize = 24 * 60;

/// What is measured, in the order of a [`Sample`].
pub(super) const SERIES: [&str; 5] = ["lag_seconds", "published_per_second", "backlog", "dead", "held"];
/// Of those, what is averaged over a minute. Of the others the minute has its worst.
const AVERAGED: usize = 1;

/// A value for each of [`SERIES`]; what is not known is not a number.
pub(super) type Sample = [f32; SERIES.len()];

/// Nothing is known.
pub(super) const UNKNOWN: Sample = [f32::NAN; SERIES.len()];

/// The samples.
#[derive(Debug)]
pub(super) struct History {
    samples: VecDeque<Sample>,
    minutes: VecDeque<Sample>,
    /// Of the minute that is not over yet.
    minute: Vec<Sample>,
}

impl History {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            samples: VecDeque::with_capacity(SAMPLES),
            minutes: VecDeque::with_capacity(MINUTES),
            minute: Vec::with_capacity(A_MINUTE),
        }
    }

    /// Adds a sample that comes so many times [`EVERY`] after the last one: what lies between is not known.
    pub(super) fn add(&mut self, after: usize, sample: Sample) {
        // Beyond a day all that is kept is unknown anyway.
        for _ in 1..after.min(MINUTES * A_MINUTE) {
            self.push(UNKNOWN);
        }
        self.push(sample);
    }

    fn push(&mut self, sample: Sample) {
        bounded(&mut self.samples, SAMPLES, sample);
        self.minute.push(sample);
        if self.minute.len() >= A_MINUTE {
            let minute = of_minute(&self.minute);
            bounded(&mut self.minutes, MINUTES, minute);
            self.minute.clear();
        }
    }

    /// The last so many minutes: how far apart their samples are, and as many of them as that takes, the oldest first. What
    /// was before the first is not known.
    pub(super) fn last(&self, minutes: usize) -> (Duration, Vec<Sample>) {
        let minutes = minutes.clamp(1, MINUTES);
        if minutes * A_MINUTE <= SAMPLES {
            return (EVERY, padded(self.samples.iter().copied(), minutes * A_MINUTE));
        }
        let current = (!self.minute.is_empty()).then(|| of_minute(&self.minute));
        (EVERY * 12, padded(self.minutes.iter().copied().chain(current), minutes))
    }
}

fn bounded(ring: &mut VecDeque<Sample>, most: usize, sample: Sample) {
    if ring.len() >= most {
        ring.pop_front();
    }
    ring.push_back(sample);
}

/// The last `wanted` of them, and what is not known in front if there are fewer.
fn padded(samples: impl Iterator<Item = Sample>, wanted: usize) -> Vec<Sample> {
    let samples: Vec<Sample> = samples.collect();
    let lacking = wanted.saturating_sub(samples.len());
    let skipped = samples.len().saturating_sub(wanted);
    std::iter::repeat_n(UNKNOWN, lacking).chain(samples.into_iter().skip(skipped)).collect()
}

fn of_minute(samples: &[Sample]) -> Sample {
    let mut minute = UNKNOWN;
    for (series, value) in minute.iter_mut().enumerate() {
        let known = samples.iter().filter_map(|sample| sample.get(series)).filter(|value| !value.is_nan());
        *value = if series == AVERAGED {
            let (sum, count) = known.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            // Of none it is not a number, as it should be.
            sum / count
        } else {
            known.copied().fold(f32::NAN, f32::max)
        };
    }
    minute
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(value: f32) -> Sample {
        [value; SERIES.len()]
    }

    fn lags(history: &History, minutes: usize) -> Vec<Option<f32>> {
        let (_, samples) = history.last(minutes);
        samples.iter().map(|sample| Some(sample[0]).filter(|value| !value.is_nan())).collect()
    }

    #[test]
    fn the_last_minutes_are_all_there_and_what_was_before_is_unknown() {
        let mut history = History::new();
        assert_eq!(lags(&history, 1), [None; 12]);
        history.add(1, at(1.0));
        history.add(3, at(2.0));
        let expected: Vec<_> = [None; 8].into_iter().chain([Some(1.0), None, None, Some(2.0)]).collect();
        assert_eq!(lags(&history, 1), expected);
        assert_eq!(history.last(60).0, EVERY);
        assert_eq!(history.last(60).1.len(), 720);
    }

    #[test]
    fn beyond_an_hour_there_is_a_sample_a_minute_with_the_worst_of_it_and_the_mean_rate() {
        let mut history = History::new();
        for value in 1..=12_u8 {
            history.add(1, at(f32::from(value)));
        }
        history.add(1, UNKNOWN);
        history.add(1, at(20.0));
        let (every, samples) = history.last(61);
        assert_eq!((every, samples.len()), (Duration::from_secs(60), 61));
        assert_eq!(samples[59], [12.0, 6.5, 12.0, 12.0, 12.0]);
        assert_eq!(samples[60], [20.0, 20.0, 20.0, 20.0, 20.0], "the minute that is not over");
        assert!(samples[58].iter().all(|value| value.is_nan()));
    }

    #[test]
    fn it_never_grows_however_long_nobody_measured() {
        let mut history = History::new();
        history.add(usize::MAX, at(1.0));
        for _ in 0..30_000 {
            history.add(1, at(2.0));
        }
        assert_eq!((history.samples.len(), history.minutes.len()), (SAMPLES, MINUTES));
        assert!(history.samples.capacity() < 2 * SAMPLES && history.minutes.capacity() < 2 * MINUTES);
        assert_eq!(history.last(usize::MAX).1.len(), MINUTES);
    }
}
