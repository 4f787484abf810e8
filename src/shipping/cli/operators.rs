//! What operators see and do: `shipments list`, `show`, `retry`, `resolve`, `cancel`.

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::servers::Database;
use crate::{
    cli::{Exit, Failure, Output, ask, is_interactive, print, render, runtime, say, whoever},
    postgres::connect::{Connection, connect},
    shipping::{
        notify,
        saga::{Decision, Input, Limits, Plan, Resolution},
        shipment::Standing,
        step::{Key, Step, Subject},
        store::{Action, Deed, Listed, Store, StoreError},
    },
};

/// List shipments, the longest unchanged first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  shipments list --state needs_attention")]
pub(super) struct List {
    /// Only in this state: accepted, shipping, shipped, cancelling, cancelled, failing, failed, needs_attention
    #[arg(long)]
    state: Option<Standing>,
    /// Only of this order
    #[arg(long, value_name = "ID")]
    order: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    database: Database,
}

/// Show everything about a shipment: its state, ledger, cases, bills, and what operators did.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Which
    shipment: Uuid,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    database: Database,
}

/// Have a step tried again that failed or waits for an operator.
#[derive(Debug, Args)]
pub(super) struct Retry {
    /// Of which shipment
    shipment: Uuid,
    /// Which step, such as buy_label
    step: Step,
    /// About what: shipment, case/1, mail/2, webhook/3
    subject: Subject,
    #[command(flatten)]
    consent: Consent,
}

/// Say what became of a step that waits for an operator.
#[derive(Debug, Args)]
pub(super) struct Resolve {
    /// Of which shipment
    shipment: Uuid,
    /// Which step, such as buy_label
    step: Step,
    /// About what: shipment, case/1, mail/2, webhook/3
    subject: Subject,
    /// done: it is done (or undone, where that was the question); `not_done`: it is not, and is to be tried again; never:
    /// it is not, and never will be
    resolution: Resolution,
    #[command(flatten)]
    consent: Consent,
}

/// Cancel a shipment: labels are voided, bills credited, quantities given back.
#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// Which
    shipment: Uuid,
    #[command(flatten)]
    consent: Consent,
}

/// Flags of everything that is done by hand.
#[derive(Debug, Args)]
struct Consent {
    /// Why: it is recorded
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// Change nothing; say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Who does it, for the record; else $USER@host
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    #[command(flatten)]
    database: Database,
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why".to_owned()),
        text if text.len() > 4096 || text.contains('\0') => Err("at most 4,096 bytes, and no NUL".to_owned()),
        text => Ok(text.to_owned()),
    }
}

fn failed(error: StoreError) -> Failure {
    match error {
        StoreError::Statement(error) => Failure::Database(error.into()),
        error => Failure::Failed(error.to_string()),
    }
}

async fn open(database: &Database) -> Result<(Connection, Store), Failure> {
    let settings = database.settings()?;
    let store = Store::new(&settings.schema, Limits::default());
    Ok((connect(&settings, "shipments operator").await?, store))
}

impl List {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let listed = runtime()?.block_on(async {
            let (connection, store) = open(&self.database).await?;
            let state = self.state.map(Standing::as_str);
            // One more than asked for, to know whether there are more.
            let limit = i64::from(self.limit) + 1;
            store.list(&connection.client, state, self.order.as_deref(), limit).await.map_err(failed)
        })?;
        let shown = &listed[..listed.len().min(self.limit as usize)];
        match self.output {
            Output::Json => {
                print(&format!("{:#}", shown.iter().map(Listed::to_json).collect::<Value>()));
            }
            Output::Table if shown.is_empty() => say("no shipment matches"),
            Output::Table => print(&render::table(
                ["shipment", "order", "state", "unchanged", "waits for", "reason"],
                shown.iter().map(|one| {
                    [
                        one.shipment_id.to_string(),
                        render::short(&one.order_id, 40),
                        one.state.clone(),
                        render::seconds(one.unchanged),
                        render::short(&one.waiting, 60),
                        render::short(&one.reason, 60),
                    ]
                }),
            )),
        }
        if listed.len() > shown.len() {
            say(&format!("there are more than {}: --limit shows more of them", self.limit));
        }
        Ok(Exit::Ok)
    }
}

impl Show {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let text = runtime()?.block_on(async {
            let (connection, store) = open(&self.database).await?;
            store.sheet(&connection.client, self.shipment).await.map_err(failed)
        })?;
        let shipment: Value =
            serde_json::from_str(&text).map_err(|error| Failure::Failed(error.to_string()))?;
        match self.output {
            Output::Json => print(&format!("{shipment:#}")),
            Output::Table => print(&sheet(&shipment)),
        }
        Ok(Exit::Ok)
    }
}

