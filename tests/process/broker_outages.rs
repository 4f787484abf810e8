//! The broker killed, frozen, full, away.

use std::time::{Duration, Instant};

use lapin::ExchangeKind;

use crate::{
    rig::Rig,
    support::{
        servers::{self, Server},
        wait,
    },
};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_starts_without_its_broker_and_publishes_when_it_comes() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    rig.database.insert_many(500, 50).await;
    own.kill(Server::Broker);
    let relay = rig.relay().start().await;
    relay.wait_trouble("broker").await;
    assert_eq!(relay.get("/livez").0, 200);
    assert_eq!(relay.metric("relay_amqp_connected", &[]), 0.0);
    relay.wait_metric("relay_breaker_state", &["target=\"broker\""], wait::LONG, |state| state == 2.0).await;
    assert!(!relay.get("/readyz").1.contains("database (leasing)"), "{}", relay.get("/readyz").1);
    own.boot(Server::Broker);
    relay.wait_ready().await;
    let duplicates = rig.assert_all_went_out(wait::LONG).await;
    assert_eq!(duplicates, 0, "nothing was in doubt");
    relay.wait_metric("relay_breaker_state", &["target=\"broker\""], wait::LONG, |state| state == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_costs_no_row_and_no_attempt() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let relay = rig.relay().ready().await;
    rig.in_the_midst_of(6000, 300).await;
    own.kill(Server::Broker);
    rig.assert_unfinished().await;
    relay.wait_trouble("broker").await;
    rig.database.insert_many(500, 300).await;
    own.boot(Server::Broker);
    let duplicates = rig.assert_all_went_out(MINUTE).await;
    assert!(duplicates <= 4096, "{duplicates} duplicates");
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_given_up_and_published_to_again_when_it_thaws() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let relay = rig.impatient_relay().ready().await;
    rig.in_the_midst_of(6000, 300).await;
    own.freeze(Server::Broker);
    rig.assert_unfinished().await;
    let frozen = Instant::now();
    relay.wait_trouble("broker").await;
    assert!(frozen.elapsed() < Duration::from_secs(6), "noticed after {:?}", frozen.elapsed());
    let threads = async || std::fs::read_dir(format!("/proc/{}/task", relay.pid())).expect("it runs").count();
    let before = threads().await;
    // Several attempts to connect to a broker that accepts and says nothing.
    wait::throughout("the outage", Duration::from_secs(8), async || !relay.is_ready()).await;
    let after = threads().await;
    assert!(after <= before + 2, "threads leak: {before} before, {after} after");
    own.thaw(Server::Broker);
    let duplicates = rig.assert_all_went_out(MINUTE).await;
    assert!(duplicates <= 1024, "{duplicates} duplicates");
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_deleted_while_relay_runs_is_declared_again_and_no_row_is_charged() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    // With the exchange go its bindings. A policy gives the new one an alternate, so that it leads somewhere at once.
    let alternate = rig.broker.name("other");
    rig.broker.declare_exchange(&alternate, ExchangeKind::Fanout).await;
    rig.broker.bind(&rig.broker.tap, &alternate, "").await;
    let pattern = format!("^{}$", rig.broker.exchange.replace('.', "\\."));
    let policy = format!("{{\"alternate-exchange\":\"{alternate}\"}}");
    own.rabbitmqctl(&["-q", "set_policy", "--apply-to", "exchanges", "alternate", &pattern, &policy]);
    let relay = rig.relay().ready().await;
    rig.database.wait_published(rig.database.insert("a", "placed").await).await;
    rig.broker.delete_exchange(&rig.broker.exchange).await;
    rig.database.insert_many(200, 20).await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0);
    relay.wait_ready().await;
}
