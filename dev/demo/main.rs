//! `make demo`: committed rows reach RabbitMQ, whatever is killed meanwhile. Prints what happens as it happens, then
//! accounts for every row; the exit code is the verdict.

#![expect(clippy::print_stdout, reason = "a demonstration talks")]

mod consumer;
mod producer;
mod servers;
mod verdict;

#[path = "../stack.rs"]
mod stack;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use consumer::Tap;
use producer::Producers;
use servers::{Relay, Result, Stack};
use verdict::Account;

/// Says what happens, with the seconds since the start.
pub(crate) struct Story(Instant);

impl Story {
    pub(crate) fn tell(&self, what: &str) {
        println!("{:6.1} s  {what}", self.0.elapsed().as_secs_f64());
    }
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            println!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(demo()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("the demonstration broke off: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<bool> {
    let story = Arc::new(Story(Instant::now()));
    story.tell("a private Postgres and RabbitMQ come up (no install, no root, one folder)");
    let stack = Stack::up().await?;
    let database = stack.database().await?;

    story.tell("relay migrate");
    stack.relay_command(&["migrate"]).await?;
    producer::prepare(&database).await?;
    let tap = Tap::start(&stack.amqp_url).await?;
    story.tell("two relays: one publishes, one stands by");
    let mut first = Relay::start(&stack, "A").await?;
    let second = Relay::start(&stack, "B").await?;

    story.tell("four services commit orders, an outbox row in each transaction; some roll back");
    let producers = Producers::start(&stack.database_url);
    {
        tokio::time::sleep(Duration::from_secs(4)).await;
        story.tell("kill -9 of the broker, mid-stream");
        stack.control("kill-broker").await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        story.tell("... the services go on committing; the broker starts again");
        stack.control("start-broker").await?;
        tap.received_more(200, Duration::from_secs(20)).await?;
        story.tell("messages flow again");
        tokio::time::sleep(Duration::from_secs(2)).await;
        story.tell("kill -9 of the relay that publishes, mid-stream");
        let owner = verdict::owner(&database).await?;
        first.kill();
        verdict::until_owner_is_not(&database, &owner, Duration::from_secs(10)).await?;
        tap.received_more(200, Duration::from_secs(20)).await?;
        story.tell("the other one has taken over");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let committed = producers.finish().await?;
    story.tell(&format!(
        "the services have committed {} rows and rolled {} back; waiting until none is left",
        committed.rows, committed.rolled_back
    ));
    verdict::until_settled(&database, Duration::from_secs(25)).await?;

    let dead = verdict::dead(&database).await?;
    story.tell(&format!("{dead} rows are dead, each with its reason:"));
    stack.relay_command(&["dlq", "list", "--limit", "4"]).await?;
    story.tell("the operator binds the missing queue and replays: relay replay-dlq --reason unroutable");
    tap.bind_invoices().await?;
    stack.relay_command(&["replay-dlq", "--reason", "unroutable", "--yes"]).await?;
    verdict::until_settled(&database, Duration::from_secs(15)).await?;
    tap.quiet(Duration::from_millis(500)).await;

    second.terminate().await?;
    story.tell("SIGTERM: the relay drained and left");
    let account = Account::draw(&database, &tap, &committed).await?;
    println!("\n{account}");
    stack.down().await;
    println!(
        "{}",
        if account.good() {
            "\nNothing lost, nothing out of order."
        } else {
            "\nTHE ACCOUNT DOES NOT BALANCE."
        }
    );
    Ok(account.good())
}
