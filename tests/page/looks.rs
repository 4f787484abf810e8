//! What the page shows is what the command line prints.

use serde_json::{Value, json};

use crate::{
    client::{Client, OPERATE, OUTBOX, insert_dead, operated},
    rig::Rig,
    support::wait,
};

fn printed(rig: &Rig, args: &[&str]) -> Value {
    let args: Vec<_> = args.iter().copied().chain(["-o", "json"]).collect();
    serde_json::from_str(&rig.relay().command(&args)).unwrap()
}

/// Without what changes from one look to the next.
fn settled(mut value: Value) -> Value {
    fn visit(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|name, _| !name.ends_with("_seconds") && !name.ends_with("_seconds_ago"));
                // Whoever else is at work on the server.
                members.remove("cleanup_held");
                members.values_mut().for_each(visit);
            }
            Value::Array(items) => items.iter_mut().for_each(visit),
            _ => {}
        }
    }
    visit(&mut value);
    value
}

/// A key that waits behind a row that nobody takes, with two rows behind it.
async fn stuck(rig: &Rig) {
    rig.database.insert("stuck", "lost").await;
    rig.database.insert("stuck", "placed").await;
    rig.database.insert("stuck", "placed").await;
    let held = "select count(*) from relay.outbox where state = 'held'";
    wait::until("the key is held", wait::LONG, async || rig.database.number(held).await == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_look_says_what_the_command_line_prints() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let relay = operated(&rig).env("RELAY_RETRY_FLOOR", "1h").env("RELAY_RETRY_CAP", "1h").ready().await;
    let (reader, operator) = (Client::of(&relay), Client::of(&relay).with(OPERATE));
    let (seq, dead) = insert_dead(&rig, "1", "lost", r#"{"secret": "of the customer"}"#).await;
    stuck(&rig).await;
    let published = rig.database.insert("2", "placed").await;
    rig.database.wait_published(published).await;
    operator.act(&format!("{OUTBOX}/pause"), &json!({ "scope": "route", "routing_key": "order.late" }));

    let mut status = settled(reader.json(&format!("{OUTBOX}/status")));
    let own = status.as_object_mut().unwrap().remove("relay").unwrap();
    assert_eq!(status, settled(printed(&rig, &["status"])));
    assert_eq!(own["breakers"], json!({ "broker": "closed" }));
    assert_eq!(
        (&own["ready"], &own["troubles"], &own["lanes_owned"]),
        (&json!(true), &json!([]), &json!(32))
    );
    assert_eq!((&own["amqp_connected"], &own["amqp_blocked"]), (&json!(true), &json!(false)));

    assert_eq!(reader.json(&format!("{OUTBOX}/pauses")), printed(&rig, &["pauses"]));
    let audited = printed(&rig, &["audit", "list"]);
    assert_eq!(reader.json(&format!("{OUTBOX}/audit")), json!({ "rows": audited, "next": null }));
    let listed = reader.json(&format!("{OUTBOX}/dead"));
    assert_eq!(listed, json!({ "rows": printed(&rig, &["dlq", "list"]), "next": null }));
    assert_eq!(listed["rows"][0]["event_id"], dead);

    for row in [seq.to_string(), dead.clone()] {
        let hidden = reader.get(&format!("{OUTBOX}/dead/{row}"));
        assert!(!hidden.body.contains("of the customer"), "the payload is not shown unasked: {hidden:?}");
        assert_eq!(hidden.json(), printed(&rig, &["dlq", "show", &row]));
        let shown = reader.json(&format!("{OUTBOX}/dead/{row}?payload=true"));
        assert_eq!(shown, printed(&rig, &["dlq", "show", &row, "--payload"]));
        assert_eq!(shown["payload"]["secret"], "of the customer");
    }
    for event in [&dead, &rig.database.event_id(published).await] {
        let steps = reader.json(&format!("{OUTBOX}/trace/{event}"));
        assert_eq!(steps, printed(&rig, &["trace", event]));
        assert_eq!(steps[0]["what"], "inserted");
    }

    let mut key = reader.json(&format!("{OUTBOX}/key?aggregate_type=order&aggregate_id=stuck"));
    let members = key.as_object_mut().unwrap();
    let (rows, way_on) = (members.remove("rows").unwrap(), members.remove("way_on").unwrap());
    assert!(members.remove("looked_back_to").is_some());
    assert_eq!(settled(key), settled(printed(&rig, &["key", "show", "order/stuck"])));
    assert_eq!(way_on, "skip");
    let states: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["held", "held", "waiting"], "the latest first");
    assert_eq!(rows[2]["attempts"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_timeline_has_its_rows_of_every_state_and_no_others() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let reader = Client::of(&relay);
    rig.database.insert_many(300, 300).await;
    let first = rig.database.insert("1", "placed").await;
    let (second, _) = insert_dead(&rig, "1", "lost", "{}").await;
    let (third, _) = insert_dead(&rig, "1", "lost", "{}").await;
    let discard = "update relay.outbox set resolved_at = now() where seq = $1";
    rig.database.execute(discard, &[&third]).await;
    rig.database.wait_finished(wait::LONG).await;
    let key = reader.json(&format!("{OUTBOX}/key?aggregate_type=order&aggregate_id=1"));
    assert_eq!((&key["reason"], &key["way_on"]), (&json!(null), &json!(null)), "nothing holds it up");
    let rows: Vec<_> =
        key["rows"].as_array().unwrap().iter().map(|row| (&row["seq"], &row["state"])).collect();
    let expected = [
        (json!(third), json!("discarded")),
        (json!(second), json!("dead")),
        (json!(first), json!("published")),
    ];
    assert_eq!(rows, expected.iter().map(|(seq, state)| (seq, state)).collect::<Vec<_>>());
    // However many there are, and however far back: those that need somebody are found.
    rig.database.insert_many(70, 1).await;
    let jump = "select setval(pg_get_serial_sequence('relay.outbox', 'seq'), 1000000)";
    assert_eq!(rig.database.number(jump).await, 1_000_000);
    rig.database.insert("2", "placed").await;
    rig.database.wait_finished(wait::LONG).await;
    let key = |id: &str| reader.json(&format!("{OUTBOX}/key?aggregate_type=order&aggregate_id={id}"));
    let old = key("1");
    let seqs: Vec<_> =
        old["rows"].as_array().unwrap().iter().map(|row| row["seq"].as_i64().unwrap()).collect();
    assert_eq!(
        seqs,
        [second],
        "published ones from before seq {} were not looked for",
        old["looked_back_to"]
    );
    assert!(old["looked_back_to"].as_i64().unwrap() > third);
    rig.database.insert_many(70, 1).await;
    assert_eq!(key("k0")["rows"].as_array().unwrap().len(), 50);
    let missing = reader.get(&format!("{OUTBOX}/key?aggregate_type=order&aggregate_id=nobody"));
    missing.refused(404, &["order/nobody"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_has_a_point_each_few_seconds_and_knows_what_it_does_not_know() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let reader = Client::of(&relay);
    let history = |minutes: u32| reader.json(&format!("{OUTBOX}/history?minutes={minutes}"));
    let series = |history: &Value, name: &str| -> Vec<Option<f64>> {
        history["series"][name].as_array().unwrap().iter().map(Value::as_f64).collect()
    };
    assert_eq!(history(60)["every_seconds"], 5);
    assert_eq!(history(61)["every_seconds"], 60);
    for (minutes, points) in [(1, 12), (60, 720), (61, 61), (1440, 1440)] {
        for name in ["lag_seconds", "published_per_second", "backlog", "dead", "held"] {
            assert_eq!(series(&history(minutes), name).len(), points, "{minutes} {name}");
        }
    }
    assert_eq!(series(&history(60), "backlog")[0], None, "before it started");
    insert_dead(&rig, "1", "lost", "{}").await;
    rig.database.insert_many(500, 50).await;
    wait::until("the charts show it", wait::LONG, async || {
        let seen = history(1);
        let some =
            |name: &str, is: fn(f64) -> bool| series(&seen, name).iter().flatten().any(|value| is(*value));
        some("published_per_second", |rate| rate > 10.0)
            && some("dead", |dead| dead == 1.0)
            && some("backlog", |rows| rows == 0.0)
    })
    .await;
    let until = history(1)["until"].as_u64().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert!(now.abs_diff(u128::from(until)) < 60_000, "{until}");
    for (minutes, word) in [("0", "1 to 1440"), ("1441", "1 to 1440"), ("x", "a whole number")] {
        reader.get(&format!("{OUTBOX}/history?minutes={minutes}")).refused(400, &["minutes", word]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_comes_a_page_at_a_time_and_filtered() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let operator = Client::of(&relay).with(OPERATE);
    for id in ["1", "2", "3"] {
        let key = json!({ "scope": "key", "aggregate_type": "order", "aggregate_id": id });
        operator.act(&format!("{OUTBOX}/pause"), &key);
    }
    rig.relay().command(&["resume", "--everything", "--actor", "bob"]);
    let list = |query: &str| operator.json(&format!("{OUTBOX}/audit?{query}"));
    let ids = |page: &Value| -> Vec<i64> {
        page["rows"].as_array().unwrap().iter().map(|row| row["audit_id"].as_i64().unwrap()).collect()
    };
    let all = ids(&list(""));
    assert_eq!(all.len(), 6);
    let (mut walked, mut after) = (Vec::new(), String::new());
    loop {
        let page = list(&format!("limit=4&after={after}"));
        walked.extend(ids(&page));
        match page["next"].as_i64() {
            Some(next) => after = next.to_string(),
            None => break,
        }
    }
    assert_eq!(walked, all, "every entry once, the latest first");
    assert_eq!(ids(&list("actor=bob")).len(), 3);
    assert_eq!(ids(&list("action=pause&since=1h")).len(), 3);
    assert_eq!(ids(&list("since=2999-01-01T00:00:00Z")).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_by_its_name_with_what_would() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let reader = Client::of(&relay);
    let long = "x".repeat(5000);
    for (path, status, words) in [
        ("/status?payload=true", 400, &["payload", "no parameter"][..]),
        ("/dead?limit=0", 400, &["limit", "1 to 200"]),
        ("/dead?limit=201", 400, &["limit", "1 to 200"]),
        ("/dead?limit=1&limit=2", 400, &["limit", "once"]),
        ("/dead?reason=because", 400, &["reason", "because", "unroutable"]),
        ("/dead?event_id=17", 400, &["event_id", "UUID"]),
        ("/dead?since=yesterday", 400, &["since", "2026-01-31T08:00:00Z"]),
        ("/dead?route=x", 400, &["route", "aggregate_type"]),
        (&format!("/dead?aggregate_id={long}"), 400, &["aggregate_id", "4096"]),
        ("/dead?aggregate_id=%00", 400, &["aggregate_id", "NUL"]),
        ("/dead?after=x", 400, &["after"]),
        ("/dead/first", 400, &["first", "seq"]),
        ("/dead/1?payload=yes", 400, &["payload", "true or false"]),
        ("/dead/1", 404, &["no row 1"]),
        ("/dead/99999999999999999999", 400, &["99999999999999999999"]),
        ("/trace/x", 400, &["event id"]),
        ("/trace/00000000-0000-7000-8000-000000000000", 404, &["nothing is known of"]),
        ("/key?aggregate_type=order", 400, &["aggregate_id"]),
        ("/audit?since=x", 400, &["since"]),
        ("/nothing", 404, &["nothing under this path"]),
    ] {
        reader.get(&format!("{OUTBOX}{path}")).refused(status, words);
    }
    reader.get("/api/outboxes/shop/status").refused(404, &["shop", "default"]);
}
