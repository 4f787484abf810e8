//! Pausing, resuming, skipping and releasing: as by the command line, with the same entries in the audit.

use serde_json::{Value, json};

use crate::{
    client::{Client, OPERATE, OUTBOX, audit, insert_dead, operated},
    rig::Rig,
    support::wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_waits_and_goes_out_when_that_ends_audited_as_the_command_lines() {
    let rig = Rig::new().await;
    let command = operated(&rig);
    let relay = command.ready().await;
    let operator = Client::of(&relay).with(OPERATE);
    let (pause, resume) = (format!("{OUTBOX}/pause"), format!("{OUTBOX}/resume"));
    let exchange = rig.broker.exchange.as_str();
    for (body, args) in [
        (json!({ "scope": "all" }), vec!["--all"]),
        (json!({ "scope": "route", "routing_key": "order.*" }), vec!["--routing-key", "order.*"]),
        (json!({ "scope": "route", "exchange": exchange }), vec!["--exchange", exchange]),
        (
            json!({ "scope": "key", "aggregate_type": "order", "aggregate_id": "k/1" }),
            vec!["--key", "order/k/1"],
        ),
    ] {
        let mut body = body;
        body["note"] = json!("the broker moves");
        let paused = operator.act(&pause, &body);
        assert_eq!(paused["already"], false);
        assert_eq!(operator.act(&pause, &body), json!({ "pause_id": paused["pause_id"], "already": true }));
        let end = json!({ "pause_ids": [paused["pause_id"]], "note": "moved" });
        assert_eq!(operator.act(&resume, &end), json!({ "pauses": 1, "keys": 0, "left": 0 }));
        let signed =
            |verb, note| [vec![verb], args.clone(), vec!["--note", note, "--actor", "page:Ann"]].concat();
        rig.relay().command(&signed("pause", "the broker moves"));
        rig.relay().command(&signed("resume", "moved"));
        let mut entries = audit(&rig);
        entries.truncate(4);
        for entry in &mut entries {
            let filter = entry["filter"].as_object_mut().unwrap();
            assert!(filter.remove("pause_id").is_some(), "{filter:?}");
        }
        assert_eq!(entries[0], entries[2], "resume");
        assert_eq!(entries[1], entries[3], "pause");
        assert_eq!((&entries[0]["action"], &entries[1]["action"]), (&json!("resume"), &json!("pause")));
    }
    operator.act(&pause, &json!({ "scope": "route", "routing_key": "order.placed" }));
    relay.wait_metric("relay_paused", &["scope=\"route\""], wait::LONG, |pauses| pauses == 1.0).await;
    rig.database.insert_many(10, 5).await;
    wait::until("they wait", wait::LONG, async || {
        rig.database.number("select count(*) from relay.held_keys where paused_by is not null").await == 5
    })
    .await;
    assert_eq!(operator.json(&format!("{OUTBOX}/status"))["relay"]["paused"], true);
    let resumed = operator.act(&resume, &json!({ "everything": true }));
    assert_eq!(resumed, json!({ "pauses": 1, "keys": 5, "left": 0 }));
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_on_without_its_head_if_that_is_the_one_that_was_seen() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let command = operated(&rig).env("RELAY_RETRY_FLOOR", "1h").env("RELAY_RETRY_CAP", "1h");
    let relay = command.ready().await;
    let operator = Client::of(&relay).with(OPERATE);
    let mut heads = Vec::new();
    for id in ["ours", "theirs"] {
        heads.push(rig.database.insert(id, "lost").await);
        rig.database.insert(id, "placed").await;
    }
    let held = "select count(*) from relay.outbox where state = 'held'";
    wait::until("both keys are held", wait::LONG, async || rig.database.number(held).await == 2).await;
    let body = |id: &str, seq: i64| json!({ "aggregate_type": "order", "aggregate_id": id, "head_seq": seq, "note": "n" });
    let (skip, release) = (format!("{OUTBOX}/key/skip"), format!("{OUTBOX}/key/release"));
    operator.post(&skip, &body("ours", heads[1])).refused(409, &["moved on"]);
    operator.post(&skip, &body("nobody", 1)).refused(409, &["moved on"]);
    operator.post(&release, &body("ours", heads[0])).refused(409, &["retrying", "skip it"]);
    let skipped = operator.act(&skip, &body("ours", heads[0]));
    let id = rig.database.event_id(heads[0]).await;
    assert_eq!(skipped, json!({ "action": "skip", "head_seq": heads[0], "event_id": id, "behind": 1 }));
    rig.relay().command(&["key", "skip", "order/theirs", "--yes", "--note", "n", "--actor", "page:Ann"]);
    wait::until("both go on", wait::LONG, async || rig.database.published().await == 2).await;
    let [theirs, mut ours] = <[Value; 2]>::try_from(audit(&rig)).unwrap();
    assert_eq!((&ours["action"], &ours["filter"]["seq"]), (&json!("skip"), &json!(heads[0])));
    ours["filter"] = theirs["filter"].clone();
    assert_eq!(ours, theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_key_is_released_and_its_head_stays_dead() {
    let rig = Rig::new().await;
    let mut heads = Vec::new();
    for id in ["ours", "theirs"] {
        let (seq, _) = insert_dead(&rig, id, "placed", "{}").await;
        let park = "insert into relay.held_keys (aggregate_type, aggregate_id, lane, head_seq, reason)
                    select 'order', $1, lane, seq, 'parked' from relay.outbox where seq = $2";
        rig.database.execute(park, &[&id, &seq]).await;
        let behind = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, state)
                      values ('order', $1, 'placed', '{}', 'held')";
        rig.database.execute(behind, &[&id]).await;
        heads.push(seq);
    }
    // It learns of keys held by others when it is given their lanes.
    let relay = operated(&rig).ready().await;
    let operator = Client::of(&relay).with(OPERATE);
    let key = operator.json(&format!("{OUTBOX}/key?aggregate_type=order&aggregate_id=ours"));
    assert_eq!(
        (&key["reason"], &key["way_on"], &key["behind"]),
        (&json!("parked"), &json!("release"), &json!(1))
    );
    let body = json!({ "aggregate_type": "order", "aggregate_id": "ours", "head_seq": heads[0] });
    operator.post(&format!("{OUTBOX}/key/skip"), &body).refused(409, &["parked", "release it"]);
    let released = operator.act(&format!("{OUTBOX}/key/release"), &body);
    assert_eq!((&released["action"], &released["behind"]), (&json!("release"), &json!(1)));
    rig.relay().command(&["key", "release", "order/theirs", "--yes", "--actor", "page:Ann"]);
    wait::until("both go on", wait::LONG, async || rig.database.published().await == 2).await;
    assert_eq!(rig.database.state(heads[0]).await.dead_reason.as_deref(), Some("unroutable"));
    let [theirs, mut ours] = <[Value; 2]>::try_from(audit(&rig)).unwrap();
    ours["filter"] = theirs["filter"].clone();
    assert_eq!(ours, theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_that_makes_no_sense_does_nothing_and_says_what_would() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let operator = Client::of(&relay).with(OPERATE);
    let (_, id) = insert_dead(&rig, "1", "placed", "{}").await;
    let many: Vec<_> = (0..501).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    let long = "x".repeat(256);
    for (path, body, status, words) in [
        ("/dead/replay", json!({}), 400, &["event_ids"][..]),
        ("/dead/replay", json!({ "event_ids": [] }), 400, &["event_ids", "1 to 500"]),
        ("/dead/replay", json!({ "event_ids": many }), 400, &["501", "1 to 500"]),
        ("/dead/replay", json!({ "event_ids": ["x"] }), 400, &["event_ids[0]"]),
        ("/dead/replay", json!({ "event_ids": [id], "seqs": [1] }), 400, &["seqs"]),
        ("/dead/replay", json!({ "event_ids": [id], "note": "x".repeat(5000) }), 400, &["note", "4096"]),
        ("/pause", json!({}), 400, &["scope"]),
        ("/pause", json!({ "scope": "some" }), 400, &["some"]),
        ("/pause", json!({ "scope": "route" }), 400, &["exchange", "routing_key"]),
        ("/pause", json!({ "scope": "route", "routing_key": "" }), 400, &["routing_key", "1 to 255"]),
        ("/pause", json!({ "scope": "key", "aggregate_type": "order" }), 400, &["aggregate_id"]),
        (
            "/pause",
            json!({ "scope": "key", "aggregate_type": "order", "aggregate_id": long }),
            400,
            &["aggregate_id"],
        ),
        ("/resume", json!({}), 400, &["pause_ids", "everything"]),
        ("/resume", json!({ "pause_ids": [7], "everything": true }), 400, &["pause_ids", "everything"]),
        ("/resume", json!({ "pause_ids": [7] }), 404, &["no such pause"]),
        ("/key/skip", json!({ "aggregate_type": "order" }), 400, &["aggregate_id"]),
        ("/nothing", json!({}), 404, &["nothing"]),
    ] {
        operator.post(&format!("{OUTBOX}{path}"), &body).refused(status, words);
    }
    let json = [("Content-Type", "application/json"), ("X-Relay-Actor", "Ann")];
    for body in ["", "{", "[]", "null", "{} {}", "\"x\"", "{\"event_ids\": \"\\ud800\"}"] {
        operator
            .send("POST", &format!("{OUTBOX}/dead/replay"), &json, Some(body))
            .refused(400, &["the body"]);
    }
    for method in ["PUT", "DELETE", "PATCH"] {
        let sent = operator.send(method, &format!("{OUTBOX}/dead/replay"), &json, Some("{}"));
        assert_eq!(sent.status, 405, "{method}");
    }
    assert_eq!(operator.get(&format!("{OUTBOX}/pause")).status, 405, "looking changes nothing");
    assert_eq!(audit(&rig), Vec::<Value>::new());
}
