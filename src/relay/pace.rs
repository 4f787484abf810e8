//! When to look at the outbox: hot, idle or asleep.
//!
//! Awake, relay polls; a writer then notifies nobody and pays nothing. After a while without rows it tries for the
//! sleep locks, and once it has them all looks once more and sleeps until a notification, or for the poll interval,
//! whichever is first: notifications are hints, polling is the truth.

use std::time::{Duration, Instant};

/// Between polls while rows keep coming: 2.5 times the writers' throughput of waking for each notification, at a
/// sixth of relay's CPU.
const HOT_POLL: Duration = Duration::from_millis(1);
/// How long without a row is still hot.
const HOT_FOR: Duration = Duration::from_millis(10);
/// Between polls at most while a writer that saw relay awake keeps it from sleeping, or where nothing can wake it.
const IDLE_POLL: Duration = Duration::from_millis(50);
/// After a pause in the rows, polls are this part of it apart: so a row that ends the pause waits that part of it more at
/// most, and a longer pause costs fewer polls.
const IDLE_PART: u32 = 8;
/// Between two looks for late commits.
const LOOK: Duration = Duration::from_millis(40);
/// Between two sweeps from the very start. Nothing should ever be found by one.
const SWEEP: Duration = Duration::from_secs(300);
/// And so many times as long as the last one took, if that is longer: while somebody's old snapshot is open, a sweep steps
/// over all that was published since, and nothing else is scanned meanwhile.
const SWEEP_REST: u32 = 100;

/// Between two whole looks for the rows of released keys, and for due ones, at least; the others begin where the last one
/// ended, and miss what somebody else put in front of that.
const WHOLE: Duration = Duration::from_secs(1);
/// And so many times as long as the last one took: see [`SWEEP_REST`].
const WHOLE_REST: u32 = 20;

/// Between two times that floors are told.
const TELL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Awake,
    /// Trying for the sleep locks.
    DroppingOff,
    Asleep,
}

/// When to do again what began then and is over now: after the least pause, or so many times as long as it took.
fn rested(now: Instant, begun: Instant, least: Duration, times: u32) -> Instant {
    now + least.max(now.saturating_duration_since(begun) * times)
}

/// When a kind of scan is to look at everything again.
#[derive(Debug, Default)]
pub struct Whole {
    next: Option<Instant>,
    begun: Option<Instant>,
}

impl Whole {
    /// A scan begins: whether it is to be a whole one.
    pub fn begin(&mut self, now: Instant) -> bool {
        self.begun = self.next.is_none_or(|next| now >= next).then_some(now);
        self.begun.is_some()
    }

    /// The scan is over, even if it failed: what takes longer than a statement may must not keep the others from being made.
    /// Returns whether it was a whole one.
    pub fn end(&mut self, now: Instant) -> bool {
        let begun = self.begun.take();
        if let Some(begun) = begun {
            self.next = Some(rested(now, begun, WHOLE, WHOLE_REST));
        }
        begun.is_some()
    }
}

/// The timers of the scans.
#[derive(Debug)]
pub struct Pace {
    poll: Duration,
    state: State,
    /// Whether a sleeping relay would be woken.
    wakeable: bool,
    /// Whether there was a reason to wake while dropping off.
    disturbed: bool,
    last_row: Instant,
    next_try: Instant,
    /// When to scan for new rows.
    pub next_ready: Instant,
    /// From when on a scan for ready rows may not do without its look.
    pub next_look: Instant,
    /// When to scan for due rows.
    pub next_due: Instant,
    /// When to scan for released rows, if any key may be held.
    pub next_released: Instant,
    /// When to look for all due rows.
    pub whole_due: Whole,
    /// When to look for all released rows.
    pub whole_released: Whole,
    /// When to sweep.
    pub next_sweep: Instant,
    /// When to tell floors.
    next_tell: Instant,
}

impl Pace {
    /// Looks at once, then at most `poll` apart.
    #[must_use]
    pub fn new(now: Instant, poll: Duration) -> Self {
        Self {
            poll,
            state: State::Awake,
            wakeable: false,
            disturbed: false,
            last_row: now,
            next_try: now,
            next_ready: now,
            next_look: now,
            next_due: now,
            next_released: now,
            whole_due: Whole::default(),
            whole_released: Whole::default(),
            next_sweep: now + SWEEP,
            next_tell: now,
        }
    }

