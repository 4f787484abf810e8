//! A relay that may do little in its database, and a page that may do what operators do.

use serde_json::json;

use crate::{
    client::{Client, OPERATE, OUTBOX, insert_dead, operated},
    rig::Rig,
    support::{database::finally, wait},
};

/// Roles of a test's own, which belong to the server and not to the test's database.
struct Roles {
    url: String,
    names: [String; 2],
}

impl Roles {
    async fn new(rig: &Rig) -> Self {
        let names = ["run", "operate"].map(|part| format!("page_{part}_{}", uuid::Uuid::new_v4().simple()));
        for name in &names {
            rig.database.execute(&format!("create role {name} login password 'relay'"), &[]).await;
        }
        let [run, operate] = &names;
        rig.relay().command(&["migrate", "--grant-run-to", run, "--grant-operate-to", operate]);
        Self { url: rig.database.url.clone(), names }
    }

    /// The test's database, as one of them.
    fn url(&self, index: usize) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}://{}:relay@{host}", self.names[index])
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        let (url, names) = (self.url.clone(), self.names.clone());
        finally(async move {
            let Ok(client) = crate::support::database::connect(&url).await else { return };
            for name in names {
                let _ = client.batch_execute(&format!("drop owned by {name}; drop role {name}")).await;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_act_is_named_the_cure_and_a_role_of_operators_may_do_it_all() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let roles = Roles::new(&rig).await;
    let command = operated(&rig)
        .env("DATABASE_URL", &roles.url(0))
        .env("RELAY_RETRY_FLOOR", "1h")
        .env("RELAY_RETRY_CAP", "1h");
    let words = ["permission denied", "database.operator_url", "relay migrate --grant-operate-to"];
    let (_, id) = insert_dead(&rig, "1", "placed", "{}").await;
    {
        let relay = command.ready().await;
        let operator = Client::of(&relay).with(OPERATE);
        operator.json(&format!("{OUTBOX}/status"));
        operator.json(&format!("{OUTBOX}/dead"));
        operator.get(&format!("{OUTBOX}/audit")).refused(403, &words);
        operator.post(&format!("{OUTBOX}/dead/replay"), &json!({ "event_ids": [id] })).refused(403, &words);
        operator.post(&format!("{OUTBOX}/pause"), &json!({ "scope": "all" })).refused(403, &words);
    }
    let relay = command.env("RELAY_DATABASE_OPERATOR_URL", &roles.url(1)).ready().await;
    let operator = Client::of(&relay).with(OPERATE);
    let seq = rig.database.insert("2", "lost").await;
    rig.database.insert("2", "placed").await;
    wait::until("its key waits", wait::LONG, async || rig.database.state(seq + 1).await.state == "held")
        .await;
    for path in ["/status", "/dead", "/pauses", "/audit", "/key?aggregate_type=order&aggregate_id=2"] {
        operator.json(&format!("{OUTBOX}{path}"));
    }
    for path in [format!("/dead/{id}?payload=true"), format!("/trace/{id}")] {
        operator.json(&format!("{OUTBOX}{path}"));
    }
    let act = |path: &str, body| operator.act(&format!("{OUTBOX}{path}"), &body);
    let paused = act("/pause", json!({ "scope": "key", "aggregate_type": "order", "aggregate_id": "9" }));
    assert_eq!(act("/resume", json!({ "pause_ids": [paused["pause_id"]] }))["pauses"], 1);
    let key = json!({ "aggregate_type": "order", "aggregate_id": "2", "head_seq": seq });
    assert_eq!(act("/key/skip", key)["behind"], 1);
    assert_eq!(act("/dead/replay", json!({ "event_ids": [id] }))["done"], 1);
    wait::until("all goes on", wait::LONG, async || rig.database.published().await == 2).await;
    let (_, other) = insert_dead(&rig, "3", "placed", "{}").await;
    assert_eq!(act("/dead/discard", json!({ "event_ids": [other], "note": "n" }))["done"], 1);
    assert_eq!(operator.json(&format!("{OUTBOX}/audit"))["rows"].as_array().unwrap().len(), 5);
    let (_, edited) = insert_dead(&rig, "4", "placed", "{}").await;
    let payload = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{edited}.json"));
    std::fs::write(&payload, "{\"mended\": true}").unwrap();
    let by_hand = rig.relay().env("DATABASE_URL", &roles.url(1));
    by_hand.command(&["dlq", "edit", &edited, "--payload", payload.to_str().unwrap()]);
    std::fs::remove_file(&payload).unwrap();
    for denied in [
        "delete from relay.outbox",
        "update relay.outbox set published_at = now()",
        "update relay.audit set actor = 'x'",
        "delete from relay.audit",
        "update relay.lanes set owner = null",
    ] {
        let session = crate::support::database::connect(&roles.url(1)).await.unwrap();
        let error = session.execute(denied, &[]).await.expect_err(denied);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{denied}");
    }
}