/// A shipment for people.
fn sheet(shipment: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let rows = |list: &str| shipment[list].as_array().cloned().unwrap_or_default();
    let own = ["shipment_id", "order_id", "caller", "state", "undo", "quantities", "version", "reason"];
    let more = ["tracking_code", "created_at", "updated_at"];
    let pairs = own.iter().chain(&more).map(|name| ((*name).to_owned(), text(&shipment[*name])));
    let steps = rows("steps").into_iter().map(|step| {
        let stalled = if step["stalled"] == true { "waits for an operator" } else { "" };
        let names = ["step", "subject", "state", "attempts", "checks", "last_error"];
        let [step, subject, state, attempts, checks, error] = names.map(|name| text(&step[name]));
        [step, subject, state, stalled.to_owned(), attempts, checks, render::short(&error, 80)]
    });
    let cases = rows("cases").into_iter().map(|case| {
        let names =
            ["case_no", "reference", "carrier_shipment_id", "tracking_code", "tracking_status", "refund"];
        names.map(|name| text(&case[name]))
    });
    let mut parts = vec![
        render::pairs(pairs),
        render::table(["step", "subject", "state", "", "attempts", "checks", "last error"], steps),
        render::table(["case", "reference", "carrier's id", "tracking code", "status", "refund"], cases),
    ];
    let invoices: Vec<_> = rows("invoices")
        .into_iter()
        .map(|bill| ["invoice_no", "total_minor", "currency", "credit_note_no"].map(|name| text(&bill[name])))
        .collect();
    if !invoices.is_empty() {
        parts.push(render::table(["invoice", "total, minor units", "currency", "credit note"], invoices));
    }
    let acts: Vec<_> = rows("acts")
        .into_iter()
        .map(|act| ["at", "actor", "action", "step", "subject", "reason"].map(|name| text(&act[name])))
        .collect();
    if !acts.is_empty() {
        parts.push(render::table(["at", "who", "did", "step", "subject", "why"], acts));
    }
    parts.join("\n\n")
}

impl Retry {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let key = Key { step: self.step, subject: self.subject };
        let question = format!("have {key} of shipment {} tried again?", self.shipment);
        self.consent.act(self.shipment, Action::Retry, Some(key), &Input::Retry(key), &question)
    }
}

impl Resolve {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let (key, resolution) = (Key { step: self.step, subject: self.subject }, self.resolution);
        let question = format!("resolve {key} of shipment {} as {resolution}?", self.shipment);
        let input = Input::Resolve(key, resolution);
        self.consent.act(self.shipment, Action::Resolve, Some(key), &input, &question)
    }
}

impl Cancel {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let question = format!("cancel shipment {}?", self.shipment);
        self.consent.act(self.shipment, Action::Cancel, None, &Input::Cancel, &question)
    }
}

impl Consent {
    /// Does it and records it in one transaction; or, when it is only tried, does neither.
    fn act(
        &self,
        id: Uuid,
        action: Action,
        key: Option<Key>,
        input: &Input,
        question: &str,
    ) -> Result<Exit, Failure> {
        if !self.dry_run && !self.yes {
            if !is_interactive() {
                return Err(Failure::Usage(format!(
                    "to {action} needs --yes where there is no terminal to ask on; --dry-run shows what it would do"
                )));
            }
            if !ask(question)? {
                say("nothing was done");
                return Ok(Exit::Ok);
            }
        }
        let actor = self.actor.clone().unwrap_or_else(whoever);
        let detail = match input {
            Input::Resolve(_, resolution) => json!({"resolution": resolution.as_str()}),
            _ => json!({}),
        }
        .to_string();
        runtime()?.block_on(async {
            let (mut connection, store) = open(&self.database).await?;
            let statement = |error: tokio_postgres::Error| Failure::Database(error.into());
            let tx = connection.begin().await.map_err(statement)?;
            let taken = store.take(&tx, id, input, Some(&self.reason), "{}").await.map_err(failed)?;
            notify::by_hand(&tx, id, input, &taken.plan)
                .await
                .map_err(|failure| Failure::Failed(failure.text()))?;
            let (actor, reason, detail) = (actor.as_str(), self.reason.as_str(), detail.as_str());
            let deed = Deed { actor, action, shipment_id: id, key, reason, detail };
            store.record(&tx, &deed).await.map_err(failed)?;
            if self.dry_run {
                tx.rollback().await.map_err(statement)?;
                say("nothing was done; this would be:");
            } else {
                tx.commit().await.map_err(statement)?;
            }
            print(&told(&taken.plan));
            Ok(Exit::Ok)
        })
    }
}

/// What a plan changes.
fn told(plan: &Plan) -> String {
    let moves = plan.decisions.iter().filter_map(|decision| match decision {
        Decision::Move { from, to } if from.state != to.state => {
            Some(format!("{} was {} and is {}", to.key, from.state, to.state))
        }
        Decision::Order(key, _) => Some(format!("{key} is asked for")),
        _ => None,
    });
    let mut lines: Vec<String> = moves.collect();
    lines.push(format!("the shipment is {}", plan.shipment.standing));
    lines.join("\n")
}
