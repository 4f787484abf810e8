//! `relay trace`.

use clap::Args;
use serde_json::Value;

use super::{
    Exit, Failure, Sources,
    config_command::Output,
    connection::open,
    exit::{print, runtime},
    render,
};
use crate::{
    config::Needs,
    envelope::timestamp,
    operator::{
        dead::Which,
        trace::{Step, trace},
    },
};

/// What happened to one event, and what is to: inserted, published, received and done, by whom and when.
#[derive(Debug, Args)]
#[command(
    after_help = "Times are the database's, `after` counts from the start of the producer's transaction. \
                        Consumers appear if they keep relay's inbox in the same database."
)]
pub(super) struct Trace {
    /// The event: its event id, which is the message's id, or its seq.
    #[arg(value_name = "EVENT_ID|SEQ")]
    which: String,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Trace {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let which: Which = self.which.parse().map_err(Failure::Usage)?;
        let loaded = sources.load(Needs { database: true, amqp: false })?;
        let config = &loaded.config;
        let steps = runtime()?.block_on(async {
            let connection = open(config).await?;
            Ok::<_, Failure>(trace(&connection.client, &config.database.schema, which).await?)
        })?;
        if steps.is_empty() {
            let hint = "a row may have been removed, and no inbox here has the message";
            return Err(Failure::Failed(format!("nothing is known of {}: {hint}", self.which)));
        }
        match self.output {
            Output::Table => print(&table(&steps)),
            Output::Json => {
                print(&format!("{:#}", steps.iter().map(Step::to_json).collect::<Value>()));
            }
        }
        Ok(Exit::Ok)
    }
}

fn table(steps: &[Step]) -> String {
    let start = steps.iter().find_map(|step| step.at_us);
    let rows = steps.iter().map(|step| {
        let after = step.at_us.zip(start).map(|(at, start)| at.saturating_sub(start));
        [
            step.at_us.map(timestamp).unwrap_or_default(),
            after.map(after_start).unwrap_or_default(),
            step.who.clone(),
            step.what.clone(),
            render::short(step.detail.as_deref().unwrap_or_default(), 120),
        ]
    });
    render::table(["at", "after", "who", "what", "detail"], rows)
}

/// Microseconds, to the millisecond.
fn after_start(micros: i64) -> String {
    let millis = u64::try_from(micros / 1000).unwrap_or(0);
    humantime::format_duration(std::time::Duration::from_millis(millis)).to_string()
}
