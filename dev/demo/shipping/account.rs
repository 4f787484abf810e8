//! The account of shipping: what clients were promised, against what the carrier sold by its own ledger, what arrived in the
//! mailbox and at the receiver, and what the tables say.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use serde_json::Value;
use tokio_postgres::{Client, Row};

use super::{
    clients::{Fate, Wanted},
    mailbox::Mail,
    receiver::Call,
    shop::Tally,
};
use crate::servers::{Result, number};

/// What those outside have seen.
pub(crate) struct Evidence {
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) tally: Tally,
    pub(crate) ledger: Value,
    /// Answers that the carrier spoilt.
    pub(crate) spoilt: u64,
    pub(crate) mails: Vec<Mail>,
    pub(crate) calls: Vec<Call>,
}

/// One kind of effect.
#[derive(Debug, Default)]
struct Line {
    name: &'static str,
    count: u64,
    /// How many of them are there beside the one that should be.
    twice: Option<u64>,
    note: String,
}

/// What became of every shipment.
pub(crate) struct Account {
    lines: Vec<Line>,
    /// What should not be; empty if all is well.
    pub(crate) wrong: Vec<String>,
}

/// Effects by what makes them one and the same: how often each is there.
type Effects = BTreeMap<String, u64>;

fn count(effects: impl IntoIterator<Item = String>) -> Effects {
    effects.into_iter().fold(Effects::new(), |mut all, effect| {
        *all.entry(effect).or_default() += 1;
        all
    })
}

impl Account {
    /// Draws it, once no part is at work any more.
    pub(crate) async fn draw(database: &Client, evidence: &Evidence) -> Result<Self> {
        let mut account = Self { lines: Vec::new(), wrong: evidence.tally.contradictions.clone() };
        account.requests(evidence);
        account.shipments(database, evidence).await?;
        let cases = cases(database, evidence).await?;
        account.labels(&cases, evidence)?;
        account.invoices(database, evidence).await?;
        account.mails(database, evidence).await?;
        account.webhooks(evidence);
        account.compensations(database, &cases, evidence).await?;
        account.unresolved(database).await?;
        Ok(account)
    }

    /// Adds a line, and says what is wrong with it: effects that are missing, too many, or nobody's.
    fn compare(&mut self, name: &'static str, due: &BTreeSet<String>, done: &Effects, note: String) {
        let mut twice = 0;
        for effect in due.iter().filter(|effect| !done.contains_key(*effect)) {
            self.wrong.push(format!("{name}: {effect} is missing"));
        }
        for (effect, count) in done {
            let over = count - u64::from(due.contains(effect));
            if over > 0 {
                self.wrong.push(format!("{name}: {effect} is there {over} times too often"));
            }
            twice += over;
        }
        self.lines.push(Line { name, count: done.values().sum(), twice: Some(twice), note });
    }

    /// A check that nothing has tested shows nothing.
    fn needs(&mut self, happened: bool, what: &str) {
        if !happened {
            self.wrong.push(format!("too little has happened to show anything: no {what}"));
        }
    }

    fn requests(&mut self, evidence: &Evidence) {
        let Tally { requests, hung_up, unanswered, replayed, .. } = evidence.tally;
        let keys = evidence.wanted.len();
        let note = format!(
            "{keys} keys; {hung_up} hung up, {unanswered} without an answer, {replayed} answered as before"
        );
        self.lines.push(Line { name: "requests", count: requests, twice: None, note });
        self.needs(hung_up > 0, "client hung up");
        self.needs(unanswered > 0, "request was left without an answer");
        self.needs(replayed > 0, "request was repeated");
    }

    async fn shipments(&mut self, database: &Client, evidence: &Evidence) -> Result<()> {
        let due: BTreeSet<String> = evidence.wanted.iter().map(|wanted| wanted.id.clone()).collect();
        if due.len() < evidence.wanted.len() {
            self.wrong.push("shipments: two keys were answered with one shipment".to_owned());
        }
        let done = count(texts(database, "select shipment_id::text from shipping.shipments").await?);
        self.compare("shipments", &due, &done, "one a key".to_owned());
        for wanted in &evidence.wanted {
            let sql = "select state from shipping.shipments where shipment_id = $1::text::uuid";
            let row = database.query_opt(sql, &[&wanted.id]).await?;
            let state = row.map_or("missing".to_owned(), |row| row.get(0));
            if state != wanted.fate.state() {
                self.wrong.push(format!("shipment {} is {state}, not {}", wanted.id, wanted.fate.state()));
            }
        }
        Ok(())
    }

