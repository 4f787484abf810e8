//! Shipments, where shipping's tables are beside the outbox.

use serde_json::{Value, json};

use crate::{
    client::{Client, OUTBOX, operated},
    rig::Rig,
    shipping_rig::{self, shipment},
    support::{
        broker::Broker,
        relay::{Relay, finish_of},
        servers,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn a_shipment_is_shown_with_its_ledger_as_the_command_line_prints_it() {
    let mut rig = shipping_rig::Rig::new().await;
    rig.order().await;
    let new = shipment(1, 2, 1);
    rig.accept(&new, None).await.unwrap();
    let broker = Broker::new(servers::shared()).await;
    let relay = Relay::between(&rig.db, &broker).ready().await;
    let reader = Client::of(&relay);
    assert_eq!(reader.json("/api/session")["shipping"], true);
    let printed = |args: &[&str]| -> Value {
        let done = finish_of(env!("CARGO_BIN_EXE_shipments"), args, &[("DATABASE_URL", &rig.db.url)]);
        assert_eq!(done.code, Some(0), "{done:?}");
        serde_json::from_str(&done.stdout).unwrap()
    };
    let id = new.shipment_id.to_string();
    let sheet = reader.json(&format!("{OUTBOX}/shipments/{id}"));
    assert_eq!(sheet, printed(&["show", &id, "-o", "json"]));
    assert!(
        sheet["steps"].as_array().unwrap().len() > 4 && sheet["cases"].as_array().unwrap().len() == 1,
        "{sheet}"
    );
    for query in ["", "?order=17", "?state=accepted", "?state=shipping"] {
        let mut listed = reader.json(&format!("{OUTBOX}/shipments{query}"));
        let mut args = vec!["list", "-o", "json"];
        match query {
            "?order=17" => args.extend(["--order", "17"]),
            "?state=accepted" => args.extend(["--state", "accepted"]),
            "?state=shipping" => args.extend(["--state", "shipping"]),
            _ => {}
        }
        let mut expected = printed(&args);
        for row in listed["rows"].as_array_mut().unwrap().iter_mut().chain(expected.as_array_mut().unwrap()) {
            row.as_object_mut().unwrap().remove("unchanged_seconds");
        }
        assert_eq!(listed, json!({ "rows": expected }), "{query}");
    }
    let other = uuid::Uuid::new_v4();
    reader.get(&format!("{OUTBOX}/shipments/{other}")).refused(404, &["there is no shipment"]);
    reader.get(&format!("{OUTBOX}/shipments/17")).refused(400, &["17", "shipments?order="]);
    reader.get(&format!("{OUTBOX}/shipments?state=lost")).refused(400, &["state", "needs_attention"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_shippings_tables_the_page_says_so() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let reader = Client::of(&relay);
    assert_eq!(reader.json("/api/session")["shipping"], false);
    for path in [format!("/shipments/{}", uuid::Uuid::new_v4()), "/shipments".to_owned()] {
        reader.get(&format!("{OUTBOX}{path}")).refused(404, &["shipping's tables are not in this database"]);
    }
    assert_eq!(reader.get(&format!("{OUTBOX}/status")).status, 200, "its session is as good as ever");
}