    /// Looks at everything again, at once.
    pub fn restart(&mut self, now: Instant) {
        self.last_row = now;
        (self.next_ready, self.next_look, self.next_due, self.next_released) = (now, now, now, now);
        (self.whole_due, self.whole_released) = (Whole::default(), Whole::default());
        self.next_sweep = now + SWEEP;
    }

    /// A scan for new rows found this many.
    pub fn found(&mut self, now: Instant, rows: usize, cut: bool) {
        if rows > 0 {
            self.last_row = now;
        }
        self.next_ready = if rows > 0 || cut { now } else { now + self.interval(now) };
    }

    fn interval(&self, now: Instant) -> Duration {
        match self.state {
            State::Asleep => self.poll,
            State::Awake | State::DroppingOff => {
                let pause = now.duration_since(self.last_row);
                (pause / IDLE_PART).clamp(HOT_POLL, IDLE_POLL.min(self.poll).max(HOT_POLL))
            }
        }
    }

    /// Something says there is work.
    pub fn woken(&mut self, now: Instant) {
        self.last_row = now;
        (self.next_ready, self.next_look, self.next_due, self.next_released) = (now, now, now, now);
    }

    /// A look was taken.
    pub fn looked(&mut self, now: Instant) {
        self.next_look = now + LOOK;
    }

    /// Whether floors are to be told again.
    pub fn tell(&mut self, now: Instant) -> bool {
        let tell = now >= self.next_tell;
        if tell {
            self.next_tell = now + TELL;
        }
        tell
    }

    /// A scan for due rows was made and found so many; the next waiting row is due after `next`. If one is due already
    /// and nothing was found, it is in memory, and there is no hurry.
    pub fn due(&mut self, now: Instant, rows: usize, next: Option<Duration>) {
        let least = if rows > 0 { HOT_POLL } else { HOT_FOR };
        self.next_due = now + next.map_or(self.poll, |next| next.clamp(least, self.poll.max(least)));
    }

    /// A sweep that began then is over.
    pub fn swept(&mut self, now: Instant, begun: Instant) {
        self.next_sweep = rested(now, begun, SWEEP, SWEEP_REST);
    }

    /// Whether to try for the sleep locks now; if so, the try is under way.
    pub fn try_to_sleep(&mut self, now: Instant) -> bool {
        let tired =
            self.wakeable && self.state == State::Awake && now.duration_since(self.last_row) >= HOT_FOR;
        if tired && now >= self.next_try {
            self.state = State::DroppingOff;
            self.disturbed = false;
            return true;
        }
        false
    }

    /// When [`Self::try_to_sleep`] might say yes, if ever.
    #[must_use]
    pub fn next_sleep(&self) -> Option<Instant> {
        (self.wakeable && self.state == State::Awake).then(|| (self.last_row + HOT_FOR).max(self.next_try))
    }

    /// The try for the sleep locks is over. With them, one more scan, then sleep. Returns whether to give them back at
    /// once, because something happened meanwhile.
    #[must_use]
    pub fn asleep(&mut self, now: Instant, asleep: bool) -> bool {
        let disturbed = asleep && self.disturbed;
        if asleep && self.wakeable && !disturbed {
            self.state = State::Asleep;
            (self.next_ready, self.next_look) = (now, now);
        } else {
            self.state = State::Awake;
            self.next_try = now + self.interval(now);
        }
        disturbed
    }

    /// Whether the sleep locks are held, and must be given back: there are rows, or nothing to wake up for.
    pub fn wake(&mut self) -> bool {
        match self.state {
            State::Awake => {}
            // The locks may be on their way: they go back as soon as they are there.
            State::DroppingOff => self.disturbed = true,
            State::Asleep => {
                self.state = State::Awake;
                return true;
            }
        }
        false
    }

