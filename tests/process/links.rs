//! The network between relay and its servers: answers that never come, connections that are cut.

use crate::{
    rig::{Rig, through_proxy},
    support::{relay::finish, wait},
};

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
    // A tenth of it is between the moment when one stops and when the other may begin: room for a slow machine.
    let command = rig.relay().env("RELAY_LEASE_DURATION", "10s").env("RELAY_LIMITS_IN_FLIGHT_ROWS", "1024");
    let cut_off = command.clone().env("DATABASE_URL", &url).ready().await;
    cut_off.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 32.0).await;
    let second = command.ready().await;
    second.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 16.0).await;
    rig.in_the_midst_of(6000, 300).await;
    proxy.freeze();
    rig.assert_unfinished().await;
    // Never both: whoever takes over finds the other without.
    wait::until("the second took over", wait::LONG, async || {
        let taken = second.metric("relay_lanes_owned", &[]) > 16.0;
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
    wait::until("the lanes are shared again", wait::LONG, async || {
        cut_off.metric("relay_lanes_owned", &[]) == 16.0 && second.metric("relay_lanes_owned", &[]) == 16.0
    })
    .await;
    let duplicates = rig.assert_complete(&rig.broker.tapped().await).await;
    assert!(duplicates <= 1024, "{duplicates} duplicates");
    rig.assert_nobody_charged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_accepts_and_says_nothing_does_not_hang_the_start() {
    let rig = Rig::new().await;
    let seq = rig.database.insert("a", "placed").await;
    let (proxy, url) = through_proxy(&rig.database.url).await;
    proxy.freeze();
    let relay =
        rig.relay().env("DATABASE_URL", &url).env("RELAY_DATABASE_CONNECT_TIMEOUT", "500ms").start().await;
    relay.wait_trouble("did not get ready within 500ms").await;
    assert_eq!(relay.get("/livez").0, 200);
    let tried = proxy.accepted();
    wait::until("it tries again", wait::LONG, async || proxy.accepted() > tried + 10).await;
    // Leasing, scanning, listening, and the gauges.
    let said = relay.complaints();
    assert!(said.len() <= 4 && said.iter().all(|line| line.contains("did not get ready")), "{said:?}");
    let command = tokio::task::spawn_blocking(move || {
        finish(&["status"], &[("DATABASE_URL", &url), ("RELAY_DATABASE_CONNECT_TIMEOUT", "500ms")])
    });
    let command = command.await.unwrap();
    assert_eq!(command.code, Some(69), "{}", command.stderr);
    assert!(command.stderr.contains("did not get ready within 500ms"), "{}", command.stderr);
    proxy.thaw();
    relay.wait_ready().await;
    rig.database.wait_published(seq).await;
}

/// A session that hangs before its statements are prepared, which is before anybody uses it.
async fn gets_over(part: &'static str, answer_is_awaited_by: &str) {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.database.url).await;
    proxy.strand_whoever_sends(part);
    let relay = rig
        .relay()
        .env("DATABASE_URL", &url)
        .env("RELAY_DATABASE_STATEMENT_TIMEOUT", "1s")
        .env("RELAY_LEASE_DURATION", "3s")
        .start()
        .await;
    let seq = rig.database.insert("a", "placed").await;
    relay.wait_log("did not answer within 6s").await;
    let silent: Vec<_> =
        relay.lines().into_iter().filter(|line| line.to_string().contains("did not answer")).collect();
    assert!(silent.iter().all(|line| line.to_string().contains(answer_is_awaited_by)), "{silent:?}");
    proxy.thaw();
    rig.database.wait_published(seq).await;
    relay.wait_ready().await;
    relay.wait_metric("relay_listen_connected", &[], wait::LONG, |connected| connected == 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_for_scans_that_hangs_while_it_gets_ready_is_given_up() {
    gets_over("relay.close_released", "scanning").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_for_marks_that_hangs_while_it_gets_ready_is_given_up() {
    gets_over("for update of o skip locked", "writing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_hangs_before_it_listens_is_given_up() {
    gets_over("listen \"relay.outbox\"", "listening").await;
}