    fn labels(&mut self, cases: &[Case], evidence: &Evidence) -> Result<()> {
        let due = cases.iter().filter(|case| case.is_bought()).map(|case| case.reference.clone()).collect();
        let sold = evidence.ledger["labels"].as_array().ok_or("the carrier's ledger has no labels")?;
        let of = |label: &Value| label["reference"].as_str().unwrap_or_default().to_owned();
        let note = format!(
            "by the carrier's ledger, one a case; {} of its answers were lost or spoilt",
            evidence.spoilt
        );
        self.needs(evidence.spoilt > 0, "answer of the carrier was lost");
        self.compare("labels sold", &due, &count(sold.iter().map(of)), note);
        for label in sold {
            let Some(case) = cases.iter().find(|case| case.reference == of(label)) else { continue };
            let refunded = case.fate != Some(Fate::Shipped);
            let agreed = label["tracking_code"] == *case.code.as_str()
                && (label["refund"] == "refunded") == refunded
                && (case.refund == "refunded") == refunded;
            if !agreed {
                self.wrong.push(format!("labels: the carrier says {label}, and the tables {case:?}"));
            }
        }
        let voided = cases.iter().filter(|case| case.fate == Some(Fate::Voided) && case.is_bought()).count();
        if voided != 1 {
            self.wrong.push(format!(
                "labels: {voided} were sold, not 1, of the shipment with one that was refused"
            ));
        }
        Ok(())
    }

    async fn invoices(&mut self, database: &Client, evidence: &Evidence) -> Result<()> {
        let done = count(texts(database, "select shipment_id::text from shipping.invoices").await?);
        let due = evidence.that(|fate| matches!(fate, Fate::Shipped | Fate::Cancelled)).collect();
        self.compare("invoices", &due, &done, "one a shipment that was shipped".to_owned());
        // And of what was ordered, just that is shipped.
        let sql = "select order_id || ' ' || reserved || ' ' || shipped from shipping.order_lines";
        let mut quantities: BTreeMap<&str, u64> = BTreeMap::new();
        for wanted in &evidence.wanted {
            let shipped = if wanted.fate == Fate::Shipped { wanted.cases } else { 0 };
            *quantities.entry(&wanted.order).or_default() += shipped;
        }
        let due: BTreeSet<String> =
            quantities.iter().map(|(order, shipped)| format!("{order} 0 {shipped}")).collect();
        let lines: BTreeSet<String> = texts(database, sql).await?.into_iter().collect();
        for line in due.symmetric_difference(&lines) {
            let whose = if due.contains(line) { "should be" } else { "is" };
            self.wrong.push(format!("orders: reserved and shipped {whose} {line}"));
        }
        Ok(())
    }

    async fn mails(&mut self, database: &Client, evidence: &Evidence) -> Result<()> {
        let sql = "select count(*) from shipping.acts where action = 'resolve'";
        let resolved = number(database, sql).await?;
        let mails = evidence.mails.iter().map(|mail| match (mail.shipment(), mail.what()) {
            (Some(shipment), Some(("ada@example.com", kind))) => format!("{shipment} {kind}"),
            _ => format!("{mail:?}"),
        });
        let note = format!("in the mailbox; of {resolved} the answer was lost, and an operator looked");
        self.compare("mails", &evidence.told(), &count(mails), note);
        self.needs(resolved > 0, "mail's answer was lost");
        Ok(())
    }

    /// A webhook may come again: at least once is what is promised. It has its id and its bytes again, so a receiver can
    /// tell; twice is what comes under two ids.
    fn webhooks(&mut self, evidence: &Evidence) {
        let calls: HashMap<&String, &Call> = evidence.calls.iter().map(|call| (&call.id, call)).collect();
        let again = evidence.calls.len() - calls.len();
        let told = calls.values().map(|call| match call.what() {
            Some((shipment, kind)) => format!("{shipment} {kind}"),
            None => format!("{call:?}"),
        });
        let note = format!("by webhook-id; {again} came again under their own, which receivers dedupe");
        self.compare("webhooks", &evidence.told(), &count(told), note);
        for call in &evidence.calls {
            if !call.signed || calls.get(&call.id).is_none_or(|same| same.body != call.body) {
                self.wrong.push(format!("webhooks: {} is not signed, or not the same again", call.id));
            }
        }
        self.needs(again > 0, "webhook had to come again");
    }

