//! Operators pause everything, a route or a key, and end that.

use std::time::Duration;

use crate::{
    rig::{Rig, through_proxy},
    support::{
        relay::{Relay, RelayProcess},
        wait,
    },
};

const STILL: Duration = Duration::from_millis(700);

async fn wait_paused(relay: &RelayProcess, scope: &str, pauses: f64) {
    let label = format!("scope=\"{scope}\"");
    relay.wait_metric("relay_paused", &[&label], wait::LONG, |value| value == pauses).await;
}

/// Rows that wait for a pause, or behind one that does.
async fn held(rig: &Rig) -> i64 {
    let sql =
        "select count(*) from relay.outbox o join relay.held_keys k using (aggregate_type, aggregate_id)
               where o.state = 'held' and o.published_at is null and k.paused_by is not null";
    rig.database.number(sql).await
}

async fn wait_held(rig: &Rig, rows: i64) {
    wait::until(&format!("{rows} rows wait for a pause"), wait::LONG, async || held(rig).await == rows).await;
}

/// So little at a time that a pause comes in the midst of it.
fn slow(rig: &Rig) -> Relay {
    rig.relay().env("RELAY_LIMITS_IN_FLIGHT_ROWS", "64").env("RELAY_LIMITS_SCAN_ROWS", "32")
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_paused_in_the_midst_of_it_and_goes_on_without_a_duplicate() {
    let rig = Rig::new().await;
    let command = slow(&rig);
    let relay = command.ready().await;
    rig.in_the_midst_of(5000, 100).await;
    command.command(&["pause", "--all", "--note", "the broker moves"]);
    wait_paused(&relay, "all", 1.0).await;
    rig.assert_unfinished().await;
    relay.wait_log("publishing is paused by").await;
    let mut seen = Vec::new();
    wait::until("what was in flight is marked", wait::LONG, async || {
        seen.extend(rig.broker.tapped().await);
        i64::try_from(seen.len()).unwrap() == rig.database.published().await
    })
    .await;
    let published = rig.database.published().await;
    rig.database.insert_many(10, 10).await;
    wait::throughout("nothing goes out", STILL, async || rig.database.published().await == published).await;
    assert!(relay.is_ready(), "it does what it was told");
    assert_eq!(relay.metric("relay_lanes_owned", &[]), 32.0, "the leases stay");
    let status = command.command(&["status"]);
    assert!(status.contains("everything") && status.contains("the broker moves"), "{status}");
    command.command(&["resume", "--all"]);
    rig.database.wait_finished(wait::LONG).await;
    seen.extend(rig.broker.tapped().await);
    assert_eq!(rig.assert_complete(&seen).await, 0, "nothing was in doubt");
    rig.assert_nobody_charged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_starts_while_everything_is_paused_publishes_nothing() {
    let rig = Rig::new().await;
    // The schema is there; nobody runs.
    let command = rig.relay().env("RELAY_DATABASE_LISTEN", "off").env("RELAY_LEASE_DURATION", "3s");
    command.command(&["pause", "--all"]);
    rig.database.insert_many(10, 10).await;
    let relay = command.ready().await;
    wait_paused(&relay, "all", 1.0).await;
    wait::throughout("nothing goes out", STILL, async || rig.database.published().await == 0).await;
    // Without notifications it finds out as it looks at its leases.
    command.command(&["resume", "--everything"]);
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_route_holds_its_keys_through_a_restart_and_a_hand_over_and_no_others() {
    let rig = Rig::new().await;
    let command = rig.relay();
    command.command(&["pause", "--routing-key", "order.shipped"]);
    let mut first = command.ready().await;
    let ahead = rig.database.insert("a", "placed").await;
    let head = rig.database.insert("a", "shipped").await;
    rig.database.insert("a", "placed").await;
    let other = rig.database.insert("b", "placed").await;
    for seq in [ahead, other] {
        rig.database.wait_published(seq).await;
    }
    wait_held(&rig, 2).await;
    // What comes later waits behind it, as does what another relay finds.
    rig.database.insert("a", "placed").await;
    wait_held(&rig, 3).await;
    let second = command.ready().await;
    first.drain().await;
    second.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 32.0).await;
    rig.database.insert("a", "placed").await;
    let other = rig.database.insert("c", "placed").await;
    rig.database.wait_published(other).await;
    wait_held(&rig, 4).await;
    let shown: serde_json::Value =
        serde_json::from_str(&command.command(&["key", "show", "order/a", "-o", "json"])).unwrap();
    assert_eq!(
        (&shown["reason"], &shown["head_seq"], &shown["behind"]),
        (&"paused".into(), &head.into(), &3.into())
    );
    wait_paused(&second, "route", 1.0).await;
    let resumed: serde_json::Value =
        serde_json::from_str(&command.command(&["resume", "--routing-key", "order.shipped", "-o", "json"]))
            .unwrap();
    assert_eq!((&resumed["pauses"], &resumed["keys"]), (&1.into(), &1.into()));
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0, "nothing was in doubt");
    wait_paused(&second, "route", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_key_is_paused_in_the_midst_of_it_and_others_go_on() {
    let rig = Rig::new().await;
    let command = slow(&rig);
    let relay = command.ready().await;
    rig.in_the_midst_of(3000, 3).await;
    command.command(&["pause", "--key", "order/k1"]);
    wait_paused(&relay, "key", 1.0).await;
    rig.assert_unfinished().await;
    let others = "select count(*) from relay.outbox where aggregate_id <> 'k1' and published_at is null";
    wait::until("the others are out", wait::LONG, async || rig.database.number(others).await == 0).await;
    let left = rig.database.unfinished().await;
    assert!(left > 0, "nothing was paused");
    wait_held(&rig, left).await;
    // Ended by somebody who was cut off, or used SQL: a relay lets its keys go.
    rig.database.execute("delete from relay.pauses", &[]).await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0, "nothing was in doubt");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_while_the_broker_is_away_stays_when_it_is_back() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.broker.url).await;
    let command = rig.impatient_relay().env("AMQP_URL", &url);
    let relay = command.ready().await;
    proxy.refuse();
    proxy.cut();
    relay.wait_trouble("broker").await;
    rig.database.insert_many(100, 10).await;
    command.command(&["pause", "--key", "order/k1"]);
    command.command(&["pause", "--all"]);
    wait_paused(&relay, "all", 1.0).await;
    proxy.thaw();
    relay.wait_metric("relay_amqp_connected", &[], wait::LONG, |up| up == 1.0).await;
    wait::throughout("nothing goes out", STILL, async || rig.database.published().await == 0).await;
    command.command(&["resume", "--all"]);
    wait::until("the others are out", wait::LONG, async || rig.database.published().await == 90).await;
    wait_held(&rig, 10).await;
    command.command(&["resume", "--everything"]);
    rig.assert_all_went_out(wait::LONG).await;
}
