//! Starting, stopping, crashing.

use std::time::{Duration, Instant};

use crate::{
    rig::Rig,
    support::{
        servers::{self, Server},
        wait,
    },
};

const LANES_OWNED: &str = "select count(*) from relay.lanes where owner is not null and expires_at > now()";

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_and_a_successor_takes_over_at_once() {
    let rig = Rig::new().await;
    // Only lanes that were given back explain a quick succession.
    let command = rig.relay().env("RELAY_LEASE_DURATION", "60s");
    let mut first = command.ready().await;
    let second = command.start().await;
    second.wait_metric("relay_listen_connected", &[], wait::LONG, |connected| connected == 1.0).await;
    rig.in_the_midst_of(5000, 200).await;
    first.signal("TERM");
    assert_eq!(first.wait_exit(wait::LONG).await.code(), Some(0));
    let left = Instant::now();
    assert!(first.log().contains("lanes given back"), "{}", first.log());
    second.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 32.0).await;
    assert!(left.elapsed() < Duration::from_secs(2), "the lanes were taken after {:?}", left.elapsed());
    let duplicates = rig.assert_all_went_out(wait::LONG).await;
    assert_eq!(duplicates, 0, "a drain leaves nothing in doubt");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_relay_stops_at_once_on_sigterm_and_on_sigint() {
    let rig = Rig::new().await;
    for signal in ["TERM", "INT"] {
        let mut relay = rig.relay().ready().await;
        let asked = Instant::now();
        relay.signal(signal);
        assert_eq!(relay.wait_exit(wait::LONG).await.code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(2), "{signal}: {:?}", asked.elapsed());
        assert_eq!(rig.database.number(LANES_OWNED).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_loses_nothing_and_repeats_at_most_what_was_in_flight() {
    let rig = Rig::new().await;
    let command = rig
        .relay()
        .env("RELAY_LEASE_DURATION", "3s")
        .env("RELAY_LIMITS_IN_FLIGHT_ROWS", "256")
        .env("RELAY_LIMITS_SCAN_ROWS", "64");
    rig.database.insert_many(6000, 300).await;
    let mut seen = Vec::new();
    for crash in 1..=3 {
        let mut relay = command.start().await;
        let enough = crash * 500;
        wait::until("relay is in the midst of it", wait::LONG, async || {
            rig.database.published().await > enough
        })
        .await;
        relay.kill9();
        seen.extend(rig.broker.tapped().await);
    }
    rig.assert_unfinished().await;
    let _relay = command.start().await;
    rig.database.wait_finished(wait::LONG).await;
    seen.extend(rig.broker.tapped().await);
    let duplicates = rig.assert_complete(&seen).await;
    assert!(duplicates <= 3 * 256, "{duplicates} duplicates");
    rig.assert_nobody_charged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_drain_that_can_not_end() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let mut relay = rig.relay().env("RELAY_SHUTDOWN_GRACE", "60s").ready().await;
    own.freeze(Server::Broker);
    rig.database.insert_many(100, 10).await;
    relay.wait_metric("relay_in_flight_rows", &[], wait::LONG, |rows| rows > 0.0).await;
    relay.signal("TERM");
    relay.wait_log("draining").await;
    wait::throughout("the drain", Duration::from_secs(1), async || relay.is_running()).await;
    let asked = Instant::now();
    relay.signal("TERM");
    assert_eq!(relay.wait_exit(wait::LONG).await.code(), Some(1), "it did not drain, and says so");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    own.thaw(Server::Broker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_can_not_end_ends_with_the_grace_period() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let mut relay =
        rig.relay().env("RELAY_SHUTDOWN_GRACE", "2s").env("RELAY_LEASE_DURATION", "60s").ready().await;
    own.freeze(Server::Broker);
    rig.database.insert_many(100, 10).await;
    relay.wait_metric("relay_in_flight_rows", &[], wait::LONG, |rows| rows > 0.0).await;
    let asked = Instant::now();
    relay.signal("TERM");
    assert_eq!(relay.wait_exit(wait::LONG).await.code(), Some(3), "it did not drain, and says so");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let said: Vec<_> = relay.complaints().into_iter().filter(|line| line.contains("grace period")).collect();
    assert!(said.len() == 1 && said[0].contains("rows in flight may be published again"), "{said:?}");
    assert_eq!(rig.database.number(LANES_OWNED).await, 0, "nobody has to wait for the lease");
    own.thaw(Server::Broker);
    let _successor = rig.relay().ready().await;
    rig.assert_all_went_out(wait::LONG).await;
}
