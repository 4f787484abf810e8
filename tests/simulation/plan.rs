//! What kind of run a seed makes.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng};
use relay::{
    relay::{engine::Settings, keys::Ordering},
    retry::RetryPolicy,
};

/// The knobs of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub settings: Settings,
    pub relays: usize,
    pub keys: u64,
    pub producers: usize,
    /// Whether the producers of a key wait for each other, as row locks make them.
    pub serialised: bool,
    /// Nothing goes wrong but what rows do to themselves.
    pub calm: bool,
    pub lease: Duration,
    pub listen: bool,
    /// Shares of rows.
    pub bad: f64,
    pub scheduled: f64,
    pub nacks: f64,
    /// Whether operators pause things.
    pub pauses: bool,
    /// How likely faults are beside everything else.
    pub trouble: u32,
    /// How soon the frozen thaw and a database comes back.
    pub recovery: u32,
    pub steps: usize,
    /// How fast time passes beside everything else.
    pub hurry: u32,
}

impl Plan {
    pub fn new(random: &mut StdRng) -> Self {
        let any = |random: &mut StdRng, of: &[usize]| of[random.random_range(0..of.len())];
        let millis = |ms: usize| Duration::from_millis(ms as u64);
        let floor = millis(any(random, &[1, 5, 50, 500]));
        let settings = Settings {
            ordering: match random.random_range(0..10) {
                0 => Ordering::None,
                1 => Ordering::Pipelined,
                _ => Ordering::Strict,
            },
            park: random.random_bool(0.4),
            publishers: any(random, &[1, 2, 4]),
            batch_rows: any(random, &[1, 2, 4, 8]),
            max_rows: any(random, &[4, 8, 16, 40]),
            max_bytes: any(random, &[1_000, 5_000, 1_000_000]),
            scan_rows: any(random, &[1, 3, 8, 20]),
            retry: RetryPolicy {
                max_attempts: u32::try_from(any(random, &[1, 2, 3, 4])).unwrap(),
                floor,
                cap: floor * 4,
            },
            flood_limit: any(random, &[0, 0, 0, 2]),
            reach: any(random, &[0, 3, 30, 1000]) as i64,
            poll: millis(any(random, &[100, 1000])),
        };
        let bad = [0.0, 0.05, 0.3][random.random_range(0..3)];
        // Deaths beyond a flood guard take a minute each two.
        let settings = Settings { flood_limit: if bad > 0.1 { 0 } else { settings.flood_limit }, ..settings };
        Self {
            settings,
            relays: any(random, &[1, 1, 2, 3]),
            keys: any(random, &[1, 2, 4, 20, 100]) as u64,
            producers: any(random, &[1, 2, 4]),
            serialised: random.random_bool(0.9),
            calm: random.random_bool(0.3),
            lease: millis(any(random, &[1000, 10_000])),
            listen: random.random_bool(0.6),
            bad,
            scheduled: [0.0, 0.1][random.random_range(0..2)],
            pauses: random.random_bool(0.5),
            nacks: [0.0, 0.02, 0.1][random.random_range(0..3)],
            trouble: [1, 2, 10][random.random_range(0..3)],
            recovery: [1, 10][random.random_range(0..2)],
            steps: any(random, &[200, 500, 1000]),
            hurry: u32::try_from(any(random, &[1, 4, 16])).unwrap(),
        }
    }
}
