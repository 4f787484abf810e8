//! Dead rows: found, shown, replayed and discarded as by the command line, with the same entries in the audit.

use serde_json::{Value, json};

use crate::{
    client::{Client, OPERATE, OUTBOX, audit, insert_dead, operated},
    rig::Rig,
    support::wait,
};

fn seqs(page: &Value) -> Vec<i64> {
    page["rows"].as_array().unwrap().iter().map(|row| row["seq"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_rows_are_found_by_every_filter_and_come_a_page_at_a_time() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let reader = Client::of(&relay);
    let mut all = Vec::new();
    for index in 0..5 {
        all.push(insert_dead(&rig, &format!("a{}", index % 2), &format!("kind{}", index % 3), "{}").await);
    }
    let seq = |index: usize| all[index].0;
    let find = |query: &str| seqs(&reader.json(&format!("{OUTBOX}/dead?{query}")));
    assert_eq!(find("").len(), 5);
    assert_eq!(find("aggregate_id=a1"), [seq(1), seq(3)]);
    assert_eq!(find("event_type=kind2&aggregate_type=order"), [seq(2)]);
    assert_eq!(find(&format!("event_id={}&event_id={}", all[4].1, all[0].1)), [seq(0), seq(4)]);
    assert_eq!(find("reason=unroutable").len(), 5);
    assert!(find("reason=refused").is_empty());
    assert_eq!((find("since=1h").len(), find("until=1h").len()), (5, 0));
    let (mut walked, mut after) = (Vec::new(), json!(0));
    while !after.is_null() {
        let page = reader.json(&format!("{OUTBOX}/dead?limit=2&after={after}"));
        walked.extend(seqs(&page));
        after = page["next"].clone();
    }
    assert_eq!(walked, find(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn replaying_publishes_the_row_again_and_is_audited_as_the_command_lines() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let operator = Client::of(&relay).with(OPERATE);
    let (seq, id) = insert_dead(&rig, "1", "placed", "{\"n\": 1}").await;
    let (other, by_hand) = insert_dead(&rig, "2", "placed", "{}").await;
    let done =
        operator.act(&format!("{OUTBOX}/dead/replay"), &json!({ "event_ids": [id, id], "note": " mended " }));
    assert_eq!(
        done,
        json!({ "action": "replay", "matched": 1, "done": 1, "complete": true, "stale_letters_removed": 0, "beyond_horizon": 0 })
    );
    rig.database.wait_published(seq).await;
    let delivered = rig.broker.tapped().await;
    assert_eq!(delivered.iter().map(|message| message.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
    let command = ["replay-dlq", "--event-id", &by_hand, "--yes", "--note", "mended", "--actor", "page:Ann"];
    rig.relay().command(&command);
    rig.database.wait_published(other).await;
    let [mut ours, theirs] = <[Value; 2]>::try_from(audit(&rig)).unwrap();
    assert_eq!(ours["filter"], json!({ "event_ids": [by_hand] }));
    ours["filter"]["event_ids"] = json!([id]);
    assert_eq!(ours, theirs);
    // It is no dead row any more.
    let again = operator.act(&format!("{OUTBOX}/dead/replay"), &json!({ "event_ids": [id] }));
    assert_eq!((&again["matched"], &again["done"]), (&json!(0), &json!(0)));
    assert_eq!(audit(&rig).len(), 2, "nothing was done");
    let log = relay.log();
    assert!(log.contains("page:Ann replayed 1 dead rows"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn discarding_takes_a_reason_and_is_audited_as_the_command_lines() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let operator = Client::of(&relay).with(OPERATE);
    let (seq, id) = insert_dead(&rig, "1", "placed", "{}").await;
    let (_, by_hand) = insert_dead(&rig, "2", "placed", "{}").await;
    let path = format!("{OUTBOX}/dead/discard");
    for body in [json!({ "event_ids": [id] }), json!({ "event_ids": [id], "note": "  " })] {
        operator.post(&path, &body).refused(400, &["note", "say why"]);
    }
    assert_eq!(seqs(&operator.json(&format!("{OUTBOX}/dead"))).len(), 2);
    let done = operator.act(&path, &json!({ "event_ids": [id], "note": "a test order" }));
    assert_eq!((&done["action"], &done["done"]), (&json!("discard"), &json!(1)));
    let command =
        ["dlq", "discard", "--event-id", &by_hand, "--yes", "--note", "a test order", "--actor", "page:Ann"];
    rig.relay().command(&command);
    let [mut ours, theirs] = <[Value; 2]>::try_from(audit(&rig)).unwrap();
    ours["filter"]["event_ids"] = json!([id]);
    assert_eq!(ours, theirs);
    assert_eq!(ours["note"], "a test order");
    assert!(seqs(&operator.json(&format!("{OUTBOX}/dead"))).is_empty());
    let steps = operator.json(&format!("{OUTBOX}/trace/{seq}"));
    let last = steps.as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["who"], &last["what"]), (&json!("page:Ann"), &json!("discarded")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_letter_of_a_replayed_row_leaves_the_dead_letter_queue() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let relay = operated(&rig).env("RELAY_RETRY_MAX_ATTEMPTS", "1").ready().await;
    let operator = Client::of(&relay).with(OPERATE);
    let seq = rig.database.insert("1", "lost").await;
    wait::until("it is dead", wait::LONG, async || rig.database.state(seq).await.dead_reason.is_some()).await;
    let dead = operator.json(&format!("{OUTBOX}/dead"));
    rig.broker.bind(&rig.broker.tap, &rig.broker.exchange, "order.lost").await;
    let ids = json!({ "event_ids": [dead["rows"][0]["event_id"]] });
    let done = operator.act(&format!("{OUTBOX}/dead/replay"), &ids);
    assert_eq!(done["stale_letters_removed"], 1, "{done}");
    rig.database.wait_published(seq).await;
    assert_eq!(rig.broker.drain(&rig.broker.dead_letter_queue).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_no_browser_could_show_stays_where_it_is() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let reader = Client::of(&relay);
    let large = json!({ "text": "x".repeat(1 << 20) }).to_string();
    let (seq, _) = insert_dead(&rig, "1", "placed", &large).await;
    assert_eq!(reader.json(&format!("{OUTBOX}/dead/{seq}"))["seq"], seq);
    let words = ["1048576", &format!("relay dlq show --payload {seq}")];
    reader.get(&format!("{OUTBOX}/dead/{seq}?payload=true")).refused(413, &words);
    // Markup is data like any other, and never sent as anything but JSON.
    let (seq, _) = insert_dead(&rig, "2", "placed", r#"{"html": "<script>alert(1)</script>"}"#).await;
    let shown = reader.get(&format!("{OUTBOX}/dead/{seq}?payload=true"));
    assert_eq!(shown.headers["content-type"], "application/json");
    assert_eq!(shown.json()["payload"]["html"], "<script>alert(1)</script>");
}
