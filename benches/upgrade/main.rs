//! `make upgrade`: this version is deployed over an older one, with real processes, while producers insert. Prints what happens
//! and the longest that a row waited for its mark; panics, and so exits with an error, if a row is lost, out of order, or
//! sent twice.
//!
//! `RELAY_OLDER` names the older program; `dev/upgrade` builds it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "a test in all but name, and the tests' support, of which it uses a part"
)]

#[path = "../../tests/process/rig.rs"]
mod rig;
#[path = "../../tests/support/mod.rs"]
mod support;

mod deploy;
mod load;

use std::time::Instant;

use deploy::Deploy;

#[tokio::main]
async fn main() {
    let older = std::env::var("RELAY_OLDER").expect("RELAY_OLDER names an older relay: run `make upgrade`");
    let start = Instant::now();
    migrate_first(&older).await;
    roll_first(&older).await;
    roll_back(&older).await;
    println!("nothing lost, nothing out of order, nothing twice; {:.0} s", start.elapsed().as_secs_f64());
}

/// As it is meant: the schema, then one relay after the other.
async fn migrate_first(older: &str) {
    let mut deploy = Deploy::begin("migrate first, then roll", older).await;
    let mut old = [deploy.older().await, deploy.older().await];
    deploy.runs("two older relays").await;
    deploy.migrate().await;
    deploy.phase("migrated under them").await;
    let mut new = Vec::new();
    for old in &mut old {
        new.push(deploy.newer().await);
        deploy.phase("a newer one joined").await;
        old.drain().await;
        deploy.phase("an older one drained").await;
    }
    deploy.wait_shared(&new).await;
    new.push(deploy.newer().await);
    deploy.wait_shared(&new).await;
    deploy.phase("a third newer one joined").await;
    new.remove(0).drain().await;
    deploy.wait_shared(&new).await;
    deploy.phase("a newer one drained").await;
    deploy.end().await;
}

/// The other way round: newer relays wait until the schema is theirs.
async fn roll_first(older: &str) {
    let mut deploy = Deploy::begin("roll first, then migrate", older).await;
    let mut old = [deploy.older().await, deploy.older().await];
    deploy.runs("two older relays").await;
    let new = [deploy.newer_started().await, deploy.newer_started().await];
    if deploy.is_behind().await {
        for new in &new {
            new.wait_trouble("relay migrate").await;
            assert_eq!(new.metric("relay_lanes_owned", &[]), 0.0, "it waits without lanes");
        }
    } else {
        println!("  (both versions have the same migrations: no relay waits)");
    }
    deploy.phase("two newer ones started").await;
    old[0].drain().await;
    deploy.phase("an older one drained").await;
    deploy.migrate().await;
    for new in &new {
        new.wait_ready().await;
    }
    deploy.phase("migrated under them").await;
    old[1].drain().await;
    deploy.wait_shared(&new).await;
    deploy.phase("the last older one drained").await;
    deploy.end().await;
}

/// Back to the older version, whose schema is not to be had back.
async fn roll_back(older: &str) {
    let mut deploy = Deploy::begin("back to the older version", older).await;
    deploy.migrate().await;
    let mut new = [deploy.newer().await, deploy.newer().await];
    deploy.wait_shared(&new).await;
    deploy.runs("two newer relays").await;
    let mut old = Vec::new();
    for new in &mut new {
        old.push(deploy.older().await);
        deploy.phase("an older one joined").await;
        new.drain().await;
        deploy.phase("a newer one drained").await;
    }
    deploy.end().await;
}
