//! `relay replay-dlq`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::{
    Exit, Failure, Sources,
    config_command::Output,
    connection::open,
    dead::Request,
    exit::{print, runtime, say},
    render,
    selection::Selection,
    terminal::{Consent, Progress, stop},
};
use crate::{
    amqp::Session,
    app,
    config::{Config, Needs},
    operator::{
        act::Action,
        letters::{Foreign, ForeignReport, audit_begin, audit_finish, send_back},
    },
};

/// Publish dead rows again, under the same message id.
///
/// Rows are replayed in the database, in seq order, and go out by `relay run` under the usual order and limits.
/// Afterwards their letters are removed from the dead-letter queue, if the broker can be reached.
///
/// With --foreign, letters that others dead-lettered into the queue go back to the queues they came from instead; and so
/// do those that a consumer dead-lettered because they are no message: no inbox has them, so --consumer replays none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  relay replay-dlq --reason unroutable --since 2h --dry-run\n  \
                        relay replay-dlq --all --rate 50/s --yes\n  \
                        relay replay-dlq --foreign --allow-queue shipping.labels --yes")]
pub(super) struct Replay {
    #[command(flatten)]
    selection: Selection,
    /// Every dead row.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    consent: Consent,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT", conflicts_with = "foreign")]
    note: Option<String>,
    /// Leave the letters of replayed rows in the dead-letter queue.
    #[arg(long)]
    no_dlq_cleanup: bool,
    /// Send others' letters back to where they came from, rather than replay rows.
    #[arg(long, requires = "allow_queue", conflicts_with = "all")]
    foreign: bool,
    /// A queue that others' letters may go back to; may be repeated.
    #[arg(long, value_name = "QUEUE", requires = "foreign")]
    allow_queue: Vec<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Replay {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        if self.foreign {
            return self.send_back(sources);
        }
        let request = Request {
            action: Action::Replay,
            selection: &self.selection,
            all: self.all,
            consent: &self.consent,
            note: self.note.clone(),
            dlq_cleanup: !self.no_dlq_cleanup,
            output: self.output,
        };
        request.run(sources)
    }

    fn send_back(&self, sources: &Sources) -> Result<Exit, Failure> {
        if !self.selection.is_empty() {
            return Err(Failure::Usage(
                "others' letters are selected by --allow-queue alone: the other filters are about rows"
                    .to_owned(),
            ));
        }
        self.consent.check("to send letters back")?;
        let loaded = sources.load(Needs { database: true, amqp: true })?;
        let config = &loaded.config;
        let queue = &config.dead_letter.queue;
        let question = format!("send letters of others in {queue} back to {}?", self.allow_queue.join(", "));
        if !self.consent.dry_run && !self.consent.ask(&question)? {
            say("nothing was done");
            return Ok(Exit::Ok);
        }
        runtime()?.block_on(self.send_letters_back(config, queue))
    }

    async fn send_letters_back(&self, config: &Config, queue: &str) -> Result<Exit, Failure> {
        let connection = open(config).await?;
        let (client, schema) = (&connection.client, &config.database.schema);
        let url = config.amqp_url().map_err(|error| Failure::Failed(error.to_string()))?;
        let session = Session::connect(&app::amqp(config, url)?, "relay operator").await?;
        let foreign = Foreign {
            allowed: self.allow_queue.iter().cloned().collect(),
            limit: self.consent.limit,
            rate: self.consent.rate,
            dry_run: self.consent.dry_run,
        };
        let total = session.read_queue(queue).await?.left();
        let mut stop = stop()?;
        let entry = match foreign.dry_run {
            true => None,
            false => Some(audit_begin(client, schema, &self.consent.actor(), &foreign).await?),
        };
        let mut report = ForeignReport::default();
        let mut progress = Progress::new("sent back", self.consent.limit.unwrap_or(u64::from(total)));
        let ended =
            send_back(&session, queue, &foreign, &mut stop, &mut report, |sent| progress.done(sent)).await;
        progress.finish();
        session.close(std::time::Duration::from_secs(1)).await;
        self.tell(&report);
        if let Some(entry) = entry {
            let failure = ended.as_ref().err().map(|error| crate::cause::chain(error));
            audit_finish(client, schema, entry, &report, failure).await?;
        }
        let sent = report.sent_total();
        match ended {
            Ok(()) if report.interrupted || !report.refused.is_empty() => Ok(Exit::Partly),
            Ok(()) => Ok(Exit::Ok),
            Err(error) if sent > 0 => {
                say(&format!("error: {} (after sending {sent} letters back)", crate::cause::chain(&error)));
                Ok(Exit::Partly)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn tell(&self, report: &ForeignReport) {
        if report.beyond > 0 {
            say(&format!("{} letters were not looked at: too many before them stay", report.beyond));
        }
        if self.output == Output::Json {
            let summary = json!({
                "dry_run": self.consent.dry_run,
                "sent": report.sent,
                "not_allowed": report.not_allowed,
                "refused": report.refused,
                "relays_own": report.notices,
                "complete": !report.interrupted,
            });
            return print(&format!("{summary:#}"));
        }
        let sent = if self.consent.dry_run { "would be sent back" } else { "sent back" };
        let rows = |what: &str, counts: &BTreeMap<String, u64>| -> Vec<[String; 3]> {
            let named = |name: &String| if name.is_empty() { "(unknown)".to_owned() } else { name.clone() };
            counts.iter().map(|(name, count)| [what.to_owned(), named(name), count.to_string()]).collect()
        };
        let mut lines = rows(sent, &report.sent);
        lines.extend(rows("refused, stays", &report.refused));
        lines.extend(rows("not allowed, stays", &report.not_allowed));
        if report.notices > 0 {
            lines.push(["relay's own, stays".to_owned(), String::new(), report.notices.to_string()]);
        }
        if lines.is_empty() {
            say("there are no letters");
        } else {
            print(&render::table(["what", "queue", "letters"], lines));
        }
    }
}
