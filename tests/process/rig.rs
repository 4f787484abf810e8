//! One test's surroundings, and what is to be said about what was delivered.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::support::{
    broker::{Broker, Delivery},
    database::Database,
    proxy::Proxy,
    relay::Relay,
    servers::{self, Servers},
    wait,
};

/// A database and a corner of the broker.
pub struct Rig {
    pub database: Database,
    pub broker: Broker,
}

impl Rig {
    /// On the shared servers, with a tap on everything.
    pub async fn new() -> Self {
        Self::on(servers::shared()).await
    }

    /// On these servers, with a tap on everything.
    pub async fn on(servers: &Servers) -> Self {
        Self { database: Database::new(servers).await, broker: Broker::new(servers).await }
    }

    /// On the shared servers, where only these routing keys lead anywhere.
    pub async fn bound_to(routing_keys: &[&str]) -> Self {
        let servers = servers::shared();
        Self { database: Database::new(servers).await, broker: Broker::bound_to(servers, routing_keys).await }
    }

    pub fn relay(&self) -> Relay {
        Relay::between(&self.database, &self.broker)
    }

    /// A relay that gives silence up soon, and has so little in flight that an outage finds more.
    pub fn impatient_relay(&self) -> Relay {
        self.relay()
            .env("RELAY_AMQP_CONFIRM_TIMEOUT", "2s")
            .env("RELAY_AMQP_CONNECT_TIMEOUT", "2s")
            .env("RELAY_LIMITS_IN_FLIGHT_ROWS", "1024")
    }

    /// Adds rows, and returns when relay has published some of them and is in the midst of it.
    pub async fn in_the_midst_of(&self, rows: i32, keys: i32) {
        let enough = self.database.number("select count(*) from relay.outbox").await + 100;
        self.database.insert_many(rows, keys).await;
        wait::until("relay is in the midst of it", wait::LONG, async || {
            self.database.published().await > enough
        })
        .await;
    }

    /// What was to happen in the midst of it did.
    pub async fn assert_unfinished(&self) {
        assert!(self.database.unfinished().await > 0, "it was over before: nothing was tested");
    }

    /// Every row is published in time, none was charged, and [`Self::assert_complete`]; returns what that returns.
    pub async fn assert_all_went_out(&self, limit: Duration) -> usize {
        self.database.wait_finished(limit).await;
        self.assert_nobody_charged().await;
        self.assert_complete(&self.broker.tapped().await).await
    }

    /// Every row of the table was delivered at least once, under its id, and nothing else was; rows of a key were first
    /// delivered in seq order. Returns how many deliveries were duplicates.
    pub async fn assert_complete(&self, deliveries: &[Delivery]) -> usize {
        let sent: BTreeSet<_> = self.database.event_ids().await.into_iter().collect();
        let seen: BTreeSet<_> = deliveries.iter().map(|delivery| delivery.id.clone()).collect();
        let lost: Vec<_> = sent.difference(&seen).collect();
        let phantoms: Vec<_> = seen.difference(&sent).collect();
        assert!(lost.is_empty(), "{} rows lost: {lost:?}", lost.len());
        assert!(phantoms.is_empty(), "{} messages of no row: {phantoms:?}", phantoms.len());
        assert_in_order(deliveries);
        deliveries.len() - seen.len()
    }

    /// No row was charged with an attempt.
    pub async fn assert_nobody_charged(&self) {
        let sql = "select count(*) from relay.outbox where attempts > 0 or dead_at is not null";
        assert_eq!(self.database.number(sql).await, 0, "rows charged for what was not their doing");
    }
}

/// The first deliveries of each key are in seq order.
pub fn assert_in_order(deliveries: &[Delivery]) {
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for delivery in deliveries.iter().filter(|delivery| seen.insert(delivery.id.clone())) {
        let before = last.insert(delivery.text("x-relay-aggregate-id"), delivery.seq()).unwrap_or(0);
        let key = &delivery.correlation_id;
        assert!(
            before < delivery.seq(),
            "key {key}: row {} was delivered after row {before}",
            delivery.seq()
        );
    }
}

/// A proxy in front of the server of a URL, and the URL that leads through it.
pub async fn through_proxy(url: &str) -> (Proxy, String) {
    let start = url.find('@').expect("the URL has a user") + 1;
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    let proxy = Proxy::start(&url[start..end]).await.expect("a port is free");
    let through = format!("{}{}{}", &url[..start], proxy.address(), &url[end..]);
    (proxy, through)
}
