//! Several outboxes in one process, each on its own.

use std::{fs, path::Path};

use crate::{
    rig::{Rig, through_proxy},
    support::{
        broker::Broker,
        relay::{Relay, finish},
        wait,
    },
};

/// The block of an outbox between these two, as one would write it.
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
        let name = format!("outboxes-{}.toml", uuid::Uuid::new_v4());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, blocks.concat()).expect("the file can be written");
        Self(path.to_str().expect("a path of this machine").to_owned())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_whose_broker_is_down_waits_alone_and_goes_on_when_it_is_back() {
    let (shop, billing) = (Rig::new().await, Rig::new().await);
    let (proxy, url) = through_proxy(&billing.broker.url).await;
    let file = File::new(&[
        block("shop", &shop.database.url, &shop.broker, &shop.broker.url),
        block("billing", &billing.database.url, &billing.broker, &url),
    ]);
    let mut relay = Relay::configured_by(&file.0).ready().await;
    for rig in [&shop, &billing] {
        rig.database.insert_many(200, 20).await;
        rig.database.wait_finished(wait::LONG).await;
    }
    proxy.refuse();
    proxy.cut();
    relay.wait_trouble("outbox billing: broker").await;
    billing.database.insert_many(200, 20).await;
    shop.database.insert_many(2000, 20).await;
    assert_eq!(
        shop.assert_all_went_out(wait::LONG).await,
        0,
        "the other one's broker is no concern of this one"
    );
    assert!(!relay.get("/readyz").1.contains("outbox shop"), "{}", relay.get("/readyz").1);
    assert_eq!(billing.database.unfinished().await, 200);
    assert_eq!(relay.metric("relay_amqp_connected", &["outbox=\"billing\""]), 0.0);
    assert_eq!(relay.metric("relay_amqp_connected", &["outbox=\"shop\""]), 1.0);
    assert_eq!(relay.metric("relay_published_total", &["outbox=\"shop\""]), 2200.0);
    let down = relay.lines().into_iter().find(|line| line["part"] == "broker" && line["level"] == "WARN");
    assert_eq!(down.expect("it is said")["span"]["outbox"], "billing", "whose broker it is");

    proxy.thaw();
    assert_eq!(billing.assert_all_went_out(wait::LONG).await, 0);
    relay.wait_ready().await;
    relay.drain().await;
    let drained = relay.lines().into_iter().filter(|line| line["message"] == "drained").count();
    assert_eq!(drained, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_outboxes_in_one_database_have_a_table_a_schema_and_commands_of_their_own() {
    let (first, second) = (Rig::new().await, Rig::new().await);
    let database = &first.database;
    let file = File::new(&[
        block("first", &database.url, &first.broker, &first.broker.url),
        block("second", &database.url, &second.broker, &second.broker.url),
        "database.schema = 'second'\n".to_owned(),
    ]);
    let env = [("RELAY_CONFIG", file.0.as_str())];
    let migrated = finish(&["migrate"], &env);
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    for schema in ["relay", "second"] {
        assert!(migrated.stderr.contains(&format!("schema {schema} at")), "{}", migrated.stderr);
    }
    let relay = Relay::configured_by(&file.0).ready().await;
    let add = |schema: &str| {
        format!(
            "insert into {schema}.outbox (aggregate_type, aggregate_id, event_type, payload)
         select 'order', (n % 10)::text, 'placed', '{{}}' from generate_series(1, 100) n"
        )
    };
    database.execute(&add("relay"), &[]).await;
    assert_eq!(first.assert_all_went_out(wait::LONG).await, 0);
    assert_eq!(second.broker.tapped().await.len(), 0);
    database.execute(&add("second"), &[]).await;
    wait::until("the second is published", wait::LONG, async || {
        database.number("select count(*) from second.outbox where published_at is null").await == 0
    })
    .await;
    assert_eq!(second.broker.tapped().await.len(), 100);
    assert_eq!(first.broker.tapped().await.len(), 0, "of the second one's rows");
    assert_eq!(relay.metric("relay_published_total", &["outbox=\"second\""]), 100.0);

    let ambiguous = finish(&["status"], &env);
    assert_eq!(ambiguous.code, Some(2));
    assert!(ambiguous.stderr.contains("--outbox first, or --outbox second"), "{}", ambiguous.stderr);
    let status = finish(&["status", "--outbox", "second", "-o", "prometheus"], &env);
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    assert!(status.stdout.contains("outbox=\"second\""), "{}", status.stdout);
}
