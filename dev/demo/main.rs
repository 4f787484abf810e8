//! `make demo`, in two acts. Committed rows reach RabbitMQ, whatever is killed meanwhile; then a shipping service on top of
//! that does everything once, whoever asks twice and whatever dies. Prints what happens as it happens, then accounts for
//! every row and every shipment; the exit code is the verdict.

#![expect(clippy::print_stdout, reason = "a demonstration talks")]

mod part;
mod rows;
mod servers;
mod shipping;

#[path = "../stack.rs"]
mod stack;

use std::{process::ExitCode, time::Instant};

use servers::{Result, Stack};

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
    let story = Story(Instant::now());
    story.tell("a private Postgres and RabbitMQ come up (no install, no root, one folder)");
    let stack = Stack::up()?;
    let verdict = play(&story, &stack).await;
    stack.down().await;
    verdict.map_err(|error| format!("{error}; logs are in {}", stack.files.display()).into())
}

async fn play(story: &Story, stack: &Stack) -> Result<bool> {
    let database = stack.database().await?;
    let tap = rows::tap::Tap::start(&stack.amqp_url).await?;
    let (committed, relay) = rows::act(story, stack, &database, &tap).await?;
    let shipping = shipping::act(story, stack, &database, &tap, relay).await?;
    let rows = rows::account::Account::draw(&database, &tap, &committed).await?;

    println!("\nrelay, every row of both acts\n{rows}\n{shipping}");
    let wrong: Vec<&String> = rows.wrong.iter().chain(&shipping.wrong).collect();
    for what in &wrong {
        println!("wrong: {what}");
    }
    let verdict = match wrong.is_empty() {
        true => "Nothing lost, nothing out of order, nothing done twice, nothing left undone.",
        false => "THE ACCOUNT DOES NOT BALANCE.",
    };
    println!("{verdict}");
    Ok(wrong.is_empty())
}
