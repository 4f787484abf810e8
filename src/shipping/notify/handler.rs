//! The worker's handler: one work order, one party, one attempt.

use std::time::{Duration, SystemTime};

use lettre::Address;
use uuid::Uuid;

use super::{
    Notify,
    attempt::{Attempt, Standing, given_up, is_skipped, reported, said},
    gates::Leave,
    message::{self, Kind},
    rows::{self, Endpoint, Notice, Party, Way, Written},
};
use crate::{
    breaker,
    consumer::{BoxError, Delivery, External, Failure},
    http::gate::Pass,
    postgres::transaction::Tx,
    shipping::{
        event::WorkOrder,
        failpoint,
        saga::{Act, Input, Outcome, Plan},
        step::{Key, Step, Subject},
        store::StoreError,
    },
};

/// What [`Notify`] does outside of the database.
#[derive(Debug)]
pub struct Work {
    subject: Subject,
    /// Which attempt it is, from 1, as the ledger counts.
    number: i32,
    written: Written,
    way: Leaving,
}

#[derive(Debug)]
enum Leaving {
    Mail { pass: Pass, to: Address },
    Webhook { leave: Leave, endpoint: Endpoint },
}

/// Leave of the destination's breaker, taken before anything is written down: an open one holds the work order, and no
/// ledger is touched over and over meanwhile.
enum Admitted {
    Mail(Pass, String),
    Webhook(Leave, Endpoint),
    /// There is nobody to tell. What is wrong, for people, and the endpoint if it is one.
    Nobody(String, Option<Uuid>),
}

impl External for Notify {
    type Work = Work;
    type Outcome = Attempt;

    async fn prepare(&self, delivery: &Delivery, tx: &Tx<'_>) -> Result<Option<Work>, Failure> {
        let (order, key, number) = work_order(delivery)?;
        let party = rows::party(tx, order.shipment_id, number).await?;
        let (order_id, admitted) = self.admit(key.subject, party)?;
        let begin = Input::Begin(key, order.task);
        let plan = self.take(tx, delivery, &order, &begin, None).await?;
        let Some(act) = plan.act else {
            give_up(tx, &plan, order.shipment_id, key).await?;
            return Ok(None);
        };
        let kind = match act {
            Act::Compensate => Kind::Corrected,
            Act::Do | Act::LookUp => Kind::Shipped,
        };
        let notice = Notice { shipment_id: order.shipment_id, party: number, kind };
        let ready = match act {
            Act::Do | Act::Compensate => self.ready(tx, notice, &order_id, admitted).await?,
            // The saga looks up nothing that can only be repeated, or asked a person.
            Act::LookUp => Err("nobody can be asked whether it was told".to_owned()),
        };
        let entry = plan.shipment.entry(key);
        let number = entry.map_or(1, |entry| if act == Act::Do { entry.attempts } else { entry.checks });
        match ready {
            Ok((written, way)) => {
                failpoint::pass(format_args!("notify.{}.prepared", key.subject));
                Ok(Some(Work { subject: key.subject, number, written, way }))
            }
            Err(problem) => {
                let attempt = Attempt::failed(Outcome::Refused, problem);
                self.conclude(tx, delivery, &order, key, &attempt).await?;
                Ok(None)
            }
        }
    }

    async fn perform(&self, _: &Delivery, work: Work) -> Result<Attempt, Failure> {
        let Work { subject, number, written, way } = work;
        failpoint::pass(format_args!("notify.{subject}.before"));
        let (attempt, is_mail) = match way {
            Leaving::Mail { pass, to } => {
                let (attempt, health) = self.send(&to, &written.body).await;
                pass.report(health);
                (attempt, true)
            }
            Leaving::Webhook { leave, endpoint } => {
                let call = self.caller.call(&endpoint, written.id, &written.body, SystemTime::now());
                let (attempt, health) = call.await;
                leave.report(health);
                (attempt, false)
            }
        };
        failpoint::pass(format_args!("notify.{subject}.after"));
        let settled = match attempt.outcome {
            Outcome::Done | Outcome::Refused => true,
            // That is for a person to say.
            Outcome::Lost => is_mail,
            _ => false,
        };
        // After the last attempt the saga expects no other.
        match self.schedule.wait(number, attempt.after, rand::random()).filter(|_| !settled) {
            Some(wait) => Err(Failure::retry(Attempt { after: Some(wait), ..attempt }, Some(wait))),
            None => Ok(Attempt { after: None, ..attempt }),
        }
    }

    async fn finish(
        &self,
        delivery: &Delivery,
        result: Result<&Attempt, &Failure>,
        tx: &Tx<'_>,
    ) -> Result<(), Failure> {
        let (order, key, _) = work_order(delivery)?;
        let attempt = match result {
            Ok(attempt) => attempt.clone(),
            Err(failure) => failed(failure),
        };
        let again = self.conclude(tx, delivery, &order, key, &attempt).await?;
        failpoint::pass(format_args!("notify.{}.finish", key.subject));
        match (again, result) {
            // The ledger waits for an attempt that nobody would make: a defect, whose writes are rolled back.
            (true, Ok(_)) => Err(Failure::retry("the ledger expects another attempt", None)),
            _ => Ok(()),
        }
    }

