//! What the log does not say: the client library's own complaints, payloads, passwords.

use std::collections::BTreeSet;

use crate::{
    rig::{Rig, through_proxy},
    support::{relay::RelayProcess, wait},
};

fn count(relay: &RelayProcess, message: &str) -> usize {
    relay
        .lines()
        .iter()
        .filter(|line| line["message"].as_str().is_some_and(|text| text.contains(message)))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_flaps_costs_two_lines_a_flap_and_none_of_them_is_the_librarys() {
    const FLAPS: usize = 6;
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.broker.url).await;
    let relay = rig.relay().env("AMQP_URL", &url).ready().await;
    for flap in 1..=FLAPS {
        rig.database.insert_many(100, 10).await;
        wait::until("relay is connected", wait::LONG, async || proxy.connections() > 0).await;
        relay.wait_ready().await;
        proxy.cut();
        wait::until("relay says so", wait::LONG, async || count(&relay, "broker is down") == flap).await;
    }
    relay.wait_ready().await;
    rig.assert_all_went_out(wait::LONG).await;
    let foreign: Vec<_> =
        relay.complaints().into_iter().filter(|line| !line.starts_with("broker is down: ")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert_eq!(count(&relay, "broker is down"), FLAPS);
    // Where it is up for the first time, something else of it may be, too.
    assert!(count(&relay, "broker is up") <= FLAPS + 2, "{}", relay.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_fails_in_turns_is_said_once_for_each_way_it_does() {
    let rig = Rig::new().await;
    let (proxy, url) = through_proxy(&rig.broker.url).await;
    let relay = rig.relay().env("AMQP_URL", &url).env("RELAY_AMQP_CONNECT_TIMEOUT", "1s").ready().await;
    for _ in 0..3 {
        proxy.refuse();
        proxy.cut();
        relay.wait_trouble("reset").await;
        proxy.thaw();
        proxy.freeze();
        relay.wait_trouble("within 1s").await;
    }
    let said = relay.complaints();
    let distinct: BTreeSet<_> = said.iter().collect();
    // Lost; refused, before a byte was sent or just after; not answered.
    assert!(said.len() == distinct.len() && said.len() <= 6, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_level_shows_what_a_returned_message_or_a_login_says() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let url = rig.broker.url.replacen("guest:guest@", "guest:s3cret-login@", 1);
    assert_ne!(url, rig.broker.url, "the test's broker has the user guest");
    let everything = "trace,lapin=trace,lapin::returned_messages=trace,lapin::channels=trace,lapin::frames=trace,\
                      amq_protocol=trace,amq_protocol::frame=trace";
    let loud = rig.relay().env("RELAY_LOG_LEVEL", everything);
    let mut refused = loud.clone().env("AMQP_URL", &url).start().await;
    refused.wait_trouble("refused the login").await;
    refused.drain().await;

    let relay = loud.ready().await;
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload)
               select 'order', 'k' || n, 'lost', '\"s3cret-payload\"' from generate_series(1, 200) n";
    rig.database.execute(sql, &[]).await;
    wait::until("they came back", wait::LONG, async || {
        rig.database.number("select count(*) from relay.outbox where attempts > 0").await == 200
    })
    .await;
    // Bodies are logged as lists of bytes, too.
    let bytes = |text: &str| text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    for (log, secret) in [(relay.log(), "s3cret-payload"), (refused.log(), "s3cret-login")] {
        assert!(log.contains("create channel"), "the library says nothing at all");
        assert!(!log.contains(secret), "{secret} is in the log");
        assert!(!log.contains(&bytes(secret)), "{secret} is in the log, as bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_returned_rows_cost_a_few_lines() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let relay = rig.relay().env("RELAY_RETRY_FLOOR", "2m").ready().await;
    let before = relay.lines().len();
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload)
               select 'order', 'k' || n, 'lost', '{}' from generate_series(1, 1000) n";
    rig.database.execute(sql, &[]).await;
    wait::until("they came back", wait::LONG, async || {
        rig.database.number("select count(*) from relay.outbox where attempts > 0").await == 1000
    })
    .await;
    let lines = relay.lines().len() - before;
    assert!(lines <= 15, "{lines} lines:\n{}", relay.log());
}