    /// Labels that the carrier refunded, bills that were credited, quantities that were given back.
    async fn compensations(&mut self, database: &Client, cases: &[Case], evidence: &Evidence) -> Result<()> {
        let undone = cases.iter().filter(|case| case.is_bought() && case.fate != Some(Fate::Shipped));
        let mut due: BTreeSet<String> = undone.map(|case| format!("refund of {}", case.reference)).collect();
        for id in evidence.that(|fate| fate == Fate::Cancelled) {
            due.extend([format!("credit note of {id}"), format!("reverted fulfilment of {id}")]);
        }
        let refunds = evidence.ledger["refunds"].as_array().ok_or("the carrier's ledger has no refunds")?;
        let refunded = refunds.iter().filter(|refund| refund["status"] == "refunded");
        let mut done = Vec::from_iter(
            refunded.map(|refund| format!("refund of {}", refund["reference"].as_str().unwrap_or_default())),
        );
        let labels = done.len();
        let sql = "select 'credit note of ' || i.shipment_id
                   from shipping.credit_notes n join shipping.invoices i using (invoice_no)
                   union all
                   select 'reverted fulfilment of ' || aggregate_id from relay.outbox
                   where event_type = 'fulfilment_reverted'";
        done.extend(texts(database, sql).await?);
        let note = format!(
            "{labels} labels refunded, by the carrier's ledger; bills credited, quantities given back"
        );
        self.compare("compensations", &due, &count(done), note);
        Ok(())
    }

    /// What neither rests where it should nor moves.
    async fn unresolved(&mut self, database: &Client) -> Result<()> {
        let mut unresolved = 0;
        for (what, sql) in UNRESOLVED {
            for which in texts(database, sql).await? {
                unresolved += 1;
                self.wrong.push(format!("{what}: {which}"));
            }
        }
        let note = "shipments, steps, messages and events that do not rest".to_owned();
        self.lines.push(Line { name: "unresolved", count: unresolved, twice: None, note });
        Ok(())
    }
}

/// Queries that return nothing unless something is left undone.
const UNRESOLVED: &[(&str, &str)] = &[
    (
        "a shipment does not rest",
        "select shipment_id || ' is ' || state from shipping.shipments
         where state not in ('shipped', 'cancelled', 'failed')",
    ),
    (
        "a step is not done",
        "select shipment_id || ' ' || step || ' ' || subject || ' is ' || state from shipping.steps
         join (select shipment_id, state as rests from shipping.shipments) s using (shipment_id)
         where asked or stalled or state in ('pending', 'running', 'unknown', 'compensating')
            or (rests = 'shipped' and state <> 'succeeded')",
    ),
    (
        "a message is unfinished, or dead",
        "select consumer || ' ' || message_id || ' is ' || state from relay.inbox where state <> 'done'",
    ),
    (
        "an event is unpublished, or dead",
        "select event_id::text from relay.outbox where published_at is null and aggregate_id !~ '^[0-9]+$'",
    ),
    (
        "the carrier's news is not applied",
        "select event_id from shipping.carrier_events where applied_at is null",
    ),
];

/// A case as the tables have it, and what is to become of its shipment.
#[derive(Debug)]
struct Case {
    reference: String,
    /// Its label's; empty if it has none.
    code: String,
    refund: String,
    fate: Option<Fate>,
}

impl Case {
    /// Whether a label has to be sold for it. Of a shipment with a label that is refused it can't be said beforehand for
    /// which case.
    fn is_bought(&self) -> bool {
        match self.fate {
            Some(Fate::Shipped | Fate::Cancelled) => true,
            Some(Fate::Voided) => !self.code.is_empty(),
            Some(Fate::Refused) | None => false,
        }
    }
}

async fn cases(database: &Client, evidence: &Evidence) -> Result<Vec<Case>> {
    let fates: HashMap<&str, Fate> =
        evidence.wanted.iter().map(|wanted| (wanted.id.as_str(), wanted.fate)).collect();
    let sql = "select reference::text, coalesce(tracking_code, ''), coalesce(refund, ''), shipment_id::text
               from shipping.cases";
    let rows = database.query(sql, &[]).await?;
    let case = |row: &Row| {
        let fate = fates.get(row.get::<_, &str>(3)).copied();
        Case { reference: row.get(0), code: row.get(1), refund: row.get(2), fate }
    };
    Ok(rows.iter().map(case).collect())
}

async fn texts(database: &Client, sql: &str) -> Result<Vec<String>> {
    Ok(database.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

impl Evidence {
    /// Shipments with such a fate.
    fn that(&self, has: impl Fn(Fate) -> bool) -> impl Iterator<Item = String> {
        self.wanted.iter().filter(move |wanted| has(wanted.fate)).map(|wanted| wanted.id.clone())
    }

    /// What each party is to be told.
    fn told(&self) -> BTreeSet<String> {
        let shipped = self.that(|fate| matches!(fate, Fate::Shipped | Fate::Cancelled));
        let corrected = self.that(|fate| fate == Fate::Cancelled);
        shipped
            .map(|id| format!("{id} shipped"))
            .chain(corrected.map(|id| format!("{id} corrected")))
            .collect()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "shipping                  count    twice")?;
        for Line { name, count, twice, note } in &self.lines {
            let twice = twice.map_or(String::new(), |twice| twice.to_string());
            writeln!(f, "{}", format!("  {name:<20} {count:>8} {twice:>8}   {note}").trim_end())?;
        }
        Ok(())
    }
}
