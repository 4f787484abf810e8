//! The step that buys a label, looks up whether one was bought, and voids it.
//!
//! The order that makes buying safe: our reference was stored with the case; a shipment is created there under it, which
//! costs nothing; its id is stored, and the first id that was stored holds, whoever comes later; only by that id is the
//! label bought, and there a shipment is sold once. So two workers that both believe to be the one buy the same label.

use std::time::{Duration, SystemTime};

use super::{
    attempt::Attempt,
    calling::Calls,
    order::failed,
    postal::{parcel, read},
    side::Side,
};
use crate::{
    consumer::Failure,
    postgres::transaction::Tx,
    shipping::{
        carrier::{
            client::Carrier,
            lookup::{Creation, Purchase, creation, purchase},
            shipment::{CarrierShipment, Label, NewShipment, Postage, RefundStatus},
        },
        event::WorkOrder,
        failpoint,
        money::{Currency, Money},
        saga::{Act, Outcome},
        step::{Step, Subject},
        store::{Case, Label as KeptLabel, Store},
    },
};

/// Clocks of ours and the carrier's differ by less than this.
const CLOCKS: Duration = Duration::from_secs(60 * 60);
/// Reason of the dead letter of a work order whose case has another label already.
const ANOTHER_LABEL: &str = "another_label";

/// Buys labels.
pub(super) struct Labels {
    pub(super) carrier: Carrier,
    pub(super) store: Store,
    pub(super) side: Side,
    pub(super) rates: Rates,
    /// How long the carrier may be at work on a call whose answer was lost.
    pub(super) settling: Duration,
    /// Between two looks at a refund.
    pub(super) refund_poll: Duration,
}

/// Which rates are bought: the cheapest in this currency, of one service if one is named.
#[derive(Debug, Clone)]
pub struct Rates {
    /// Three letters.
    pub currency: Currency,
    /// The carrier's name for it, such as `Priority`.
    pub service: Option<String>,
}

impl Rates {
    fn choose(&self, shipment: &CarrierShipment) -> Option<String> {
        let rate = shipment.cheapest(&self.currency.to_string(), self.service.as_deref());
        rate.map(|rate| rate.id.clone())
    }
}

/// What an attempt needs to know.
pub(super) struct Brief {
    number: i16,
    case: Case,
    /// For how long nobody has known whether it was bought.
    lost: Duration,
}

/// What it brings.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Gain {
    Label(Box<Label>),
    /// The carrier's word on a refund, as the column has it.
    Refund(&'static str),
}

type Tried = Attempt<Gain>;

impl Calls for Labels {
    const STEP: Step = Step::BuyLabel;
    type Brief = Brief;
    type Gain = Gain;

    async fn load(&self, store: &Store, order: &WorkOrder, act: Act, tx: &Tx<'_>) -> Result<Brief, Failure> {
        let missing = || Failure::finally("no_case", format!("the shipment has no {}", order.subject));
        let Subject::Case(number) = order.subject else { return Err(missing()) };
        let lost = match act {
            Act::Compensate => Duration::ZERO,
            act => {
                store.keep_lost(tx, order.shipment_id, number, act == Act::LookUp).await.map_err(failed)?
            }
        };
        let case = store.case(tx, order.shipment_id, number).await.map_err(failed)?.ok_or_else(missing)?;
        Ok(Brief { number, case, lost })
    }

    async fn call(&self, order: &WorkOrder, act: Act, brief: &Brief) -> Tried {
        let attempt = match act {
            Act::Do => self.buy(order, brief).await,
            Act::LookUp => self.look_up(order, brief).await,
            Act::Compensate => self.void(&brief.case).await,
        };
        // Both ways out carry an attempt; `?` only leads to the second one.
        attempt.unwrap_or_else(|attempt| attempt)
    }

    async fn keep(&self, store: &Store, order: &WorkOrder, gain: &Gain, tx: &Tx<'_>) -> Result<(), Failure> {
        let Subject::Case(case) = order.subject else { return Ok(()) };
        let id = order.shipment_id;
        match gain {
            Gain::Label(label) => {
                let kept = kept(label)?;
                if !store.keep_label(tx, id, case, &kept).await.map_err(failed)? {
                    let why = format!(
                        "{} of shipment {id} has another label than {}",
                        order.subject, kept.tracking_code
                    );
                    return Err(Failure::finally(ANOTHER_LABEL, why));
                }
            }
            Gain::Refund(refund) => {
                store.keep_refund(tx, id, case, refund).await.map_err(failed)?;
            }
        }
        Ok(())
    }
}

