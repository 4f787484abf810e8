//! Several relays on one outbox.

use std::time::{Duration, Instant};

use crate::{
    rig::{Rig, through_proxy},
    support::{
        relay::{Relay, RelayProcess},
        wait,
    },
};

const LEASE: Duration = Duration::from_secs(3);

pub fn lanes(relay: &RelayProcess) -> f64 {
    relay.metric("relay_lanes_owned", &[])
}

pub fn command(rig: &Rig) -> Relay {
    rig.relay().env("RELAY_LEASE_DURATION", "3s")
}

/// Waits until each relay has as many lanes as it should.
pub async fn wait_shared(shares: &[(&RelayProcess, f64)]) {
    wait::until("the lanes are shared", wait::LONG, async || {
        shares.iter().all(|(relay, share)| lanes(relay) == *share)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_that_join_and_leave_share_the_lanes_evenly_and_cost_no_duplicate() {
    let rig = Rig::new().await;
    // Only lanes that were given away explain that they change hands in time.
    let command = rig.relay().env("RELAY_LEASE_DURATION", "60s");
    let mut first = command.ready().await;
    wait_shared(&[(&first, 32.0)]).await;
    rig.in_the_midst_of(3000, 300).await;
    let second = command.ready().await;
    rig.assert_unfinished().await;
    wait_shared(&[(&first, 16.0), (&second, 16.0)]).await;
    rig.in_the_midst_of(3000, 300).await;
    let third = command.ready().await;
    wait_shared(&[(&first, 11.0), (&second, 11.0), (&third, 10.0)]).await;
    rig.in_the_midst_of(3000, 300).await;
    first.drain().await;
    wait_shared(&[(&second, 16.0), (&third, 16.0)]).await;
    let duplicates = rig.assert_all_went_out(wait::LONG).await;
    assert_eq!(duplicates, 0, "nothing was in doubt");
    for relay in [&second, &third] {
        assert!(relay.metric("relay_published_total", &[]) > 0.0, "one of them does all the work");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_given_lanes_begins_where_the_others_were_and_not_at_the_first_row() {
    let rig = Rig::new().await;
    let command = command(&rig);
    let mut first = command.ready().await;
    wait_shared(&[(&first, 32.0)]).await;
    rig.database.insert_many(1000, 100).await;
    rig.database.wait_finished(wait::LONG).await;
    let done = "select count(*) from relay.lanes where floor >= 1000";
    wait::until("the floors are left", wait::LONG, async || rig.database.number(done).await == 32).await;
    // What is put there by hand only a scan from the first row finds.
    rig.database.execute("delete from relay.outbox where seq <= 64", &[]).await;
    let by_hand = "insert into relay.outbox (seq, aggregate_type, aggregate_id, event_type, payload)
                   overriding system value
                   select n, 'by hand', 'k' || n, 'placed', '{}' from generate_series(1, 64) n";
    rig.database.execute(by_hand, &[]).await;
    let left = "select count(*) from relay.outbox where seq <= 64 and published_at is null";
    let to_do = "select count(*) from relay.outbox where seq > 64 and published_at is null";
    let mut second = command.ready().await;
    wait_shared(&[(&first, 16.0), (&second, 16.0)]).await;
    rig.database.insert_many(1000, 100).await;
    wait::until("new rows go out", wait::LONG, async || rig.database.number(to_do).await == 0).await;
    assert_eq!(rig.database.number(left).await, 64, "both began above");
    first.drain().await;
    wait_shared(&[(&second, 32.0)]).await;
    second.kill9();
    let mut third = command.ready().await;
    wait_shared(&[(&third, 32.0)]).await;
    rig.database.insert_many(1000, 100).await;
    wait::until("new rows go out", wait::LONG, async || rig.database.number(to_do).await == 0).await;
    assert_eq!(rig.database.number(left).await, 64, "and so did one after a crash");
    third.drain().await;
    rig.database.execute("update relay.lanes set floor = null", &[]).await;
    let _fourth = command.ready().await;
    rig.database.wait_finished(wait::LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_notifications_lanes_change_hands_as_well() {
    let rig = Rig::new().await;
    let command = command(&rig).env("RELAY_DATABASE_LISTEN", "off");
    let first = command.ready().await;
    wait_shared(&[(&first, 32.0)]).await;
    rig.in_the_midst_of(3000, 300).await;
    let mut second = command.ready().await;
    wait_shared(&[(&first, 16.0), (&second, 16.0)]).await;
    rig.in_the_midst_of(3000, 300).await;
    second.drain().await;
    wait_shared(&[(&first, 32.0)]).await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0, "nothing was in doubt");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_of_two_relays_is_killed_the_other_takes_its_lanes_as_its_lease_runs_out() {
    let rig = Rig::new().await;
    let command = command(&rig);
    let mut first = command.ready().await;
    let second = command.ready().await;
    wait_shared(&[(&first, 16.0), (&second, 16.0)]).await;
    rig.in_the_midst_of(3000, 300).await;
    first.kill9();
    let killed = Instant::now();
    rig.assert_unfinished().await;
    wait_shared(&[(&second, 32.0)]).await;
    // By its lease and nothing longer; how much longer than that is the benchmark's affair.
    assert!(killed.elapsed() < 2 * LEASE, "taken over after {:?}", killed.elapsed());
    rig.assert_all_went_out(wait::LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stood_still_past_its_lease_marks_nothing_it_may_not_and_charges_nobody() {
    let rig = Rig::new().await;
    let command = command(&rig);
    let frozen = command.ready().await;
    let second = command.ready().await;
    wait_shared(&[(&frozen, 16.0), (&second, 16.0)]).await;
    rig.in_the_midst_of(3000, 100).await;
    frozen.signal("STOP");
    wait::until("the other has all lanes", wait::LONG, async || lanes(&second) == 32.0).await;
    rig.database.wait_finished(wait::LONG).await;
    frozen.signal("CONT");
    wait_shared(&[(&frozen, 16.0), (&second, 16.0)]).await;
    rig.database.insert_many(100, 100).await;
    rig.database.wait_finished(wait::LONG).await;
    let seen = rig.broker.tapped().await;
    let duplicates = rig.assert_complete(&seen).await;
    assert!(duplicates <= 4096, "{duplicates} duplicates");
    rig.assert_nobody_charged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_alone_has_lost_the_broker_leaves_its_lanes_to_others() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.broker.url).await;
    let command = command(&rig);
    let cut_off = command.clone().env("AMQP_URL", &url).ready().await;
    let second = command.ready().await;
    wait_shared(&[(&cut_off, 16.0), (&second, 16.0)]).await;
    proxy.refuse();
    proxy.cut();
    rig.database.insert_many(1000, 100).await;
    wait_shared(&[(&cut_off, 0.0), (&second, 32.0)]).await;
    rig.assert_all_went_out(wait::LONG).await;
    proxy.thaw();
    wait_shared(&[(&cut_off, 16.0), (&second, 16.0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_a_broker_keeps_the_lanes_if_there_is_no_other() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.broker.url).await;
    let relay = command(&rig).env("AMQP_URL", &url).ready().await;
    wait_shared(&[(&relay, 32.0)]).await;
    proxy.refuse();
    proxy.cut();
    relay.wait_trouble("broker").await;
    wait::throughout("it has its lanes", LEASE * 2, async || lanes(&relay) == 32.0).await;
    proxy.thaw();
    rig.database.insert_many(100, 100).await;
    rig.assert_all_went_out(wait::LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_without_a_broker_do_not_have_each_other_look_again_and_again() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.broker.url).await;
    proxy.refuse();
    let command = command(&rig).env("AMQP_URL", &url);
    let relays = [command.start().await, command.start().await];
    for relay in &relays {
        relay.wait_metric("relay_listen_connected", &[], wait::LONG, |connected| connected == 1.0).await;
    }
    // Whoever lacks lanes looks twice a second, and says each time that it is there.
    let said = "select n_tup_upd from pg_stat_user_tables where schemaname = 'relay' and relname = 'relays'";
    let before = rig.database.number(said).await;
    wait::throughout("they look twice a second", Duration::from_secs(3), async || {
        rig.database.number(said).await < before + 40
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_waits_for_a_lane_to_renew_it_keeps_no_lane_behind_it_from_its_own_writes() {
    let rig = Rig::new().await;
    let relay = command(&rig).ready().await;
    wait_shared(&[(&relay, 32.0)]).await;
    // Wherever in the table the first lane stands, it comes first: here others stand before it.
    let before =
        "select count(*) from relay.lanes where ctid < (select ctid from relay.lanes where lane = 0)";
    wait::until("others stand before the first lane", wait::LONG, async || {
        rig.database.execute("update relay.lanes set token = token where lane = 0", &[]).await;
        rig.database.number(before).await > 0
    })
    .await;
    let session = rig.database.session().await;
    session.batch_execute("begin; select from relay.lanes where lane = 0 for share").await.unwrap();
    let waits = "select count(*) from pg_stat_activity
                 where datname = current_database() and application_name = 'relay lease' and wait_event_type = 'Lock'";
    wait::until("the renewal waits", wait::LONG, async || rig.database.number(waits).await == 1).await;
    let free = "select count(*) from (select from relay.lanes for share skip locked) free";
    assert_eq!(rig.database.number(free).await, 32, "it holds no other meanwhile");
    session.batch_execute("rollback").await.unwrap();
    wait_shared(&[(&relay, 32.0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_can_not_renew_its_leases_for_somebodys_locks_says_so_and_lets_no_sessions_pile_up() {
    let rig = Rig::new().await;
    let relay = command(&rig).ready().await;
    wait_shared(&[(&relay, 32.0)]).await;
    let session = rig.database.session().await;
    session.batch_execute("begin; lock table relay.lanes in exclusive mode").await.unwrap();
    relay.wait_trouble("somebody holds locks on relay's tables").await;
    relay.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 0.0).await;
    let sessions = "select count(*) from pg_stat_activity
                    where datname = current_database() and application_name = 'relay lease'";
    wait::throughout("one waits", LEASE * 2, async || rig.database.number(sessions).await <= 2).await;
    session.batch_execute("rollback").await.unwrap();
    relay.wait_ready().await;
    wait_shared(&[(&relay, 32.0)]).await;
}
