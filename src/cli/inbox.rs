//! What the commands about dead rows do with `--consumer`: the same, with dead messages of a consumer's inbox.

use serde_json::{Map, Value, json};

use super::{
    Exit, Failure,
    config_command::Output,
    connection::open,
    dead::{Request, clean_up},
    dlq::columns,
    exit::{print, say},
    render,
    selection::Selection,
    terminal::{Progress, stop},
};
use crate::{
    config::Config,
    operator::{
        act::{Action, Ended, Order},
        dead::database_now,
        inbox::{DeadMessage, DeadMessages, Place},
    },
};

/// Messages that are shown, and looked at for the horizon, at most.
const SHOWN: u64 = 100;

/// `relay dlq list --consumer`.
pub(super) async fn list(
    config: &Config,
    consumer: &str,
    selection: &Selection,
    limit: u64,
    output: Output,
) -> Result<Exit, Failure> {
    let connection = open(config).await?;
    let filter = selection.filter(database_now(&connection.client).await?);
    let dead = DeadMessages::new(&connection.client, &config.database.schema, consumer);
    // One more than asked for, to know whether there are more.
    let mut messages = dead.list(&filter, &Place::default(), limit.saturating_add(1)).await?;
    let more = messages.len() as u64 > limit;
    messages.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    match output {
        Output::Json => {
            let messages = messages.iter().map(DeadMessage::to_json).collect();
            print(&format!("{:#}", Value::Array(messages)));
        }
        Output::Table if messages.is_empty() => say("no dead message matches"),
        Output::Table => print(&table(&messages)),
    }
    if more {
        say(&format!("there are more than {limit}: --limit shows more of them"));
    }
    Ok(Exit::Ok)
}

/// `relay dlq show --consumer`.
pub(super) async fn show(
    config: &Config,
    consumer: &str,
    message_id: &str,
    body: bool,
    output: Output,
) -> Result<Exit, Failure> {
    let connection = open(config).await?;
    let dead = DeadMessages::new(&connection.client, &config.database.schema, consumer);
    let found = dead.show(message_id, body).await?;
    if found.is_empty() {
        return Err(Failure::Failed(format!("the inbox of {consumer} has no such message")));
    }
    match output {
        Output::Json => print(&format!("{:#}", Value::Object(found.into_iter().collect::<Map<_, _>>()))),
        Output::Table => print(&columns(found)),
    }
    Ok(Exit::Ok)
}

/// `relay replay-dlq --consumer` and `relay dlq discard --consumer`; what was selected and agreed to was checked.
pub(super) async fn act(config: &Config, consumer: &str, request: &Request<'_>) -> Result<Exit, Failure> {
    let (verb, done) = (request.action.verb(), request.action.done());
    let connection = open(config).await?;
    let now = database_now(&connection.client).await?;
    let mut filter = request.selection.filter(now);
    // What dies while this runs, perhaps because of it, is for another run.
    filter.until_us = Some(filter.until_us.map_or(now, |until| until.min(now)));
    let dead = DeadMessages::new(&connection.client, &config.database.schema, consumer);
    let limit = request.consent.limit.unwrap_or(u64::MAX);
    let shown = dead.list(&filter, &Place::default(), limit.min(SHOWN)).await?;
    let or_more = if shown.len() as u64 == SHOWN { " or more" } else { "" };
    let matched = shown.len();
    if matched == 0 && request.action == Action::Replay {
        say(&format!(
            "no dead message of {consumer} matches; what was no message at all is in no inbox: its letter goes back to \
             its queue by replay-dlq --foreign --allow-queue QUEUE"
        ));
    }
    let old = shown.iter().filter(|message| message.is_beyond_horizon).count();
    if old > 0 && request.action == Action::Replay {
        say(&format!(
            "warning: {old} of them are older than the horizon of {consumer}: what follows from them may be repeated \
             where it is no longer remembered"
        ));
    }
    if request.consent.dry_run {
        say(&format!("would {verb} {matched}{or_more} messages"));
        match request.output {
            Output::Table if shown.is_empty() => {}
            Output::Table => print(&table(&shown)),
            Output::Json => print(&format!(
                "{:#}",
                json!({
                    "action": verb,
                    "consumer": consumer,
                    "dry_run": true,
                    "messages": shown.iter().map(DeadMessage::to_json).collect::<Vec<_>>(),
                })
            )),
        }
        return Ok(Exit::Ok);
    }
    let question = format!("{verb} {matched}{or_more} dead messages of {consumer}?");
    if matched > 0 && !request.consent.ask(&question)? {
        say("nothing was done");
        return Ok(Exit::Ok);
    }
    let order = Order {
        action: request.action,
        filter,
        limit: request.consent.limit,
        rate: request.consent.rate,
        actor: request.consent.actor(),
        note: request.note.clone(),
    };
    let mut stop = stop()?;
    let mut progress = Progress::new(done, matched as u64);
    let report = dead.act(&order, &mut stop, |messages| progress.done(messages)).await;
    progress.finish();
    if request.dlq_cleanup && report.rows > 0 && matches!(report.ended, Ended::Complete) {
        clean_up(config, &connection).await;
    }
    let messages = report.rows;
    match request.output {
        Output::Table => print(&format!("{done} {messages} messages of {consumer}")),
        Output::Json => print(&format!(
            "{:#}",
            json!({
                "action": verb,
                "consumer": consumer,
                "done": messages,
                "complete": matches!(report.ended, Ended::Complete),
            })
        )),
    }
    match report.ended {
        Ended::Complete => Ok(Exit::Ok),
        Ended::Interrupted => {
            say(&format!("interrupted: {done} {messages} messages; the same command does the rest"));
            Ok(Exit::Partly)
        }
        Ended::Failed(error) if messages > 0 => {
            say(&format!("error: {} (after {done} {messages} messages)", error.with_cure()));
            Ok(Exit::Partly)
        }
        Ended::Failed(error) => Err(error.into()),
    }
}

fn table(messages: &[DeadMessage]) -> String {
    let columns = ["message id", "died", "reason", "type", "key", "attempts", "replays", "error"];
    render::table(
        columns,
        messages.iter().map(|message| {
            [
                render::short(&message.message_id, 40),
                // To the second.
                format!("{}Z", crate::envelope::timestamp(message.dead_us).get(..19).unwrap_or_default()),
                message.reason.clone(),
                message.event_type.clone(),
                format!("{}/{}", message.aggregate_type, render::short(&message.aggregate_id, 40)),
                message.attempts.to_string(),
                message.replays.to_string(),
                render::short(&message.error, 60),
            ]
        }),
    )
}
