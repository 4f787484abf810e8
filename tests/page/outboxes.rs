//! Several outboxes in one process: each is asked for by its name, and shows what is its own.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    client::{Client, OPERATE, insert_dead},
    rig::{Rig, through_proxy},
    support::{broker::Broker, relay::Relay, wait},
};

/// The block of an outbox between these two.
pub fn block(name: &str, database_url: &str, broker: &Broker, amqp_url: &str) -> String {
    format!(
        "[[outbox]]\nname = '{name}'\nexchange = '{}'\ndatabase.url = '{database_url}'\namqp.url = '{amqp_url}'\n\
         dead_letter = {{ exchange = '{}', queue = '{}' }}\n",
        broker.exchange, broker.dead_letter_exchange, broker.dead_letter_queue
    )
}

/// `relay.toml`, for as long as the test runs.
pub struct File(pub String);

impl File {
    pub fn new(blocks: &[String]) -> Self {
        let name = format!("page-outboxes-{}.toml", uuid::Uuid::new_v4());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, blocks.concat()).unwrap();
        Self(path.to_str().unwrap().to_owned())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_outbox_is_asked_for_by_its_name_and_acted_on_alone() {
    let (shop, billing) = (Rig::new().await, Rig::new().await);
    let file = File::new(&[
        block("shop", &shop.database.url, &shop.broker, &shop.broker.url),
        block("billing eu", &billing.database.url, &billing.broker, &billing.broker.url),
    ]);
    let relay = Relay::configured_by(&file.0).env("RELAY_PAGE_OPERATOR_TOKEN", OPERATE).ready().await;
    let operator = Client::of(&relay).with(OPERATE);
    assert_eq!(operator.json("/api/session")["outboxes"], json!(["shop", "billing eu"]));
    let (seq, id) = insert_dead(&billing, "1", "placed", "{}").await;
    let count = |outbox: &str| {
        operator.json(&format!("/api/outboxes/{outbox}/dead"))["rows"].as_array().unwrap().len()
    };
    assert_eq!((count("shop"), count("billing%20eu")), (0, 1));
    let ids = json!({ "event_ids": [id] });
    assert_eq!(operator.act("/api/outboxes/shop/dead/replay", &ids)["done"], 0, "it is not its own");
    assert_eq!(operator.act("/api/outboxes/billing%20eu/dead/replay", &ids)["done"], 1);
    billing.database.wait_published(seq).await;
    operator.act("/api/outboxes/shop/pause", &json!({ "scope": "all" }));
    assert_eq!(operator.json("/api/outboxes/billing%20eu/pauses"), json!([]));
    operator.get("/api/outboxes/billing/dead").refused(404, &["billing", "shop, billing eu"]);
    assert_eq!(operator.get("/api/outboxes/%FF/dead").status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_whose_servers_are_away_says_so_and_the_other_shows_all() {
    let (shop, billing) = (Rig::new().await, Rig::new().await);
    let (database, database_url) = through_proxy(&billing.database.url).await;
    let (broker, broker_url) = through_proxy(&billing.broker.url).await;
    let file = File::new(&[
        block("shop", &shop.database.url, &shop.broker, &shop.broker.url),
        block("billing", &database_url, &billing.broker, &broker_url),
    ]);
    let relay = Relay::configured_by(&file.0).ready().await;
    let reader = Client::of(&relay);
    reader.json("/api/outboxes/billing/status");
    for proxy in [&database, &broker] {
        proxy.refuse();
        proxy.cut();
    }
    relay.wait_trouble("outbox billing: broker").await;
    let away = wait::found("it is said that they are away", wait::LONG, async || {
        let answer = reader.get("/api/outboxes/billing/status");
        (answer.status == 503).then_some(answer)
    })
    .await;
    let own = &away.refused(503, &["Postgres"])["relay"];
    assert_eq!((&own["ready"], &own["amqp_connected"]), (&json!(false), &json!(false)), "{own}");
    assert!(
        own["troubles"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().starts_with("broker")),
        "{own}"
    );
    wait::until("its circuit is open", wait::LONG, async || {
        reader.get("/api/outboxes/billing/status").json()["relay"]["breakers"]["broker"] != "closed"
    })
    .await;
    wait::until("its gauges are known to be old", wait::LONG, async || {
        let history = reader.json("/api/outboxes/billing/history?minutes=1");
        history["series"]["backlog"].as_array().unwrap().last().unwrap().is_null()
    })
    .await;
    let other = reader.json("/api/outboxes/shop/status");
    assert_eq!((&other["relay"]["ready"], &other["relay"]["troubles"]), (&json!(true), &json!([])));
    database.thaw();
    broker.thaw();
    wait::until("it is back", wait::LONG, async || reader.get("/api/outboxes/billing/status").status == 200)
        .await;
}
