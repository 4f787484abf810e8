//! Log lines that a hundred thousand rows would each cause: what is said of them, and when. Decides only; time is an
//! argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long lines of a kind are counted together, from the first one on.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// So many of them are said as they are.
const FEW: u64 = 5;
/// How often trouble that lasts is said again.
const AGAIN: Duration = Duration::from_secs(60);

/// Lines that may come once a row: the first few of a kind in a window are said, the others counted. Kinds are a closed
/// set, so this stays small.
#[derive(Debug)]
pub(crate) struct Storm<K>(BTreeMap<K, Window>);

#[derive(Debug)]
struct Window {
    closes: Instant,
    lines: u64,
}

impl<K: Copy + Ord> Storm<K> {
    pub(crate) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether a line of this kind is to be said; counts it.
    pub(crate) fn may_say(&mut self, now: Instant, kind: K) -> bool {
        let window = self.0.entry(kind).or_insert(Window { closes: now + WINDOW, lines: 0 });
        window.lines += 1;
        window.lines <= FEW
    }

    /// When the next window closes.
    pub(crate) fn closes(&self) -> Option<Instant> {
        self.0.values().map(|window| window.closes).min()
    }

    /// Closes the windows that are over by now; returns the kinds of which lines were left out, and how many.
    pub(crate) fn close(&mut self, now: Instant) -> Vec<(K, u64)> {
        let mut left_out = Vec::new();
        self.0.retain(|kind, window| {
            if window.closes > now {
                return true;
            }
            if window.lines > FEW {
                left_out.push((*kind, window.lines - FEW));
            }
            false
        });
        left_out
    }
}

/// Trouble that lasts and shows again and again: said when it begins, once a minute meanwhile, and when it is over.
#[derive(Debug, Default)]
pub(crate) struct Lasting(Option<Spell>);

#[derive(Debug)]
struct Spell {
    begun: Instant,
    said: Instant,
}

impl Lasting {
    /// It shows. How long it has by now, if that is to be said.
    pub(crate) fn shows(&mut self, now: Instant) -> Option<Duration> {
        match &mut self.0 {
            None => {
                self.0 = Some(Spell { begun: now, said: now });
                Some(Duration::ZERO)
            }
            Some(spell) if now.saturating_duration_since(spell.said) >= AGAIN => {
                spell.said = now;
                Some(now.saturating_duration_since(spell.begun))
            }
            Some(_) => None,
        }
    }

    /// It is over. How long it lasted, if it was there at all.
    pub(crate) fn over(&mut self, now: Instant) -> Option<Duration> {
        self.0.take().map(|spell| now.saturating_duration_since(spell.begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_of_each_kind_are_said_and_the_others_counted() {
        let start = Instant::now();
        let mut storm = Storm::new();
        let said = |storm: &mut Storm<_>, kind| (0..100_000).filter(|_| storm.may_say(start, kind)).count();
        assert_eq!(said(&mut storm, "returned"), 5);
        assert_eq!(said(&mut storm, "nacked"), 5, "one kind's storm drowns no other");
        assert_eq!(storm.close(start + WINDOW - Duration::from_millis(1)), []);
        assert_eq!(storm.close(start + WINDOW), [("nacked", 99_995), ("returned", 99_995)]);
        assert_eq!(storm.close(start + WINDOW), [], "each is told once");
    }

    #[test]
    fn a_window_begins_with_its_first_line_and_the_next_one_is_said_in_full() {
        let start = Instant::now();
        let later = start + WINDOW / 2;
        let mut storm = Storm::new();
        assert_eq!(storm.closes(), None);
        for _ in 0..5 {
            assert!(storm.may_say(start, "returned"));
        }
        assert!(storm.may_say(later, "nacked"));
        assert_eq!(storm.closes(), Some(start + WINDOW));
        assert_eq!(storm.close(start + WINDOW), [], "nothing was left out");
        assert!(storm.may_say(start + WINDOW, "returned"));
        assert_eq!(storm.closes(), Some(later + WINDOW));
    }

    #[test]
    fn trouble_that_lasts_is_said_when_it_begins_once_a_minute_and_when_it_is_over() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut trouble = Lasting::default();
        assert_eq!(trouble.over(start), None);
        let said: Vec<_> = (0..=150).filter_map(|second| trouble.shows(after(second))).collect();
        assert_eq!(said, [0, 60, 120].map(Duration::from_secs));
        assert_eq!(trouble.over(after(151)), Some(Duration::from_secs(151)));
        assert_eq!(trouble.over(after(152)), None);
        assert_eq!(trouble.shows(after(153)), Some(Duration::ZERO), "it began anew");
    }
}