impl Labels {
    async fn buy(&self, order: &WorkOrder, brief: &Brief) -> Result<Tried, Tried> {
        let case = &brief.case;
        let known = case.carrier_shipment_id.clone().zip(case.rate_id.clone());
        let (id, rate) = match (known, &case.carrier_shipment_id) {
            (Some(known), _) => known,
            (None, Some(id)) => {
                // It had no rate when it was created.
                let shipment = Attempt::of(Act::Do, self.carrier.retrieve(id).await, Outcome::Later)?;
                (id.clone(), self.rate(&shipment)?)
            }
            (None, None) => self.create(order, brief).await?,
        };
        failpoint::pass(format_args!("buy_label.buy"));
        let label = Attempt::of(Act::Do, self.carrier.buy(&id, &rate).await, Outcome::Lost)?;
        Ok(Attempt::done(Act::Do, Some(Gain::Label(Box::new(label)))))
    }

    /// Creates a shipment there and stores its id; returns it with the rate to buy.
    async fn create(&self, order: &WorkOrder, brief: &Brief) -> Result<(String, String), Tried> {
        let refused = |why| Tried::not(Act::Do, Outcome::Refused, why);
        let case = &brief.case;
        let new = NewShipment {
            reference: case.reference.to_string(),
            from: read(&case.ship_from).map_err(|why| refused(format!("ship_from: {why}")))?,
            to: read(&case.ship_to).map_err(|why| refused(format!("ship_to: {why}")))?,
            parcel: parcel(case.size, case.weight),
        };
        let shipment = Attempt::of(Act::Do, self.carrier.create_shipment(&new).await, Outcome::Lost)?;
        failpoint::pass(format_args!("buy_label.created"));
        let rate = self.rate(&shipment)?;
        self.adopt(order, brief, &shipment.id, Some(&rate), Act::Do).await?;
        Ok((shipment.id, rate))
    }

    fn rate(&self, shipment: &CarrierShipment) -> Result<String, Tried> {
        let Rates { currency, service } = &self.rates;
        let service = service.as_deref().unwrap_or("any service");
        self.rates.choose(shipment).ok_or_else(|| {
            Tried::not(
                Act::Do,
                Outcome::Refused,
                format!("the carrier offers no rate in {currency} for {service}"),
            )
        })
    }

    /// Stores the carrier's id. Another one that was stored before holds; the next attempt goes on with that.
    async fn adopt(
        &self,
        order: &WorkOrder,
        brief: &Brief,
        id: &str,
        rate: Option<&str>,
        act: Act,
    ) -> Result<(), Tried> {
        let case = (order.shipment_id, brief.number);
        match self.side.keep_carrier_id(&self.store, case, id, rate).await {
            Ok(held) if held == id => Ok(()),
            Ok(held) => {
                Err(Tried::not(act, Outcome::Later, format!("the case is {held} at the carrier already")))
            }
            // Nothing was bought, and nothing of this is the shipment's fault.
            Err(error) => {
                let why = format!("the carrier's id could not be stored: {}", crate::cause::chain(&error));
                Err(Tried::not(act, Outcome::Held, why))
            }
        }
    }

    async fn look_up(&self, order: &WorkOrder, brief: &Brief) -> Result<Tried, Tried> {
        let Some(id) = &brief.case.carrier_shipment_id else { return self.look_for(order, brief).await };
        let shipment = Attempt::of(Act::LookUp, self.carrier.retrieve(id).await, Outcome::Later)?;
        let not = |outcome, why: &str| Tried::not(Act::LookUp, outcome, why);
        Ok(match purchase(&shipment, brief.lost, self.settling) {
            Purchase::Done(label) => Attempt::done(Act::LookUp, Some(Gain::Label(label))),
            Purchase::NotDone => not(Outcome::NotDone, "it was not bought").after(Duration::ZERO),
            Purchase::TooSoon(wait) => not(Outcome::Later, "it may still be bought").after(wait),
            Purchase::Unclear(why) => not(Outcome::Later, why),
        })
    }

