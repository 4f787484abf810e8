//! Flags that select dead rows, shared by all commands that deal with them.

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use uuid::Uuid;

use crate::{
    operator::{dead::Filter, when::When},
    reason::DeadReason,
};

const SELECT: &str = "Selection (all given must hold)";

/// Which dead rows.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// This event; may be repeated.
    #[arg(help_heading = SELECT, long = "event-id", value_name = "ID")]
    event_ids: Vec<Uuid>,
    /// Events of this type.
    #[arg(help_heading = SELECT, long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Rows of this aggregate type.
    #[arg(help_heading = SELECT, long, value_name = "TYPE")]
    aggregate_type: Option<String>,
    /// Rows of this aggregate.
    #[arg(help_heading = SELECT, long, value_name = "ID")]
    aggregate_id: Option<String>,
    /// Rows dead for this reason.
    #[arg(help_heading = SELECT, long, value_parser = reasons())]
    reason: Option<DeadReason>,
    /// Not rows, but messages that this consumer gave up; with --consumer-reason rather than --reason.
    #[arg(help_heading = SELECT, long, value_name = "NAME", conflicts_with = "reason")]
    consumer: Option<String>,
    /// The consumer's messages dead for this reason: `exhausted`, or one of its handler's own.
    #[arg(help_heading = SELECT, long, value_name = "REASON", requires = "consumer")]
    consumer_reason: Option<String>,
    /// Rows that died at this time or later: 2h (ago), or 2026-01-31T08:00:00Z.
    #[arg(help_heading = SELECT, long, value_name = "TIME", value_parser = When::parse)]
    since: Option<When>,
    /// Rows that died before this time.
    #[arg(help_heading = SELECT, long, value_name = "TIME", value_parser = When::parse)]
    until: Option<When>,
}

fn reasons() -> impl TypedValueParser<Value = DeadReason> {
    PossibleValuesParser::new(DeadReason::ALL.iter().map(|reason| reason.as_str()))
        .try_map(|text| text.parse::<DeadReason>())
}

impl Selection {
    /// Whether nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        self.filter(0) == Filter::default()
    }

    /// The consumer whose messages are meant, if it is not rows.
    pub(super) fn consumer(&self) -> Option<&str> {
        self.consumer.as_deref()
    }

    /// How many events were named.
    pub(super) fn events_named(&self) -> u64 {
        let mut ids = self.event_ids.clone();
        ids.sort_unstable();
        ids.dedup();
        ids.len() as u64
    }

    /// The filter, its times by a clock that shows `now_us`.
    pub(super) fn filter(&self, now_us: i64) -> Filter {
        Filter {
            event_ids: (!self.event_ids.is_empty()).then(|| self.event_ids.clone()),
            event_type: self.event_type.clone(),
            aggregate_type: self.aggregate_type.clone(),
            aggregate_id: self.aggregate_id.clone(),
            // Only one of them can have been given.
            reason: self.reason.map(|reason| reason.to_string()).or_else(|| self.consumer_reason.clone()),
            since_us: self.since.map(|when| when.micros(now_us)),
            until_us: self.until.map(|when| when.micros(now_us)),
        }
    }
}