    async fn buried(&self, delivery: &Delivery, reason: &str, tx: &Tx<'_>) -> Result<(), BoxError> {
        // What is no work order, or of no shipment, has no entry that could be told.
        let Ok((order, key, _)) = work_order(delivery) else { return Ok(()) };
        let begin = Input::Begin(key, order.task);
        let taken = match self.store.take(tx, order.shipment_id, &begin, None, "{}").await {
            Err(StoreError::NoShipment(_)) => return Ok(()),
            taken => taken?,
        };
        let problem = format!("the work order died ({reason}); relay's dead letters have it");
        let attempt = Attempt::failed(Outcome::Refused, problem);
        let told = match taken.plan.act {
            Some(_) => self.conclude(tx, delivery, &order, key, &attempt).await.map(drop),
            None => give_up(tx, &taken.plan, order.shipment_id, key).await,
        };
        Ok(told.map_err(|failure| failure.text())?)
    }
}

impl Notify {
    /// Who is told, and leave to tell them now.
    fn admit(&self, subject: Subject, party: Option<Party>) -> Result<(String, Admitted), Failure> {
        let nobody = |problem: String, endpoint| Admitted::Nobody(problem, endpoint);
        let Some(Party { order_id, way }) = party else {
            return Ok((String::new(), nobody("the order has no such party any more".to_owned(), None)));
        };
        let admitted = match (subject, way) {
            (Subject::Mail(_), Way::Mail(to)) => {
                let pass = self.mail_gate.admit().map_err(|wait| held("the mail server", wait))?;
                Admitted::Mail(pass, to)
            }
            (Subject::Webhook(_), Way::Webhook(endpoint)) => {
                let leave = self.gates.admit(endpoint.id).map_err(|wait| held("the endpoint", wait))?;
                Admitted::Webhook(leave, endpoint)
            }
            (Subject::Webhook(_), Way::Disabled(endpoint, reason)) => {
                nobody(format!("the endpoint is disabled: {reason}"), Some(endpoint))
            }
            _ => nobody("the party is told in another way by now".to_owned(), None),
        };
        Ok((order_id, admitted))
    }

    /// The notification as it is to be sent: as it was written before, or written now. What is wrong, if it can't be.
    async fn ready(
        &self,
        tx: &Tx<'_>,
        notice: Notice,
        order_id: &str,
        admitted: Admitted,
    ) -> Result<Result<(Written, Leaving), String>, Failure> {
        let mail = match &admitted {
            Admitted::Mail(_, to) => match &self.mailer {
                Some(mailer) => Some((mailer.from(), to.as_str())),
                None => return Ok(Err("no mail server is configured".to_owned())),
            },
            Admitted::Webhook(..) | Admitted::Nobody(_, Some(_)) => None,
            Admitted::Nobody(problem, None) => return Ok(Err(problem.clone())),
        };
        let written = match rows::find(tx, notice).await? {
            Some(written) => {
                rows::settle(tx, notice, Standing::Pending, None).await?;
                written
            }
            None => match rows::write(tx, notice, order_id, mail).await? {
                Ok(written) => written,
                Err(error) => return Ok(Err(crate::cause::chain(&error))),
            },
        };
        Ok(match admitted {
            Admitted::Mail(pass, to) => match message::address(&to) {
                Ok(to) => Ok((written, Leaving::Mail { pass, to })),
                Err(error) => Err(crate::cause::chain(&error)),
            },
            Admitted::Webhook(leave, endpoint) => {
                rows::begin_delivery(tx, written.id, endpoint.id).await?;
                Ok((written, Leaving::Webhook { leave, endpoint }))
            }
            Admitted::Nobody(problem, _) => Err(problem),
        })
    }

    async fn send(&self, to: &Address, mail: &[u8]) -> (Attempt, breaker::Outcome) {
        match &self.mailer {
            Some(mailer) => mailer.send(to, mail).await,
            None => {
                let problem = "no mail server is configured";
                (Attempt::failed(Outcome::Later, problem), breaker::Outcome::Neutral)
            }
        }
    }

    /// Reports to the saga and writes down what follows. Returns whether it expects another attempt of this order.
    async fn conclude(
        &self,
        tx: &Tx<'_>,
        delivery: &Delivery,
        order: &WorkOrder,
        key: Key,
        attempt: &Attempt,
    ) -> Result<bool, Failure> {
        let problem = Some(attempt.problem.as_str()).filter(|problem| !problem.is_empty());
        let report = Input::Report(key, order.task, attempt.outcome);
        let plan = self.take(tx, delivery, order, &report, problem).await?;
        if let (Some((kind, standing)), Some(party)) = (reported(&plan, key, attempt.outcome), party_of(key))
        {
            let notice = Notice { shipment_id: order.shipment_id, party, kind };
            write_down(tx, key, notice, standing, attempt).await?;
            if standing == Standing::Failed && matches!(key.subject, Subject::Webhook(_)) {
                self.close(tx, notice, attempt).await?;
            }
        }
        Ok(plan.again.is_some())
    }