    /// After a creation whose answer was lost: nothing can have been bought, but what was created is found and used.
    async fn look_for(&self, order: &WorkOrder, brief: &Brief) -> Result<Tried, Tried> {
        let reference = brief.case.reference.to_string();
        let accepted = Duration::from_micros(u64::try_from(brief.case.accepted_us).unwrap_or(0));
        let since = SystemTime::UNIX_EPOCH + accepted.saturating_sub(CLOCKS);
        let found = self.carrier.find_by_reference(&reference, since).await;
        let found = Attempt::of(Act::LookUp, found, Outcome::Later)?;
        let not = |outcome, why: String| Tried::not(Act::LookUp, outcome, why);
        match creation(&found, &reference, brief.lost, self.settling) {
            Creation::Adopt(id) => {
                let shipment = found.iter().find(|shipment| shipment.id == id);
                let rate = shipment.and_then(|shipment| self.rates.choose(shipment));
                self.adopt(order, brief, &id, rate.as_deref(), Act::LookUp).await?;
                match shipment.map(|shipment| &shipment.postage) {
                    Some(Postage::Bought(label)) => {
                        Ok(Attempt::done(Act::LookUp, Some(Gain::Label(label.clone()))))
                    }
                    Some(Postage::Unclear(why)) => Ok(not(Outcome::Later, (*why).to_owned())),
                    _ => Ok(not(Outcome::NotDone, format!("it was created as {id}, and not bought"))
                        .after(Duration::ZERO)),
                }
            }
            Creation::NotDone => {
                Ok(not(Outcome::NotDone, "it was not created".to_owned()).after(Duration::ZERO))
            }
            Creation::TooSoon(wait) => {
                Ok(not(Outcome::Later, "it may still be created".to_owned()).after(wait))
            }
            Creation::SeveralBought(ids) => {
                Ok(not(Outcome::Later, format!("several labels were bought: {}", ids.join(", "))))
            }
        }
    }

    /// Asks for the money back, or for what became of asking. Asking again changes nothing, unless it was rejected, and
    /// then only when an operator wants it tried again.
    async fn void(&self, case: &Case) -> Result<Tried, Tried> {
        let act = Act::Compensate;
        let refund = case.refund.as_deref();
        if matches!(refund, Some("refunded" | "not_applicable")) {
            return Ok(Attempt::done(act, None));
        }
        let Some(id) = &case.carrier_shipment_id else {
            return Ok(Attempt::not(act, Outcome::Refused, "the case has no id at the carrier"));
        };
        let shipment = Attempt::of(act, self.carrier.retrieve(id).await, Outcome::Lost)?;
        let asked_before = shipment
            .refund
            .filter(|status| !(*status == RefundStatus::Rejected && refund == Some("rejected")));
        let status = match asked_before {
            Some(status) => status,
            None => {
                failpoint::pass(format_args!("buy_label.refund"));
                Attempt::of(act, self.carrier.refund(id).await, Outcome::Lost)?
            }
        };
        Ok(match status {
            RefundStatus::Refunded => Attempt::done(act, Some(Gain::Refund("refunded"))),
            RefundStatus::NotApplicable => Attempt::done(act, Some(Gain::Refund("not_applicable"))),
            RefundStatus::Submitted => {
                let waiting =
                    Attempt::not(act, Outcome::Waiting, "the refund is submitted").after(self.refund_poll);
                Attempt { gain: Some(Gain::Refund("submitted")), ..waiting }
            }
            RefundStatus::Rejected => {
                let refused = Attempt::not(act, Outcome::Refused, "the carrier rejected the refund");
                Attempt { gain: Some(Gain::Refund("rejected")), ..refused }
            }
            RefundStatus::Other(status) => Attempt::not(
                act,
                Outcome::Later,
                format!("the refund is {status:?}, which means nothing here"),
            ),
        })
    }
}

fn kept(label: &Label) -> Result<KeptLabel, Failure> {
    let currency = Currency::new(&label.rate.price.currency)?;
    Ok(KeptLabel {
        carrier: label.rate.carrier.clone(),
        service: Some(label.rate.service.clone()).filter(|service| !service.is_empty()),
        tracking_code: label.tracking_code.clone(),
        url: Some(label.url.clone()),
        cost: Money { minor: label.rate.price.minor, currency },
    })
}
