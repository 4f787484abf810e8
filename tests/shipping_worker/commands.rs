//! The operators' commands, and how `shipments worker` is told what to do.

use serde_json::Value;
use uuid::Uuid;

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_everything_and_change_nothing_by_mistake() {
    let rig = Rig::new().await;
    let id = rig.shipment(2).await;
    let text = id.to_string();
    let shown = rig.shipments(&["show", &text, "-o", "json"]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!((&shown["state"], shown["cases"].as_array().map(Vec::len)), (&"accepted".into(), Some(2)));
    assert_eq!(shown["steps"][0]["step"], "validate_address");

    // Not without a reason, a yes, or sense.
    for (args, code) in [
        (vec!["cancel", &text], 2),
        (vec!["cancel", &text, "--reason", " "], 2),
        (vec!["cancel", &text, "--reason", "x"], 2),
        (vec!["retry", &text, "buy_label", "case/1", "--reason", "x", "--yes"], 1),
        (vec!["resolve", &text, "buy_label", "case/1", "done", "--reason", "x", "--yes"], 1),
        (vec!["resolve", &text, "buy_label", "case/1", "perhaps", "--reason", "x", "--yes"], 2),
        (vec!["retry", &text, "buy_label", "case/7", "--reason", "x", "--yes"], 1),
        (vec!["list", "--state", "lost"], 2),
    ] {
        let finished = rig.shipments(&args);
        assert_eq!(finished.code, Some(code), "{args:?}: {}{}", finished.stdout, finished.stderr);
    }
    let nobody = Uuid::new_v4().to_string();
    let missing = rig.shipments(&["show", &nobody]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("there is no shipment"), "{}", missing.stderr);

    let dry = rig.shipments(&["cancel", &text, "--reason", "x", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    assert!(dry.stdout.contains("the shipment is cancelled"), "{}", dry.stdout);
    assert_eq!(rig.state(id).await, "accepted");
    assert_eq!(rig.database.number("select count(*) from shipping.acts").await, 0);

    let cancelled = rig.shipments(&["cancel", &text, "--reason", "x", "--actor", "ada", "--yes"]);
    assert_eq!(cancelled.code, Some(0), "{}", cancelled.stderr);
    assert_eq!(rig.state(id).await, "cancelled");
    let sql = "select count(*) from shipping.acts where actor = 'ada' and action = 'cancel' and reason = 'x'";
    assert_eq!(rig.database.number(sql).await, 1);
    assert_eq!(rig.shipments(&["cancel", &text, "--reason", "x", "--yes"]).code, Some(1), "once");
    let listed = rig.shipments(&["list", "--state", "cancelled", "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed[0]["shipment_id"], text.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_lack_something_say_what() {
    let rig = Rig::new().await;
    for (args, code, says) in [
        (vec!["worker", "--only", "shipping"], 2, "the parts are"),
        (vec!["worker", "--only", "label"], 78, "SHIPMENTS_CARRIER_API_KEY"),
        (vec!["worker", "--only", "invoice"], 78, "AMQP_URL"),
        (vec!["worker", "--only", "invoice", "--amqp-url", "http://x"], 78, "AMQP_URL"),
        (vec!["worker", "--attempts", "0"], 2, "attempts"),
        (vec!["worker", "--carrier-api-key", "k", "--carrier-url", "http://example.com"], 78, "https://"),
    ] {
        let finished = rig.shipments(&args);
        assert_eq!(finished.code, Some(code), "{args:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(says), "{args:?}: {}", finished.stderr);
    }
}
