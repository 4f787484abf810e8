//! Servers that go away. Each costs time, and nothing else.

use crate::{
    rig::Rig,
    support::{
        servers::{self, Server},
        wait,
    },
};

async fn goes_on_after(server: Server) {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let worker = rig.worker().ready().await;
    let mut ids = vec![rig.shipment(1).await];
    rig.wait_state(ids[0], "shipped").await;
    rig.sim.rule(r#"{"route": "buy", "answer": "right", "delay_ms": 300}"#).await;
    for _ in 0..4 {
        ids.push(rig.shipment(2).await);
    }
    wait::until("labels are being bought", wait::LONG, async || rig.sold().await > 1).await;
    own.kill(server);
    own.boot(server);
    for id in &ids {
        rig.wait_state(*id, "shipped").await;
    }
    rig.check().await;
    assert_eq!(rig.sold().await, 9);
    worker.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_crashes_costs_no_label() {
    goes_on_after(Server::Broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_crashes_costs_no_label() {
    goes_on_after(Server::Postgres).await;
}
