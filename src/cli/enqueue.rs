//! `relay enqueue`.

use std::{io::Read, time::Duration};

use clap::Args;
use uuid::Uuid;

use super::{
    Exit, Failure, Sources,
    connection::open_as_relay,
    exit::{print, runtime},
};
use crate::{
    config::Needs,
    operator::{
        enqueue::{Available, Event, check_headers, check_json, enqueue},
        when,
    },
    row::micros,
};

/// Add one event to the outbox; prints its event id.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  relay enqueue --aggregate-type order --aggregate-id 42 --event-type placed \
                        --payload '{\"total\": 5}'"
)]
pub(super) struct Enqueue {
    /// What kind of thing it is about; with --aggregate-id the ordering key.
    #[arg(long, value_name = "TYPE")]
    aggregate_type: String,
    /// Which of them.
    #[arg(long, value_name = "ID")]
    aggregate_id: String,
    /// What happened.
    #[arg(long, value_name = "TYPE")]
    event_type: String,
    /// The body: JSON, @FILE, or - for standard input.
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    payload: String,
    /// Headers: a JSON object of scalars, @FILE, or -.
    #[arg(long, value_name = "JSON|@FILE|-", default_value = "{}")]
    headers: String,
    /// An exchange other than the configured one; it must be allow-listed.
    #[arg(long)]
    exchange: Option<String>,
    /// A routing key other than the template's.
    #[arg(long, value_name = "KEY")]
    routing_key: Option<String>,
    /// Not to be published before this time: 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = when::time, conflicts_with = "delay")]
    available_at: Option<i64>,
    /// Not to be published for this long: 10m.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,
    /// An event id other than a new one.
    #[arg(long, value_name = "ID")]
    event_id: Option<Uuid>,
}

impl Enqueue {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        if self.payload == "-" && self.headers == "-" {
            return Err(Failure::Usage(
                "only one of --payload and --headers can be standard input".to_owned(),
            ));
        }
        let payload = read("--payload", &self.payload)?;
        check_json(&payload).map_err(|error| Failure::Usage(format!("--payload is no JSON: {error}")))?;
        let headers = read("--headers", &self.headers)?;
        check_headers(&headers).map_err(|error| Failure::Usage(format!("--headers: {error}")))?;
        let event = Event {
            aggregate_type: self.aggregate_type.clone(),
            aggregate_id: self.aggregate_id.clone(),
            event_type: self.event_type.clone(),
            payload,
            headers,
            available: match (self.available_at, self.delay) {
                (Some(at), _) => Available::At(at),
                (None, Some(delay)) => Available::After(micros(delay)),
                (None, None) => Available::Now,
            },
            exchange: self.exchange.clone(),
            routing_key: self.routing_key.clone(),
            event_id: self.event_id,
        };
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        let id = runtime()?.block_on(async {
            let connection = open_as_relay(config).await?;
            Ok::<_, Failure>(enqueue(&connection.client, &config.database.schema, &event).await?)
        })?;
        print(&id.to_string());
        Ok(Exit::Ok)
    }
}

/// The text itself, or what the file or standard input says.
fn read(flag: &str, argument: &str) -> Result<String, Failure> {
    if argument == "-" {
        let mut text = String::new();
        return match std::io::stdin().read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(source) => {
                Err(Failure::Io { what: format!("cannot read {flag} from standard input"), source })
            }
        };
    }
    match argument.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| Failure::Io { what: format!("cannot read {flag} from {path}"), source }),
        None => Ok(argument.to_owned()),
    }
}
