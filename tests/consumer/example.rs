//! The example of docs/consumers.md does what it says.

use relay::consumer::Handler;

use crate::{
    rig::{Post, Rig, Running, post},
    support::wait,
};

#[path = "../../dev/consumer/main.rs"]
mod consumer;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_counts_each_payment_once() {
    let rig = Rig::new().await;
    rig.database.execute("create table app.revenue (customer text primary key, cents bigint)", &[]).await;
    let mut settings = consumer::settings(&rig.database.url, &rig.broker.url).expect("settings");
    settings.queue.name = rig.queue();
    settings.queue.exchange.clone_from(&rig.broker.exchange);
    settings.queue.routing_keys = vec!["order.#".to_owned()];
    settings.dead_letter_exchange.clone_from(&rig.broker.dead_letter_exchange);
    let running = Running::start(settings, Handler::transactional(consumer::Revenue));
    let paid = |id: &str, cents: i64| Post {
        kind: Some("paid".to_owned()),
        ..post(id).body(&format!("{{\"customer\": \"ann\", \"cents\": {cents}}}"))
    };
    rig.publish_all(&[paid("a", 100), paid("b", 23), paid("a", 100), paid("b", 23), post("c")]).await;
    assert_eq!(rig.broker.wait_dead_letters(1).await[0].text("x-relay-reason"), "unknown_type");
    wait::until("both are counted", wait::LONG, async || {
        rig.database.number("select coalesce(sum(cents), 0)::bigint from app.revenue").await == 123
    })
    .await;
    running.drain().await;
    assert_eq!(rig.database.number("select sum(cents)::bigint from app.revenue").await, 123);
}
