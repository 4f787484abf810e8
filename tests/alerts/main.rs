//! Alerts, dashboard and runbooks: what Prometheus itself says of them, trouble by trouble, and that they name only what the
//! programs expose. They need no server, but promtool, which `dev/stack` fetches.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "a test's parts are shared among them")]

mod dashboard;
mod exposed;
mod promtool;
mod query;
mod rules;
mod runbooks;
mod troubles;
mod yaml;

use std::path::Path;

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn assert_none(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}
