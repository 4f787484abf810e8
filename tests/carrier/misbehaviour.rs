//! Every misbehaviour, and what the adapter makes of it. The ledger says what really happened.

use std::time::{Duration, SystemTime};

use relay::{
    breaker::{BreakerSettings, BreakerState},
    shipping::carrier::{
        lookup::{Creation, Purchase, SETTLING, creation, purchase},
        shipment::Address,
        verdict::{Delay, Verdict},
    },
};

use crate::{
    sim::{Sim, created, order, succeeded, word},
    wait,
};

/// What the carrier does to a call, with or without its effect: the rule, the verdict on a purchase, and the verdict on
/// a call that is harmless.
const CASES: [(&str, &str, &str); 19] = [
    (r#""answer": "lost""#, "unknown", "failing"),
    (r#""answer": "reset""#, "unknown", "failing"),
    (r#""answer": "reset_midway""#, "unknown", "failing"),
    (r#""answer": "slow""#, "unknown", "failing"),
    (r#""answer": "endless""#, "unknown", "failing"),
    (r#""answer": "bad_json""#, "unknown", "failing"),
    (r#""answer": "error_json""#, "unknown", "failing"),
    (r#""answer": "encoded""#, "unknown", "failing"),
    (r#""answer": "short""#, "unknown", "failing"),
    (r#""answer": "redirect""#, "unknown", "failing"),
    (r#""answer": "status", "status": 500"#, "unknown", "failing"),
    (r#""answer": "status", "status": 503, "retry_after": "1""#, "unknown", "failing"),
    (r#""answer": "status", "status": 408"#, "unknown", "failing"),
    (r#""answer": "status", "status": 409"#, "unknown", "failing"),
    (r#""answer": "status", "status": 425"#, "throttled", "throttled"),
    (r#""answer": "status", "status": 429, "retry_after": "2""#, "throttled", "throttled"),
    (r#""answer": "status", "status": 401"#, "account", "account"),
    (r#""answer": "status", "status": 402"#, "account", "account"),
    (r#""answer": "status", "status": 422"#, "refused", "refused"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_a_purchase_a_lookup_tells_and_the_label_is_sold_once() {
    let sim = Sim::start(&[]);
    for work in [true, false] {
        for (number, (answer, verdict, _)) in CASES.iter().enumerate() {
            // Who is turned away at the door has had no effect; that is what these answers mean.
            if work && *verdict != "unknown" {
                continue;
            }
            let carrier = sim.carrier();
            let reference = format!("{work}-{number}");
            let (shipment, rate) = created(&carrier, &reference).await;
            sim.rule(&format!(r#"{{"route": "buy", "work": {work}, {answer}, "times": 1}}"#)).await;
            let bought = carrier.buy(&shipment.id, &rate).await;
            assert_eq!(word(&bought), *verdict, "work {work}, {answer}: {bought:?}");
            assert_eq!(sim.sold(&reference).await, (1, u64::from(work)), "work {work}, {answer}");

            let found = succeeded(carrier.retrieve(&shipment.id).await);
            match purchase(&found, SETTLING, SETTLING) {
                Purchase::Done(label) => assert!(work, "{answer}: {label:?}"),
                Purchase::NotDone => assert!(!work, "{answer}"),
                other => panic!("{answer}: {other:?}"),
            }
            // Another try by the same id buys what was not bought, and what was is not bought again.
            let again = carrier.buy(&shipment.id, &rate).await;
            assert_eq!(word(&again), if work { "unknown" } else { "succeeded" }, "{answer}: {again:?}");
            assert_eq!(sim.sold(&reference).await, (1, 1), "work {work}, {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_harmlessly_is_to_be_tried_again() {
    let sim = Sim::start(&[]);
    let carrier = sim.carrier();
    let (shipment, _) = created(&carrier, "harmless").await;
    for (answer, _, verdict) in CASES {
        sim.rule(&format!(r#"{{"route": "retrieve", {answer}, "times": 1}}"#)).await;
        let found = carrier.retrieve(&shipment.id).await;
        assert_eq!(word(&found), verdict, "{answer}: {found:?}");
        assert_eq!(succeeded(carrier.retrieve(&shipment.id).await).id, shipment.id, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_whose_answer_was_lost_is_found_by_its_reference_and_adopted() {
    let sim = Sim::start(&[]);
    let carrier = sim.carrier();
    let since = SystemTime::now() - Duration::from_secs(3600);
    let found = succeeded(carrier.find_by_reference("r", since).await);
    assert_eq!(creation(&found, "r", SETTLING, SETTLING), Creation::NotDone);

    sim.rule(r#"{"route": "create", "answer": "reset", "times": 2}"#).await;
    for _ in 0..2 {
        assert_eq!(word(&carrier.create_shipment(&order("r")).await), "unknown");
    }
    created(&carrier, "other").await;
    assert_eq!(sim.sold("r").await, (2, 0), "references are not unique");
    let found = succeeded(carrier.find_by_reference("r", since).await);
    assert_eq!(found.len(), 2);
    let Creation::Adopt(id) = creation(&found, "r", Duration::ZERO, SETTLING) else { panic!("{found:?}") };
    let rate = found.iter().find(|shipment| shipment.id == id).and_then(|found| found.cheapest("USD", None));
    succeeded(carrier.buy(&id, &rate.expect("it has rates").id).await);

    let found = succeeded(carrier.find_by_reference("r", since).await);
    assert_eq!(creation(&found, "r", Duration::ZERO, SETTLING), Creation::Adopt(id), "the bought one");
    assert_eq!(sim.sold("r").await, (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_reads_all_pages_or_fails() {
    let sim = Sim::start(&[]);
    let carrier = sim.carrier();
    let since = SystemTime::now() - Duration::from_secs(3600);
    created(&carrier, "needle").await;
    for number in 0..205 {
        created(&carrier, &format!("hay-{number}")).await;
    }
    assert_eq!(succeeded(carrier.find_by_reference("needle", since).await).len(), 1);
    // The third page fails: what was not found must not look as if it did not exist.
    sim.rule(r#"{"route": "list", "answer": "bad_json", "skip": 2, "times": 1}"#).await;
    assert_eq!(word(&carrier.find_by_reference("needle", since).await), "failing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_was_asked_for_is_clamped() {
    let sim = Sim::start(&[]);
    let carrier = sim.carrier();
    let (shipment, rate) = created(&carrier, "wait").await;
    for (header, least, most) in [
        ("2", 2, 2),
        ("1000000000", 600, 600),
        ("-1", 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 600, 600),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0, 0),
    ] {
        let rule =
            r#"{"route": "buy", "work": false, "answer": "status", "status": 429, "retry_after": "@"}"#;
        sim.rule(&rule.replace('@', header)).await;
        match carrier.buy(&shipment.id, &rate).await {
            Verdict::TryLater(Delay { after: Some(after), .. }) => {
                assert!((least..=most).contains(&after.as_secs()), "{header}: {after:?}");
            }
            other => panic!("{header}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_corrected_or_refused() {
    let sim = Sim::start(&[]);
    let carrier = sim.carrier();
    let good = order("x").to;
    let verified = succeeded(carrier.verify_address(&good).await);
    assert_eq!(verified.address.street1, "2 SECOND ST");
    let bad = Address { street1: "7 Undeliverable Rd".into(), ..good };
    match carrier.verify_address(&bad).await {
        Verdict::Refused(error) => {
            assert_eq!(error.code, "ADDRESS.VERIFY.FAILURE");
            assert!(error.message.contains("street1"), "{}", error.message);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_refusal_buys_nothing() {
    let sim = Sim::start(&[]);
    let carrier = sim.carrier();
    let mut nowhere = order("nowhere");
    nowhere.to.zip = "00000".into();
    let shipment = succeeded(carrier.create_shipment(&nowhere).await);
    let rate = shipment.cheapest("USD", None).expect("it has rates");
    assert_eq!(word(&carrier.buy(&shipment.id, &rate.id).await), "refused");
    assert_eq!(word(&carrier.buy("shp_missing", &rate.id).await), "refused");
    assert_eq!(word(&carrier.buy("../../_script", &rate.id).await), "refused");
    assert_eq!(sim.sold("nowhere").await, (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_carrier_that_flaps_every_label_is_sold_exactly_once() {
    let sim = Sim::start(&[]);
    let carrier = sim.carrier();
    let mut shipments = vec![];
    for number in 0..12 {
        shipments.push(created(&carrier, &format!("flap-{number}")).await);
    }
    let script = r#"{"rules": [
        {"route": "any", "work": true, "answer": "reset", "probability": 0.3},
        {"route": "any", "work": false, "answer": "status", "status": 500, "probability": 0.5}]}"#;
    sim.script(script).await;
    let buys = shipments.iter().map(async |(shipment, rate)| {
        // As a worker would: buy, look up what is unknown, buy again only what was not bought.
        for _ in 0..200 {
            match carrier.buy(&shipment.id, rate).await {
                Verdict::Succeeded(label) => return label.tracking_code,
                Verdict::TryLater(_) => continue,
                Verdict::Refused(error) => panic!("{error:?}"),
                Verdict::Unknown(_) => {}
            }
            let found = wait::found("a lookup that succeeds", wait::LONG, async || {
                match carrier.retrieve(&shipment.id).await {
                    Verdict::Succeeded(shipment) => Some(shipment),
                    _ => None,
                }
            });
            match purchase(&found.await, SETTLING, SETTLING) {
                Purchase::Done(label) => return label.tracking_code,
                Purchase::NotDone => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("it was not bought in 200 attempts");
    });
    let codes = futures_util::future::join_all(buys).await;
    sim.behave().await;
    let ledger = sim.ledger().await;
    assert_eq!(ledger["counts"]["bought"], 12);
    for (label, code) in ledger["labels"].as_array().expect("labels").iter().zip(&codes) {
        assert_eq!(label["tracking_code"], code.as_str(), "what we believe is what was sold");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_that_is_down_opens_the_breaker_and_one_that_is_back_closes_it() {
    let mut sim = Sim::start(&[]);
    let settings = BreakerSettings {
        consecutive: 3,
        open_for: Duration::from_millis(300),
        open_cap: Duration::from_millis(600),
        ..Default::default()
    };
    let carrier = sim.carrier_with(settings);
    let (shipment, rate) = created(&carrier, "down").await;
    sim.kill();
    for _ in 0..3 {
        assert_eq!(word(&carrier.buy(&shipment.id, &rate).await), "unreachable");
    }
    assert_eq!(carrier.gate().state(), BreakerState::Open);
    assert_eq!(word(&carrier.buy(&shipment.id, &rate).await), "held");
    sim.restart();
    wait::until("the breaker closes", wait::LONG, async || {
        let _ = carrier.retrieve(&shipment.id).await;
        carrier.gate().state() == BreakerState::Closed
    })
    .await;
    // A refusal is an answer: it does not open anything.
    for _ in 0..10 {
        assert_eq!(word(&carrier.retrieve("shp_missing").await), "refused");
    }
    assert_eq!(carrier.gate().state(), BreakerState::Closed);
    succeeded(carrier.buy(&shipment.id, &rate).await);
}
