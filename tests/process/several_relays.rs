//! Several relays on one outbox.

use std::time::{Duration, Instant};

use crate::{
    rig::Rig,
    support::{relay::RelayProcess, wait},
};

fn lanes(relay: &RelayProcess) -> f64 {
    relay.metric("relay_lanes_owned", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_relays_stands_by_and_takes_over_when_the_other_is_killed() {
    let rig = Rig::new().await;
    let command = rig.relay().env("RELAY_LEASE_DURATION", "3s");
    let mut first = command.ready().await;
    first.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 32.0).await;
    let second = command.ready().await;
    rig.database.insert_many(500, 50).await;
    rig.database.wait_finished(wait::LONG).await;
    assert_eq!((lanes(&first), lanes(&second)), (32.0, 0.0), "one owns every lane, the other none");

    first.kill9();
    let killed = Instant::now();
    rig.database.insert_many(500, 50).await;
    second.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 32.0).await;
    assert!(killed.elapsed() < Duration::from_secs(6), "taken over after {:?}", killed.elapsed());
    rig.database.wait_finished(wait::LONG).await;
    assert_eq!(rig.assert_complete(&rig.broker.tapped().await).await, 0, "nothing was in flight");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stood_still_past_its_lease_marks_nothing_it_may_not_and_charges_nobody() {
    let rig = Rig::new().await;
    let command = rig.relay().env("RELAY_LEASE_DURATION", "3s");
    let frozen = command.ready().await;
    let second = command.ready().await;
    rig.in_the_midst_of(3000, 100).await;
    frozen.signal("STOP");
    second.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 32.0).await;
    rig.database.wait_finished(wait::LONG).await;
    frozen.signal("CONT");
    frozen.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 0.0).await;
    rig.database.insert_many(100, 100).await;
    rig.database.wait_finished(wait::LONG).await;
    let seen = rig.broker.tapped().await;
    let duplicates = rig.assert_complete(&seen).await;
    assert!(duplicates <= 4096, "{duplicates} duplicates");
    rig.assert_nobody_charged().await;
    assert_eq!((lanes(&frozen), lanes(&second)), (0.0, 32.0));
}
