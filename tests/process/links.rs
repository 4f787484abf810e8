//! The network between relay and its servers: answers that never come, connections that are cut.

use std::time::Duration;

use crate::{
    rig::Rig,
    support::{proxy::Proxy, wait},
};

/// A proxy in front of the server of a URL, and the URL that leads through it.
async fn through_proxy(url: &str) -> (Proxy, String) {
    let start = url.find('@').expect("the URL has a user") + 1;
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    let proxy = Proxy::start(&url[start..end]).await.expect("a port is free");
    let through = format!("{}{}{}", &url[..start], proxy.address(), &url[end..]);
    (proxy, through)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_confirms_are_lost_are_sent_again_under_the_same_id_and_in_order() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.broker.url).await;
    let relay = rig.impatient_relay().env("AMQP_URL", &url).ready().await;
    rig.in_the_midst_of(6000, 300).await;
    // The broker gets, routes and confirms what is sent; relay hears nothing of it.
    proxy.freeze_upstream_to_client();
    rig.assert_unfinished().await;
    relay.wait_trouble("broker").await;
    proxy.cut();
    proxy.thaw();
    let duplicates = rig.assert_all_went_out(wait::LONG).await;
    assert!((1..=1024).contains(&duplicates), "{duplicates} duplicates");
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_connections_that_are_cut_again_and_again_lose_nothing() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.broker.url).await;
    let relay = rig.relay().env("AMQP_URL", &url).ready().await;
    for _ in 0..5 {
        rig.in_the_midst_of(1000, 100).await;
        proxy.cut();
    }
    rig.assert_all_went_out(wait::LONG).await;
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn database_connections_that_are_cut_again_and_again_cost_no_duplicate() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.database.url).await;
    let relay = rig.relay().env("DATABASE_URL", &url).ready().await;
    for _ in 0..5 {
        rig.in_the_midst_of(1000, 100).await;
        proxy.cut();
    }
    let duplicates = rig.assert_all_went_out(wait::LONG).await;
    assert_eq!(duplicates, 0, "relay lives, and knows what was confirmed");
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_lost_its_database_but_not_its_broker_stops_before_another_takes_over() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.database.url).await;
    let command = rig.relay().env("RELAY_LEASE_DURATION", "3s").env("RELAY_LIMITS_IN_FLIGHT_ROWS", "1024");
    let cut_off = command.clone().env("DATABASE_URL", &url).ready().await;
    cut_off.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 32.0).await;
    let second = command.ready().await;
    rig.in_the_midst_of(6000, 300).await;
    proxy.freeze();
    rig.assert_unfinished().await;
    // Never both: whoever takes over finds the other without.
    wait::until("the second took over", wait::LONG, async || {
        let taken = second.metric("relay_lanes_owned", &[]) > 0.0;
        assert!(!taken || cut_off.metric("relay_lanes_owned", &[]) == 0.0, "both hold lanes");
        taken
    })
    .await;
    rig.database.wait_finished(wait::LONG).await;
    proxy.cut();
    proxy.thaw();
    cut_off.wait_ready().await;
    rig.database.insert_many(300, 300).await;
    rig.database.wait_finished(wait::LONG).await;
    wait::throughout("the lanes stay where they are", Duration::from_secs(1), async || {
        cut_off.metric("relay_lanes_owned", &[]) == 0.0 && second.metric("relay_lanes_owned", &[]) == 32.0
    })
    .await;
    let duplicates = rig.assert_complete(&rig.broker.tapped().await).await;
    assert!(duplicates <= 1024, "{duplicates} duplicates");
    rig.assert_nobody_charged().await;
}
