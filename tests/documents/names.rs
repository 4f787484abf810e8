//! Every name that the code can put into a message is in the document, and every one in the document is one of the code's.

use std::{collections::BTreeSet, fmt::Display};

use relay::{
    consumer::GarbageReason,
    letter::{LETTER_HEADERS, PAYLOAD_OMITTED},
    reason::DeadReason,
    shipping::{
        carrier::tracking::TrackingStatus,
        event::{Fact, ORDER, OrderFact, SHIPMENT},
        shipment::Standing,
        step::Step,
    },
};
use serde_json::Value;

use crate::document::{described_headers, document, keys, report, texts};

/// Messages that are no event of shipping's.
const OTHERS: [&str; 5] = ["row", "rowLetter", "rowLetterWithoutPayload", "consumerLetter", "garbageLetter"];

fn names<T: Display>(of: &str, all: &[T]) -> Vec<String> {
    all.iter().map(|name| format!("{of}.{name}")).collect()
}

fn set<T: AsRef<str>>(names: &[T]) -> BTreeSet<&str> {
    names.iter().map(AsRef::as_ref).collect()
}

fn schema(name: &str) -> &'static Value {
    &document()["components"]["schemas"][name]
}

#[test]
fn the_document_is_valid_and_says_whose_messages_these_are() {
    assert_eq!(report(&[]).troubles, [""; 0]);
    assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_message_that_is_not_as_described_is_noticed() {
    let message = |name: &str, part: &str, value: Value| serde_json::json!({"message": name, part: value});
    let order =
        serde_json::json!({"shipment_id": "x", "step": "buy_label", "subject": "case/0", "task": 1, "by": 1});
    let wrong = [
        message("shipment.bought", "payload", Value::Null),
        message("shipment.buy_label", "payload", order),
        message("row", "headers", serde_json::json!({"x-relay-seq": "1", "cc": "elsewhere", "list": []})),
        message("rowLetterWithoutPayload", "payload", Value::Null),
        message("row", "properties", serde_json::json!({"delivery_mode": 1})),
    ];
    let troubles = report(&wrong).troubles.join("\n");
    for expected in [
        "there is no such message",
        "shipment_id: 'x'",
        "subject: 'case/0'",
        "'by' was unexpected",
        "x-relay-seq: '1'",
        "'x-relay-attempt' is a required property",
        "list: []",
        "'cc' should not be valid",
        "has payload, and none are described",
        "'message_id' is a required property",
        "delivery_mode: 2 was expected",
    ] {
        assert!(troubles.contains(expected), "{expected} is not noticed:\n{troubles}");
    }
}

#[test]
fn every_event_of_the_code_is_described_and_no_other() {
    let (steps, facts) = (names(SHIPMENT, Step::ALL), names(SHIPMENT, Fact::ALL));
    let orders = names(ORDER, OrderFact::ALL);
    let carrier = vec!["carrier.event_received".to_owned()];
    let mut expected: BTreeSet<&str> = OTHERS.into();
    for (channel, events) in
        [("workOrders", steps), ("shipmentFacts", facts), ("orderFacts", orders), ("carrierEvents", carrier)]
            .map(|(channel, events)| (channel, &*events.leak()))
    {
        let channel = &document()["channels"][channel];
        assert_eq!(set(&keys(&channel["messages"])), set(events));
        expected.extend(events.iter().map(String::as_str));
        let address = channel["address"].as_str().unwrap();
        for event in events {
            let (_, kind) = event.split_once('.').unwrap();
            assert_eq!(document()["components"]["messages"][event.as_str()]["name"], kind);
            // With its parameter filled in, the address is the routing key.
            let parameters = channel["parameters"].as_object();
            let routing_key =
                parameters.into_iter().flatten().fold(address.to_owned(), |address, (name, place)| {
                    assert!(texts(&place["enum"]).contains(&kind), "{name} may not be {kind}");
                    address.replace(&format!("{{{name}}}"), kind)
                });
            assert_eq!(&routing_key, event);
        }
        for (name, place) in channel["parameters"].as_object().into_iter().flatten() {
            assert_eq!(texts(&place["enum"]).len(), events.len(), "{name} has values that are no event");
        }
    }
    assert_eq!(set(&keys(&document()["components"]["messages"])), expected);
}

#[test]
fn facts_are_described_in_the_words_of_the_manual() {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/shipping.md")).unwrap();
    for event in names(SHIPMENT, Fact::ALL).into_iter().chain(names(ORDER, OrderFact::ALL)) {
        let summary = document()["components"]["messages"][&event]["summary"].as_str().unwrap();
        assert!(
            manual.contains(&format!("| `{event}` | {summary} |")),
            "docs/shipping.md says otherwise of {event}"
        );
    }
}

#[test]
fn every_header_of_the_code_is_described_and_no_other() {
    // Those of every row are seen on the wire.
    let rows = texts(&schema("keyHeaders")["required"]);
    let letters = LETTER_HEADERS.into_iter().chain([PAYLOAD_OMITTED]);
    let expected: BTreeSet<&str> = rows.into_iter().chain(letters).collect();
    assert_eq!(set(&described_headers()), expected);
}

/// Fails to compile when there is a reason more.
const fn garbage(reason: GarbageReason) -> usize {
    match reason {
        GarbageReason::NoMessageId => 0,
        GarbageReason::NoType => 1,
        GarbageReason::InvalidName => 2,
        GarbageReason::BodyTooLarge => 3,
        GarbageReason::InvalidJson => 4,
    }
}

#[test]
fn closed_sets_are_those_of_the_code() {
    let reasons = |letter: &str| {
        let parts = schema(letter)["allOf"].as_array().unwrap();
        let closed = parts.iter().find_map(|part| part["properties"]["x-relay-reason"]["enum"].as_array());
        closed.unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let dead: Vec<&str> = DeadReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(reasons("rowLetterHeaders"), dead);
    assert_eq!(reasons("rowLetterWithoutPayloadHeaders"), dead);
    let mut garbages = [
        GarbageReason::NoMessageId,
        GarbageReason::NoType,
        GarbageReason::InvalidName,
        GarbageReason::BodyTooLarge,
        GarbageReason::InvalidJson,
    ];
    garbages.sort_by_key(|reason| garbage(*reason));
    assert_eq!(reasons("garbageLetterHeaders"), garbages.map(GarbageReason::as_str));

    let steps: Vec<&str> = Step::ALL.iter().map(|step| step.as_str()).collect();
    assert_eq!(texts(&schema("step")["enum"]), steps);
    let states: Vec<&str> = Standing::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!(texts(&schema("shipment")["properties"]["state"]["enum"]), states);
    let statuses = &schema("case")["properties"]["tracking_status"]["enum"];
    assert_eq!(texts(statuses), TrackingStatus::ALL.map(TrackingStatus::as_str));
}
