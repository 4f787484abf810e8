//! Seeded simulation: real engines over the in-memory outbox and a broker that does everything brokers do.
//!
//! `RELAY_SIM_SEED=17` runs one seed and prints its last steps; `RELAY_SIM_SEEDS=100000` runs more than the default.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, missing_docs, reason = "a test's modules are read by nobody else")]

mod actions;
mod broker;
mod checker;
mod floors;
mod handover;
mod late_rows;
mod node;
mod pauses;
mod pausing;
mod plan;
mod possible;
mod producers;
mod room;
mod script;
mod tasks;
mod whole_looks;
mod world;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use world::World;

const SEEDS: u64 = 300;

/// What the seeds together must have met, or they prove nothing.
const SOMETIMES: &[&str] = &[
    "a floor taken over",
    "a lane given away in peace",
    "a channel closed with several rows on it",
    "answer lost",
    "asleep",
    "blocked",
    "buried",
    "connection lost",
    "crash",
    "database away",
    "deferred",
    "due lately",
    "discarded",
    "drained",
    "duplicate",
    "frozen past its lease",
    "given a lane away",
    "held for a pause",
    "held for a pause that was over",
    "everything paused",
    "held",
    "late row",
    "nacked",
    "no look",
    "parked",
    "quarantine",
    "refused",
    "released",
    "released behind those in memory",
    "replayed",
    "rescheduled",
    "returned",
    "rolled back",
    "takeover",
    "unknown, delivered",
    "unknown, not delivered",
    "woken",
];

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Runs one seed: what it met, or what went wrong.
fn attempt(world: &mut World) -> Result<BTreeMap<&'static str, u64>, String> {
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(()) => {
            world.checker.violation.take().map_or_else(|| Ok(std::mem::take(&mut world.checker.seen)), Err)
        }
        Err(_) => Err("panicked; see above".to_owned()),
    }
}

fn run(seed: u64) -> BTreeMap<&'static str, u64> {
    match attempt(&mut World::new(seed, false)) {
        Ok(seen) => seen,
        Err(violation) => {
            // Once more, for the steps that led to it.
            let mut world = World::new(seed, true);
            let _ = attempt(&mut world);
            world.print_trace();
            panic!("{violation}\n(seed {seed}; run it alone with RELAY_SIM_SEED={seed})");
        }
    }
}

#[test]
fn whatever_happens_every_promise_is_kept() {
    if let Some(seed) = variable("RELAY_SIM_SEED") {
        run(seed);
        return;
    }
    let seeds = variable("RELAY_SIM_SEEDS").unwrap_or(SEEDS);
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in variable("RELAY_SIM_FROM").unwrap_or(0)..seeds {
        for (what, times) in run(seed) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seeds} seeds: {seen:?}");
    let missing: Vec<_> = SOMETIMES.iter().filter(|what| !seen.contains_key(*what)).collect();
    assert!(
        missing.is_empty() || seeds < SEEDS,
        "never happened, so nothing is proven about it: {missing:?}"
    );
}