    /// Disables the endpoint, if the webhook that has ended is a reason to.
    async fn close(&self, tx: &Tx<'_>, notice: Notice, attempt: &Attempt) -> Result<(), Failure> {
        let disabled = match attempt.gone {
            Some((endpoint, version)) => rows::disable(tx, endpoint, version, "it answered 410").await?,
            // It had all its attempts.
            None if matches!(attempt.outcome, Outcome::Later | Outcome::Lost) => {
                let days = humantime::format_duration(self.give_up_after).to_string();
                let why = format!("nothing has reached it for {days}; the last: {}", attempt.problem);
                let why: String = why.chars().take(1000).collect();
                rows::disable_failing(tx, notice, self.give_up_after, &why).await?
            }
            None => false,
        };
        if disabled {
            tracing::warn!(shipment = %notice.shipment_id, party = notice.party, "a webhook endpoint is disabled");
        }
        Ok(())
    }

    async fn take(
        &self,
        tx: &Tx<'_>,
        delivery: &Delivery,
        order: &WorkOrder,
        input: &Input,
        reason: Option<&str>,
    ) -> Result<Plan, Failure> {
        match self.store.take(tx, order.shipment_id, input, reason, &delivery.trail().to_string()).await {
            Ok(taken) => Ok(taken.plan),
            Err(error @ StoreError::NoShipment(_)) => Err(Failure::finally("unknown_shipment", error)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes down what a notification has come to, and a webhook's way to it.
async fn write_down(
    tx: &Tx<'_>,
    key: Key,
    notice: Notice,
    standing: Standing,
    attempt: &Attempt,
) -> Result<(), Failure> {
    let problem = column(&attempt.problem);
    rows::settle(tx, notice, standing, problem.as_deref()).await?;
    if matches!(key.subject, Subject::Webhook(_)) {
        rows::settle_delivery(tx, notice, standing, attempt, problem.as_deref()).await?;
    }
    Ok(())
}

/// Writes down what an operator's word makes of a notification, in the transaction in which the saga answered it with this
/// plan. Nothing, if it was about something else.
///
/// # Errors
/// When a statement fails.
pub async fn by_hand(tx: &Tx<'_>, shipment_id: Uuid, input: &Input, plan: &Plan) -> Result<(), Failure> {
    let (Input::Retry(key) | Input::Resolve(key, _)) = *input else { return Ok(()) };
    let (Some((kind, standing)), Some(party)) = (said(plan, key, input), party_of(key)) else {
        return Ok(());
    };
    // What went wrong before stays to be read; the record of acts has the operator's reason.
    let attempt = Attempt::failed(Outcome::NotDone, String::new());
    write_down(tx, key, Notice { shipment_id, party, kind }, standing, &attempt).await
}

/// After a beginning that came to nothing: an earlier worker died over it, or the shipment was undone meanwhile.
async fn give_up(tx: &Tx<'_>, plan: &Plan, shipment_id: Uuid, key: Key) -> Result<(), Failure> {
    let (Some((kind, standing)), Some(party)) = (given_up(plan, key), party_of(key)) else { return Ok(()) };
    let problem = match is_skipped(plan, key) {
        true => "the shipment was undone before it was told",
        false => "the worker that told it died, and nobody knows how far it came",
    };
    let attempt = Attempt::failed(Outcome::Lost, problem);
    write_down(tx, key, Notice { shipment_id, party, kind }, standing, &attempt).await
}

/// The work order, which entry it is about, and which party that is.
fn work_order(delivery: &Delivery) -> Result<(WorkOrder, Key, i16), Failure> {
    let order: WorkOrder = delivery.json().map_err(|error| Failure::finally("invalid_work_order", error))?;
    let key = Key { step: order.step, subject: order.subject };
    match party_of(key) {
        Some(party) => Ok((order, key, party)),
        None => Err(Failure::finally("invalid_work_order", format!("{key} is not for this worker"))),
    }
}

fn party_of(key: Key) -> Option<i16> {
    match (key.step, key.subject) {
        (Step::Notify, Subject::Mail(party) | Subject::Webhook(party)) => Some(party),
        _ => None,
    }
}

/// An attempt that ended in a failure: one of ours, or one that did not come back, which may have done its work.
fn failed(failure: &Failure) -> Attempt {
    let (Failure::Retry { error, .. } | Failure::Held { error, .. } | Failure::Final { error, .. }) = failure;
    match error.downcast_ref::<Attempt>() {
        Some(attempt) => attempt.clone(),
        None => Attempt::failed(Outcome::Lost, failure.text()),
    }
}

fn held(what: &str, wait: Duration) -> Failure {
    Failure::held(format!("{what} is left alone for now"), wait)
}

/// As a column takes it: no NUL, no more than it holds.
fn column(text: &str) -> Option<String> {
    let mut text = text.replace('\0', "\u{fffd}");
    crate::envelope::cut(&mut text, 4096);
    Some(text).filter(|text| !text.is_empty())
}
