//! What the gauges tell apart, so that alerts can.

use crate::{
    rig::Rig,
    support::{relay::finish, wait},
};

#[tokio::test(flavor = "multi_thread")]
async fn gauges_tell_what_waits_for_relay_from_what_died_and_from_what_that_holds_up() {
    let rig = Rig::new().await;
    let poison = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, headers)
                  values ('order', 'poison', 'placed', '{}', '{\"x-death\": 1}')";
    rig.database.execute(poison, &[]).await;
    rig.database.insert("poison", "placed").await;

    let env = [("DATABASE_URL", rig.database.url.as_str())];
    let status = finish(&["status", "-o", "prometheus"], &env).stdout;
    assert!(status.contains("relay_lanes_unowned{outbox=\"default\"} 32"), "{status}");

    // There is no broker, so they wait.
    let waiting = rig.relay().env("AMQP_URL", "amqp://guest:guest@127.0.0.1:1/%2f").start().await;
    waiting.wait_metric("relay_oldest_ready_age_seconds", &[], wait::LONG, |age| age > 0.0).await;
    assert_eq!(waiting.metric("relay_oldest_dead_age_seconds", &[]), 0.0);
    drop(waiting);

    let relay = rig.relay().env("RELAY_OUTBOX_ON_DEAD", "park").ready().await;
    relay.wait_metric("relay_dead_rows", &[], wait::LONG, |rows| rows == 1.0).await;
    relay.wait_metric("relay_oldest_held_key_age_seconds", &[], wait::LONG, |age| age > 0.0).await;
    assert!(relay.metric("relay_oldest_dead_age_seconds", &[]) > 0.0);
    assert_eq!(relay.metric("relay_oldest_ready_age_seconds", &[]), 0.0);
    relay.wait_metric("relay_lanes_unowned", &[], wait::LONG, |lanes| lanes == 0.0).await;
    assert_eq!(relay.metric("relay_database_connected", &[]), 1.0);
    assert!(relay.metric("relay_clock_skew_seconds", &[]).abs() < 60.0, "they share a machine");
    let status = finish(&["status", "-o", "prometheus"], &env).stdout;
    for name in ["oldest_dead_age_seconds", "oldest_held_key_age_seconds"] {
        let line = status.lines().find(|line| line.starts_with(&format!("relay_{name}{{")));
        let age: f64 = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap();
        assert!(age > 0.0, "{name}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_the_confirm_is_not_that_of_rows_that_were_to_wait_or_were_replayed() {
    let rig = Rig::new().await;
    let relay = rig.relay().ready().await;
    for (columns, values) in [("available_at", "now() + interval '1 second'"), ("replays", "1")] {
        let sql = format!(
            "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, {columns})
             values ('order', 'a', 'placed', '{{}}', {values})"
        );
        rig.database.execute(&sql, &[]).await;
    }
    rig.database.wait_finished(wait::LONG).await;
    rig.database.insert("b", "placed").await;
    relay.wait_metric("relay_published_total", &[], wait::LONG, |rows| rows == 3.0).await;
    assert_eq!(relay.metric("relay_commit_to_confirm_seconds_count", &[]), 1.0);
}