    /// Whether notifications arrive. When they stop, so does sleep: the lock's session is gone, or unproven.
    pub fn wakeable(&mut self, now: Instant, wakeable: bool) {
        self.wakeable = wakeable;
        if !wakeable {
            self.state = State::Awake;
            self.woken(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn tired(start: Instant) -> Pace {
        let mut pace = Pace::new(start, Duration::from_secs(1));
        pace.wakeable(start, true);
        pace
    }

    #[test]
    fn relay_tries_to_sleep_once_it_has_been_idle_for_a_while_and_only_if_it_would_be_woken() {
        let start = Instant::now();
        let mut deaf = Pace::new(start, Duration::from_secs(1));
        assert!(!deaf.try_to_sleep(start + 60_000 * MS));
        let mut pace = tired(start);
        assert!(!pace.try_to_sleep(start + 9 * MS));
        assert!(pace.try_to_sleep(start + 10 * MS));
        assert!(!pace.try_to_sleep(start + 20 * MS), "one try at a time");
    }

    #[test]
    fn with_the_sleep_locks_it_looks_once_more_and_then_polls_slowly() {
        let start = Instant::now();
        let mut pace = tired(start);
        assert!(pace.try_to_sleep(start + 10 * MS));
        assert!(!pace.asleep(start + 11 * MS, true), "nothing happened meanwhile");
        assert_eq!((pace.next_ready, pace.next_look), (start + 11 * MS, start + 11 * MS));
        pace.found(start + 12 * MS, 0, false);
        assert_eq!(pace.next_ready, start + 1012 * MS);
        assert!(pace.wake() && !pace.wake(), "the locks are given back once");
    }

    #[test]
    fn a_try_that_fails_is_repeated_after_a_pause() {
        let start = Instant::now();
        let mut pace = tired(start);
        assert!(pace.try_to_sleep(start + 10 * MS));
        assert!(!pace.asleep(start + 10 * MS, false), "nothing happened meanwhile");
        let pause = 10 * MS / IDLE_PART;
        assert_eq!(pace.next_sleep(), Some(start + 10 * MS + pause));
        assert!(!pace.try_to_sleep(start + 11 * MS) && pace.try_to_sleep(start + 10 * MS + pause));
    }

    #[test]
    fn when_notifications_stop_relay_is_awake_and_looks_at_once() {
        let start = Instant::now();
        let mut pace = tired(start);
        assert!(pace.try_to_sleep(start + 10 * MS));
        assert!(!pace.asleep(start + 10 * MS, true), "nothing happened meanwhile");
        pace.wakeable(start + 500 * MS, false);
        assert_eq!(pace.next_ready, start + 500 * MS);
        assert!(!pace.wake(), "the locks went with their session");
        assert!(!pace.asleep(start + 501 * MS, true), "nothing happened meanwhile");
        assert!(!pace.wake(), "an answer that comes after is void");
    }

    #[test]
    fn relay_polls_fast_while_rows_come_and_slower_after() {
        let start = Instant::now();
        let mut pace = Pace::new(start, Duration::from_secs(1));
        pace.found(start, 3, false);
        assert_eq!(pace.next_ready, start);
        pace.found(start + 5 * MS, 0, false);
        assert_eq!(pace.next_ready, start + 6 * MS);
        pace.found(start + 80 * MS, 0, false);
        assert_eq!(pace.next_ready, start + 90 * MS);
        pace.found(start + 2000 * MS, 0, false);
        assert_eq!(pace.next_ready, start + 2050 * MS);
    }

    #[test]
    fn whole_looks_are_a_second_apart_and_longer_if_they_take_long() {
        let start = Instant::now();
        let mut whole = Whole::default();
        assert!(whole.begin(start), "the first is one");
        whole.end(start + 2 * MS);
        assert!(!whole.begin(start + 1001 * MS));
        whole.end(start + 1001 * MS);
        assert!(whole.begin(start + 1002 * MS));
        whole.end(start + 2002 * MS);
        assert!(!whole.begin(start + 22001 * MS) && whole.begin(start + 22002 * MS));
    }

    #[test]
    fn what_happens_while_dropping_off_gives_the_locks_back() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 1000 * MS);
        pace.wakeable(start, true);
        assert!(pace.try_to_sleep(start + 20 * MS));
        assert!(!pace.wake(), "there is nothing to give back yet");
        assert!(pace.asleep(start + 21 * MS, true), "now there is");
        assert!(!pace.wake(), "and it is awake");
    }
}
