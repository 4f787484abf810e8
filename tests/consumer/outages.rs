use std::time::Duration;

use crate::{
    rig::{Kind, Rig, post},
    support::{
        servers::{self, Own, Server},
        stopped::Stopped,
        wait,
    },
};

/// Surroundings that outlive a crash. RabbitMQ writes its directory of quorum queues late: one that is younger than a
/// second or so may come back from a SIGKILL with nobody at home, and its consumers are not answered. An orderly stop
/// writes it.
async fn rig_that_lasts(own: &Own) -> Rig {
    let rig = Rig::on(own.servers()).await;
    own.rabbitmqctl(&["stop_app"]);
    own.rabbitmqctl(&["start_app"]);
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_was_deleted_is_declared_again() {
    let rig = Rig::new().await;
    let consumer = rig.start(Kind::Inside);
    rig.publish(&post("before")).await;
    rig.wait_done("before").await;
    rig.broker.delete_queue(&rig.queue()).await;
    wait::until("it notices", wait::LONG, async || !consumer.health.troubles().is_empty()).await;
    consumer.wait_ready().await;
    rig.publish(&post("after")).await;
    rig.wait_done("after").await;
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_of_broker_and_database_mid_stream_cost_no_effect_and_no_attempt() {
    let own = servers::own().await;
    let rig = rig_that_lasts(&own).await;
    for (round, kind) in [(0, Kind::Inside), (1, Kind::Outside)] {
        for server in [Server::Broker, Server::Postgres] {
            let consumer = rig.start_with(kind, |settings| {
                // What a third party is asked is charged, and this one crashes with the database.
                settings.retry.max_attempts = if kind == Kind::Inside { 1 } else { 2 };
                // Longer than a crash takes: the next attempt is not begun while the first one's result waits here.
                settings.claim_margin = Duration::from_secs(20);
                settings.batch = 4;
            });
            consumer.wait_ready().await;
            let ids: Vec<String> = (0..300).map(|n| format!("{round}-{server:?}-{n}")).collect();
            let posts: Vec<_> = ids.iter().map(|id| post(id)).collect();
            rig.publish_all(&posts).await;
            consumer.wait_count("done", 20).await;
            own.kill(server);
            own.boot(server);
            wait::until("all are done", wait::LONG, async || {
                assert_eq!(rig.deaths().await, Vec::<String>::new(), "{kind:?}, {server:?}");
                let sql = "select count(*) from relay.inbox where state = 'done' and message_id = any ($1)";
                rig.database.query(sql, &[&ids]).await[0].get::<_, i64>(0) == 300
            })
            .await;
            let sql =
                "select count(*), count(distinct message_id) from app.effects where message_id = any ($1)";
            let rows = rig.database.query(sql, &[&ids]).await;
            assert_eq!(
                (rows[0].get::<_, i64>(0), rows[0].get::<_, i64>(1)),
                (300, 300),
                "{kind:?}, {server:?}"
            );
            assert_eq!(consumer.count("dead"), 0);
            consumer.drain().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_before_its_servers_and_waits_for_them() {
    let own = servers::own().await;
    let rig = rig_that_lasts(&own).await;
    rig.publish(&post("a")).await;
    own.kill(Server::Broker);
    let consumer = rig.start(Kind::Inside);
    wait::until("it says what is wrong", wait::LONG, async || {
        consumer.health.troubles().iter().any(|trouble| trouble.contains("cannot reach"))
    })
    .await;
    own.boot(Server::Broker);
    rig.wait_done("a").await;
    assert_eq!(rig.effects("a").await, 1);
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_that_stand_still_are_given_up_and_nothing_is_done_twice() {
    let own = servers::own().await;
    for kind in [Kind::Inside, Kind::Outside] {
        let rig = Rig::on(own.servers()).await;
        let consumer = rig.start_with(kind, |settings| {
            settings.workers = 1;
            settings.database.statement_timeout = Duration::from_secs(1);
        });
        rig.publish(&post("before")).await;
        rig.wait_done("before").await;
        let stopped = Stopped::backends(&rig.database, "relay shop").await;
        rig.publish(&post("after")).await;
        rig.wait_done("after").await;
        drop(stopped);
        assert_eq!((rig.effects("before").await, rig.effects("after").await), (1, 1));
        consumer.drain().await;
    }
}
