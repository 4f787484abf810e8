//! Waiting for a state, never for a time.

use std::time::{Duration, Instant};

/// Between two looks.
pub const TICK: Duration = Duration::from_millis(20);

/// Long enough for anything that works, on a busy machine; a test that needs to be sure of less names its own limit.
pub const LONG: Duration = Duration::from_secs(30);

/// Looks every few milliseconds until the condition holds.
///
/// # Panics
/// When it does not hold in time. relay's log is printed by its own drop.
pub async fn until(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain until {what}");
        tokio::time::sleep(TICK).await;
    }
}

/// Looks until a value shows up; returns it.
///
/// # Panics
/// As [`until`].
pub async fn found<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(TICK).await;
    }
}

/// Watches that a condition keeps holding for a while: for what must not happen, there is no state to wait for.
///
/// # Panics
/// As soon as it does not hold.
pub async fn throughout(what: &str, time: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < time {
        assert!(condition().await, "{what} no longer holds after {:?}", start.elapsed());
        tokio::time::sleep(TICK).await;
    }
}
