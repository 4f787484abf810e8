//! Act one: relay alone. Services commit rows, the broker and a relay are killed, poison dies and is replayed.

pub(crate) mod account;
mod services;
pub(crate) mod tap;

use std::time::Duration;

use tokio_postgres::Client;

pub(crate) use services::Committed;
use services::Services;
use tap::Tap;

use crate::{
    Story,
    part::Part,
    servers::{Result, Stack, number, until},
};

/// Plays it. Returns what the services committed, and the relay that is left.
pub(crate) async fn act(
    story: &Story,
    stack: &Stack,
    database: &Client,
    tap: &Tap,
) -> Result<(Committed, Part)> {
    story.tell("ONE. relay migrate");
    stack.run("relay", &["migrate"]).await?;
    services::prepare(database).await?;
    tap.bind(&["order.#"]).await?;
    story.tell("two relays share the lanes of the outbox");
    let mut relays = [stack.relay("relay-a")?, stack.relay("relay-b")?];
    for relay in &mut relays {
        relay.start().await?;
    }

    story.tell("four services commit orders, an outbox row in each transaction; some roll back");
    let services = Services::start(&stack.database_url);
    // RabbitMQ keeps what it knows of a new quorum queue in memory for up to 3 s: one that is killed before may come back
    // without a leader, and then takes nothing until somebody mends it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    tap.received_more(500).await?;
    story.tell("kill -9 of the broker, mid-stream");
    stack.control("kill-broker").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    story.tell("... the services go on committing; the broker starts again");
    stack.control("start-broker").await?;
    tap.received_more(500).await?;
    story.tell("messages flow again");
    let [first, second] = relays;
    let (mut dies, lives) = (first, second);
    until("both have lanes", async || Ok(owners(database).await? == 2)).await?;
    story.tell("kill -9 of one of the relays, mid-stream");
    dies.kill().await?;
    until("the other has all lanes", async || Ok(owners(database).await? == 1)).await?;
    tap.received_more(500).await?;
    story.tell("the other one has taken its lanes");

    let committed = services.finish().await?;
    story.tell(&format!(
        "the services have committed {} rows and rolled {} back; waiting until none is left",
        committed.rows, committed.rolled_back
    ));
    until_settled(database).await?;
    let dead = number(database, "select count(*) from relay.outbox where dead_at is not null").await?;
    story.tell(&format!("{dead} rows are dead, each with its reason:"));
    stack.run("relay", &["dlq", "list", "--limit", "4"]).await?;
    story.tell("the operator binds the missing queue and replays: relay replay-dlq --reason unroutable");
    tap.bind(&["invoice.#"]).await?;
    stack.run("relay", &["replay-dlq", "--reason", "unroutable", "--yes"]).await?;
    until_settled(database).await?;
    Ok((committed, lives))
}

/// Waits until no row is unfinished.
pub(crate) async fn until_settled(database: &Client) -> Result<()> {
    let sql = "select count(*) from relay.outbox where published_at is null and dead_at is null";
    until("no row is unfinished", async || Ok(number(database, sql).await? == 0)).await
}

/// How many relays hold all the lanes between them; 0 while a lane has no owner.
async fn owners(database: &Client) -> Result<u64> {
    let sql = "select case when bool_and(l.expires_at > now()) then count(distinct l.owner) else 0 end
               from relay.lanes l";
    number(database, sql).await
}
