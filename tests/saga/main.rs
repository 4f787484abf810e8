//! The saga over random histories: any order of messages, repeated ones, workers that die before and after their effect,
//! answers that are lost, cancellations and operators at any time. See `world.rs` for what is kept account of.

#![allow(clippy::expect_used, reason = "a test")]

mod world;

use proptest::prelude::*;
use relay::shipping::{
    entry::{Entry, Failure, State},
    saga::{Act, Decision, Input, Limits, Outcome, Refusal, decide},
    shipment::{Quantities, Shipment, Standing, Undo},
    step::{Key, Step, Subject},
};
use uuid::Uuid;
use world::{Mood, World};

fn shipment(cases: i16) -> Shipment {
    Shipment::new(Uuid::nil(), "17", cases, &[Subject::Mail(1), Subject::Webhook(2)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_history_ends_at_rest_with_nothing_done_twice(
        cases in 1_i16..4,
        tape in prop::collection::vec(any::<u8>(), 0..160),
        mood in prop_oneof![Just(Mood::Kind), Just(Mood::Away), Just(Mood::Unkind)],
    ) {
        let mut world = World::new(shipment(cases), tape, mood);
        world.run();
        world.check_rest();
        // Whatever was left to an operator, an operator can finish.
        world.attend();
        world.check_rest();
        prop_assert_ne!(world.shipment.standing, Standing::NeedsAttention);
    }
}

/// Carries a shipment on, everything going well, until a step has a work order out for every entry of it.
fn until(step: Step, mut shipment: Shipment) -> Shipment {
    shipment = take(&shipment, Input::Accept);
    while !shipment.of(step).all(|entry| entry.asked) {
        let entry = shipment.entries.iter().find(|entry| entry.asked).expect("somebody is asked").clone();
        shipment = report(&shipment, entry.key, Outcome::Done);
    }
    shipment
}

fn take(shipment: &Shipment, input: Input) -> Shipment {
    decide(shipment, &input, Limits::default()).expect("it is taken").shipment
}

/// A worker begins and reports.
fn report(shipment: &Shipment, key: Key, outcome: Outcome) -> Shipment {
    let task = shipment.entry(key).expect("an entry").task;
    let begun = take(shipment, Input::Begin(key, task));
    take(&begun, Input::Report(key, task, outcome))
}

fn label(case: i16) -> Key {
    Key { step: Step::BuyLabel, subject: Subject::Case(case) }
}

fn state(shipment: &Shipment, key: Key) -> State {
    shipment.entry(key).expect("an entry").state
}

fn entry(shipment: &Shipment, key: Key) -> Entry {
    shipment.entry(key).expect("an entry").clone()
}

#[test]
fn before_the_label_a_failure_fails_the_shipment_and_gives_back_what_it_reserved() {
    let accepted = until(Step::ValidateAddress, shipment(2));
    let failed = report(&accepted, Key::whole(Step::ValidateAddress), Outcome::Refused);
    assert_eq!((failed.standing, failed.quantities), (Standing::Failed, Quantities::Released));

    let mut shipping = until(Step::BuyLabel, shipment(1));
    for _ in 0..Limits::default().attempts {
        assert_eq!(shipping.standing, Standing::Shipping);
        shipping = report(&shipping, label(1), Outcome::Later);
    }
    assert_eq!((shipping.standing, shipping.quantities), (Standing::Failed, Quantities::Released));
}

#[test]
fn after_the_label_work_goes_forward_until_an_operator_is_needed() {
    let invoice = Key::whole(Step::CreateInvoice);
    let mut shipping = until(Step::CreateInvoice, shipment(1));
    for _ in 0..Limits::default().attempts {
        shipping = report(&shipping, invoice, Outcome::Later);
    }
    assert_eq!((shipping.standing, shipping.undo), (Standing::NeedsAttention, None));
    assert_eq!(entry(&shipping, invoice).failure, Some(Failure::Exhausted));
    assert_eq!(state(&shipping, label(1)), State::Succeeded, "it is kept");
    let retried = take(&shipping, Input::Retry(invoice));
    assert_eq!(retried.standing, Standing::Shipping);
    assert!(entry(&retried, invoice).asked);
}

#[test]
fn a_label_refused_for_good_voids_the_other_cases_labels() {
    let shipping = until(Step::BuyLabel, shipment(3));
    let shipping = report(&shipping, label(1), Outcome::Done);
    let failing = report(&shipping, label(2), Outcome::Refused);
    assert_eq!((failing.standing, failing.undo), (Standing::Failing, Some(Undo::Failed)));
    assert_eq!(state(&failing, label(1)), State::Compensating);
    assert_eq!(state(&failing, label(3)), State::Skipped, "no more money is spent");
    let waiting = report(&failing, label(1), Outcome::Waiting);
    assert_eq!((waiting.standing, waiting.quantities), (Standing::Failing, Quantities::Reserved));
    let failed = report(&waiting, label(1), Outcome::Done);
    assert_eq!((failed.standing, failed.quantities), (Standing::Failed, Quantities::Released));
}

#[test]
fn a_case_that_failed_keeps_the_others_from_being_begun() {
    let mut shipping = report(&until(Step::BuyLabel, shipment(3)), label(1), Outcome::Done);
    for _ in 0..Limits::default().attempts {
        shipping = report(&shipping, label(2), Outcome::Later);
    }
    assert_eq!(shipping.standing, Standing::NeedsAttention);
    let task = entry(&shipping, label(3)).task;
    let plan = decide(&shipping, &Input::Begin(label(3), task), Limits::default()).expect("it is taken");
    assert_eq!(plan.act, None);
    let retried = take(&plan.shipment, Input::Retry(label(2)));
    assert!(entry(&retried, label(2)).asked && entry(&retried, label(3)).asked, "both go on");
}

#[test]
fn what_is_unknown_is_looked_up_and_not_bought_again() {
    let shipping = until(Step::BuyLabel, shipment(1));
    let lost = report(&shipping, label(1), Outcome::Lost);
    assert_eq!(state(&lost, label(1)), State::Unknown);
    let task = entry(&lost, label(1)).task;
    let plan = decide(&lost, &Input::Begin(label(1), task), Limits::default()).expect("it is taken");
    assert_eq!(plan.act, Some(Act::LookUp));
    let found = take(&plan.shipment, Input::Report(label(1), task, Outcome::Done));
    assert_eq!(state(&found, label(1)), State::Succeeded);

    // The same when its worker died: the work order comes back and finds the entry running.
    let begun = take(&shipping, Input::Begin(label(1), task));
    let plan = decide(&begun, &Input::Begin(label(1), task), Limits::default()).expect("it is taken");
    assert_eq!((plan.act, state(&plan.shipment, label(1))), (Some(Act::LookUp), State::Unknown));
}

#[test]
fn a_cancellation_waits_for_what_is_unknown_and_then_undoes_it() {
    let lost = report(&until(Step::BuyLabel, shipment(1)), label(1), Outcome::Lost);
    let cancelling = take(&lost, Input::Cancel);
    assert_eq!((cancelling.standing, state(&cancelling, label(1))), (Standing::Cancelling, State::Unknown));
    let found = report(&cancelling, label(1), Outcome::Done);
    assert_eq!(state(&found, label(1)), State::Compensating);
    let cancelled = report(&found, label(1), Outcome::Done);
    assert_eq!((cancelled.standing, cancelled.quantities), (Standing::Cancelled, Quantities::Released));
}

#[test]
fn a_shipped_one_is_undone_in_reverse() {
    let mut shipment = until(Step::Notify, shipment(2));
    let parties = [Subject::Mail(1), Subject::Webhook(2)].map(|subject| Key { step: Step::Notify, subject });
    for party in parties {
        shipment = report(&shipment, party, Outcome::Done);
    }
    assert_eq!((shipment.standing, shipment.quantities), (Standing::Shipped, Quantities::Fulfilled));
    shipment = take(&shipment, Input::Cancel);
    for keys in
        [vec![Key::whole(Step::FulfilOrder)], vec![Key::whole(Step::CreateInvoice)], vec![label(1), label(2)]]
    {
        let undoing = |entry: &&Entry| entry.state == State::Compensating && entry.key.step.is_critical();
        let now: Vec<Key> = shipment.entries.iter().filter(undoing).map(|entry| entry.key).collect();
        assert_eq!(now, keys);
        for key in keys {
            shipment = report(&shipment, key, Outcome::Done);
        }
    }
    assert_eq!((shipment.standing, shipment.quantities), (Standing::Cancelled, Quantities::Released));
    // Those who were told are told again, at once, and nothing waits for that.
    for party in parties {
        assert_eq!(state(&shipment, party), State::Compensating);
    }
}

#[test]
fn a_refund_that_is_refused_needs_attention() {
    let shipping = report(&until(Step::BuyLabel, shipment(1)), label(1), Outcome::Done);
    let cancelling = take(&shipping, Input::Cancel);
    let refused = report(&cancelling, label(1), Outcome::Refused);
    assert_eq!((refused.standing, refused.quantities), (Standing::NeedsAttention, Quantities::Reserved));
    let resolution = Input::Resolve(label(1), relay::shipping::saga::Resolution::Done);
    assert_eq!(take(&refused, resolution).standing, Standing::Cancelled);
}

#[test]
fn a_failed_notification_undoes_nothing() {
    let mail = Key { step: Step::Notify, subject: Subject::Mail(1) };
    let shipment = report(&until(Step::Notify, shipment(1)), mail, Outcome::Refused);
    assert_eq!((shipment.standing, shipment.undo), (Standing::Shipped, None));
    assert_eq!(state(&shipment, mail), State::Failed, "and it is seen");
}

#[test]
fn mail_that_may_have_been_sent_waits_for_a_person() {
    let mail = Key { step: Step::Notify, subject: Subject::Mail(1) };
    let shipment = until(Step::Notify, shipment(1));
    let lost = report(&shipment, mail, Outcome::Lost);
    assert!(entry(&lost, mail).stalled);
    assert_eq!((lost.standing, state(&lost, mail)), (Standing::Shipped, State::Unknown));
    let webhook = Key { step: Step::Notify, subject: Subject::Webhook(2) };
    assert_eq!(state(&report(&shipment, webhook, Outcome::Lost), webhook), State::Pending, "its id dedupes");
}

#[test]
fn an_open_breaker_costs_no_attempt() {
    let mut shipping = until(Step::BuyLabel, shipment(1));
    for _ in 0..100 {
        shipping = report(&shipping, label(1), Outcome::Held);
    }
    assert_eq!(entry(&shipping, label(1)).attempts, 0);
    assert_eq!(shipping.standing, Standing::Shipping);
}

#[test]
fn work_that_kills_its_worker_ends() {
    let address = Key::whole(Step::ValidateAddress);
    let mut shipment = until(Step::ValidateAddress, shipment(1));
    for _ in 0..Limits::default().attempts {
        assert_eq!(shipment.standing, Standing::Accepted);
        shipment = take(&shipment, Input::Begin(address, 1));
    }
    assert_eq!(take(&shipment, Input::Begin(address, 1)).standing, Standing::Failed);
}

#[test]
fn an_order_that_is_not_the_latest_finds_nothing_to_do() {
    let shipping = until(Step::BuyLabel, shipment(1));
    for input in [
        Input::Begin(label(1), 0),
        Input::Begin(Key::whole(Step::ValidateAddress), 1),
        Input::Report(label(1), 1, Outcome::Done),
        Input::Report(Key::whole(Step::ValidateAddress), 1, Outcome::Done),
        Input::Begin(label(9), 1),
    ] {
        let plan = decide(&shipping, &input, Limits::default()).expect("it is taken");
        assert_eq!((plan.decisions, plan.act, plan.again), (vec![], None, None), "{input:?}");
    }
}

#[test]
fn a_cancellation_can_come_too_late() {
    let failed = report(
        &until(Step::ValidateAddress, shipment(1)),
        Key::whole(Step::ValidateAddress),
        Outcome::Refused,
    );
    let refused =
        |shipment: &Shipment| decide(shipment, &Input::Cancel, Limits::default()).expect_err("refused");
    assert_eq!(refused(&failed), Refusal::Undone(Standing::Failed));
    let shipped = Shipment { collected: true, ..until(Step::Notify, shipment(1)) };
    assert_eq!(refused(&shipped), Refusal::Collected);
}

#[test]
fn an_operator_acts_only_on_what_waits_for_one() {
    let shipping = until(Step::BuyLabel, shipment(1));
    for key in [Key::whole(Step::ValidateAddress), label(1), Key::whole(Step::CreateInvoice)] {
        assert!(decide(&shipping, &Input::Retry(key), Limits::default()).is_err(), "{key}");
    }
    assert_eq!(
        decide(&shipping, &Input::Retry(label(9)), Limits::default()).map(|_| ()),
        Err(Refusal::NoEntry(label(9)))
    );
}

#[test]
fn every_work_order_follows_the_move_that_numbers_it() {
    let plan = decide(&shipment(1), &Input::Accept, Limits::default()).expect("it is taken");
    let address = Key::whole(Step::ValidateAddress);
    assert!(plan.decisions.contains(&Decision::Order(address, 1)), "{:?}", plan.decisions);
}

#[test]
fn a_dead_work_order_comes_to_a_visible_state() {
    let bury = |shipment: &Shipment, key| {
        let task = entry(shipment, key).task;
        take(shipment, Input::Bury(key, task))
    };
    // Nothing was bought yet: the shipment fails, and gives back what it reserved.
    let accepted = until(Step::ValidateAddress, shipment(1));
    assert_eq!(bury(&accepted, Key::whole(Step::ValidateAddress)).standing, Standing::Failed);

    // A label that may have been bought is looked up when an operator says so, and not before.
    let shipping = until(Step::BuyLabel, shipment(1));
    let begun = take(&shipping, Input::Begin(label(1), entry(&shipping, label(1)).task));
    let stuck = bury(&begun, label(1));
    assert_eq!(stuck.standing, Standing::NeedsAttention);
    assert!(entry(&stuck, label(1)).stalled);
    assert_eq!(state(&stuck, label(1)), State::Unknown);

    // What comes after the label waits for an operator as well, and money stays where it is.
    let billing = until(Step::CreateInvoice, shipment(1));
    let stuck = bury(&billing, Key::whole(Step::CreateInvoice));
    assert_eq!((stuck.standing, stuck.undo), (Standing::NeedsAttention, None));
    let again = take(&stuck, Input::Retry(Key::whole(Step::CreateInvoice)));
    assert_eq!(again.standing, Standing::Shipping);

    // An old one says nothing.
    let late = take(&again, Input::Bury(Key::whole(Step::CreateInvoice), 1));
    assert_eq!(late, again);
}

#[test]
fn a_lost_work_order_is_replaced_by_one_and_the_old_one_finds_nothing_to_do() {
    let shipping = until(Step::BuyLabel, shipment(1));
    let task = entry(&shipping, label(1)).task;
    let plan = decide(&shipping, &Input::Remind(label(1)), Limits::default()).expect("it is taken");
    assert!(plan.decisions.contains(&Decision::Order(label(1), task + 1)));
    let late = decide(&plan.shipment, &Input::Begin(label(1), task), Limits::default()).expect("it is taken");
    assert_eq!((late.act, late.shipment == plan.shipment), (None, true));
    let done = report(&plan.shipment, label(1), Outcome::Done);
    assert_eq!(take(&done, Input::Remind(label(1))), done, "what is done needs no reminder");
}
