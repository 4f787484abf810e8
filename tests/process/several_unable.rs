//! Several relays on one outbox, of which some are there and can't work.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{
    rig::Rig,
    several_relays::{command, lanes, wait_shared},
    support::{
        relay::{Relay, RelayProcess, finish},
        servers, wait,
    },
};

/// A role of its own, with what `relay run` needs, until some of it is taken away.
struct Role<'a> {
    rig: &'a Rig,
    name: String,
}

impl<'a> Role<'a> {
    async fn new(rig: &'a Rig) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("unable_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        rig.database.execute(&format!("create role {name} login password 'relay'"), &[]).await;
        let role = Self { rig, name };
        role.grant();
        role
    }

    fn grant(&self) {
        let done =
            finish(&["migrate", "--grant-run-to", &self.name], &[("DATABASE_URL", &self.rig.database.url)]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }

    async fn revoke(&self, rights: &str) {
        self.rig.database.execute(&format!("revoke {rights} on relay.outbox from {}", self.name), &[]).await;
    }

    fn relay(&self) -> Relay {
        let (start, end) = self.rig.database.url.split_once("://").unwrap();
        let (_, host) = end.split_once('@').unwrap();
        command(self.rig).env("DATABASE_URL", &format!("{start}://{}:relay@{host}", self.name))
    }

    async fn drop(self) {
        let sql = format!("drop owned by {0}; drop role {0}", self.name);
        self.rig.database.client().await.batch_execute(&sql).await.unwrap();
    }
}

/// The one that can't work has no lanes, and takes none.
async fn assert_left_alone(unable: &RelayProcess, well: &RelayProcess) {
    wait::throughout("the lanes stay where rows go out", Duration::from_secs(8), async || {
        lanes(unable) == 0.0 && lanes(well) == 32.0 && !unable.is_ready()
    })
    .await;
    // An alert goes by that, where both servers are there.
    assert_eq!([unable, well].map(|relay| relay.metric("relay_able", &[])), [0.0, 1.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_may_not_read_the_outbox_leaves_its_lanes_to_one_that_may_until_it_may_again() {
    let rig = Rig::new().await;
    let role = Role::new(&rig).await;
    let unable = role.relay().ready().await;
    let well = command(&rig).ready().await;
    wait_shared(&[(&unable, 16.0), (&well, 16.0)]).await;
    role.revoke("select, update").await;
    rig.database.insert_many(1000, 100).await;
    wait_shared(&[(&unable, 0.0), (&well, 32.0)]).await;
    rig.assert_all_went_out(wait::LONG).await;
    unable.wait_trouble("permission denied for table outbox").await;
    unable.wait_log("its lanes are for relays that can").await;
    rig.database.insert_many(100, 100).await;
    assert_left_alone(&unable, &well).await;
    role.grant();
    wait_shared(&[(&unable, 16.0), (&well, 16.0)]).await;
    unable.wait_ready().await;
    rig.database.insert_many(100, 100).await;
    rig.database.wait_finished(wait::LONG).await;
    role.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_may_not_mark_rows_leaves_them_and_its_lanes_to_one_that_may() {
    let rig = Rig::new().await;
    let role = Role::new(&rig).await;
    let unable = role.relay().ready().await;
    let well = command(&rig).ready().await;
    wait_shared(&[(&unable, 16.0), (&well, 16.0)]).await;
    role.revoke("update").await;
    rig.database.insert_many(1000, 100).await;
    unable.wait_trouble("database (writing)").await;
    rig.assert_unfinished().await;
    wait_shared(&[(&unable, 0.0), (&well, 32.0)]).await;
    let duplicates = rig.assert_all_went_out(wait::LONG).await;
    assert!((1..=1000).contains(&duplicates), "what could not be marked went out again: {duplicates}");
    assert_left_alone(&unable, &well).await;
    role.grant();
    wait_shared(&[(&unable, 16.0), (&well, 16.0)]).await;
    unable.wait_ready().await;
    assert_eq!(unable.metric("relay_able", &[]), 1.0);
    role.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_none_of_which_may_read_the_outbox_keep_their_lanes_quietly_and_go_on_when_they_may() {
    let rig = Rig::new().await;
    let role = Role::new(&rig).await;
    let relays = [role.relay().ready().await, role.relay().ready().await];
    let [first, second] = &relays;
    wait_shared(&[(first, 16.0), (second, 16.0)]).await;
    role.revoke("select, update").await;
    rig.database.insert_many(1000, 100).await;
    for relay in &relays {
        relay.wait_log("its lanes are for relays that can").await;
    }
    let said = "select n_tup_upd from pg_stat_user_tables where schemaname = 'relay' and relname = 'relays'";
    // Whoever noticed first has left its lanes to the other.
    let all = || lanes(first) + lanes(second) == 32.0;
    wait::until("no lane changes hands", wait::LONG, async || all()).await;
    let before = rig.database.number(said).await;
    wait::throughout("they keep their lanes, and look twice a second", Duration::from_secs(6), async || {
        all() && rig.database.number(said).await < before + 60
    })
    .await;
    role.grant();
    wait_shared(&[(first, 16.0), (second, 16.0)]).await;
    rig.assert_all_went_out(wait::LONG).await;
    role.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_may_not_publish_to_the_exchange_leaves_its_lanes_to_one_that_may_until_it_may_again() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let user = "unable";
    own.rabbitmqctl(&["-q", "add_user", user, "relay"]);
    let all_but = format!("^(?!{}$).*", rig.broker.exchange.replace('.', "\\."));
    own.rabbitmqctl(&["-q", "set_permissions", user, ".*", &all_but, ".*"]);
    let url = rig.broker.url.replacen("guest:guest@", &format!("{user}:relay@"), 1);
    let well = command(&rig).ready().await;
    let unable = command(&rig).env("AMQP_URL", &url).ready().await;
    wait_shared(&[(&unable, 16.0), (&well, 16.0)]).await;
    rig.database.insert_many(1000, 100).await;
    wait_shared(&[(&unable, 0.0), (&well, 32.0)]).await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0, "nothing was in doubt");
    unable.wait_trouble(&format!("exchange '{}'", rig.broker.exchange)).await;
    rig.database.insert_many(100, 100).await;
    assert_left_alone(&unable, &well).await;
    own.rabbitmqctl(&["-q", "set_permissions", user, ".*", ".*", ".*"]);
    wait_shared(&[(&unable, 16.0), (&well, 16.0)]).await;
    unable.wait_ready().await;
    rig.database.insert_many(100, 100).await;
    rig.database.wait_finished(wait::LONG).await;
    assert!(unable.metric("relay_published_total", &[]) > 0.0, "it publishes its share");
    own.rabbitmqctl(&["-q", "delete_user", user]);
}
