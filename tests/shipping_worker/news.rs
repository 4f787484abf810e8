//! What the carrier tells by webhook, as the API stores it.

use relay::shipping::{roles::Part, step::Step};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{rig::Rig, support::wait};

/// As the API does it: the event and the word of it in one transaction.
async fn received(rig: &Rig, event: &Value) {
    let id = event["id"].as_str().unwrap();
    let sql = "with stored as (insert into shipping.carrier_events (event_id, body) values ($1::text, $2) returning event_id)
               select relay.enqueue('carrier', event_id, 'event_received', '{}') from stored";
    rig.database.execute(sql, &[&id, &event.to_string().into_bytes()]).await;
}

async fn result(rig: &Rig, id: &str) -> String {
    wait::found(&format!("the result of {id}"), wait::LONG, async || {
        let sql = "select result from shipping.carrier_events where event_id = $1";
        rig.database.query(sql, &[&id]).await[0].get::<_, Option<String>>(0)
    })
    .await
}

async fn carrier_id(rig: &Rig, id: Uuid) -> String {
    let sql = "select carrier_shipment_id from shipping.cases where shipment_id = $1 and case_no = 1";
    rig.database.query(sql, &[&id]).await[0].get(0)
}

fn tracking(id: &str, shipment: &str, status: &str) -> Value {
    json!({"id": id, "description": "tracker.updated",
           "result": {"id": "trk_1", "status": status, "tracking_code": "9400", "shipment_id": shipment}})
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_a_parcel_never_moves_it_back() {
    let rig = Rig::new().await;
    // With the grants of the part alone.
    let url = rig.url_of(Part::Tracking).await;
    let _worker = rig.worker().env("SHIPMENTS_TRACKING_DATABASE_URL", &url).ready().await;
    let id = rig.shipment(1).await;
    rig.wait_state(id, "shipped").await;
    let shipment = carrier_id(&rig, id).await;
    let version = async || {
        let sql = "select version from shipping.shipments where shipment_id = $1";
        rig.database.query(sql, &[&id]).await[0].get::<_, i64>(0)
    };
    let before = version().await;
    for (event, status, expected, shows) in [
        ("evt_1", "pre_transit", "applied", "pre_transit"),
        ("evt_2", "out_for_delivery", "applied", "out_for_delivery"),
        ("evt_3", "in_transit", "old news", "out_for_delivery"),
        ("evt_4", "delivered", "applied", "delivered"),
        ("evt_5", "out_for_delivery", "old news", "delivered"),
        ("evt_6", "beamed_up", "old news", "delivered"),
    ] {
        received(&rig, &tracking(event, &shipment, status)).await;
        assert_eq!(result(&rig, event).await, expected, "{event}");
        let sql = "select tracking_status from shipping.cases";
        assert_eq!(rig.database.query(sql, &[]).await[0].get::<_, String>(0), shows, "{event}");
    }
    assert!(version().await > before, "whoever asks by ETag hears of it");
    for (event, expected) in [
        (tracking("evt_7", "shp_somebody", "delivered"), "no shipment of ours"),
        (json!({"id": "evt_8", "description": "batch.created", "result": {}}), "ignored: batch.created"),
        (json!({"id": "evt_9", "description": "tracker.updated", "result": {}}), "not understood"),
    ] {
        received(&rig, &event).await;
        let result = result(&rig, event["id"].as_str().unwrap()).await;
        assert!(result.contains(expected), "{result}");
    }
    // What the carrier has can't be called back.
    let cancelled = rig.shipments(&["cancel", &id.to_string(), "--reason", "x", "--yes"]);
    assert_eq!(cancelled.code, Some(1));
    assert!(cancelled.stderr.contains("can't be cancelled"), "{}", cancelled.stderr);
    rig.drop_role(Part::Tracking).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_is_told_is_believed_without_asking() {
    let rig = Rig::new().await;
    let _worker = rig.worker().env("SHIPMENTS_CARRIER_REFUND_POLL", "2s").ready().await;
    let id = rig.shipment(1).await;
    rig.wait_state(id, "shipped").await;
    rig.sim.script(r#"{"refunds": {"after_ms": 3600000}}"#).await;
    rig.cancel(id).await;
    wait::until("the refund is submitted", wait::LONG, async || {
        rig.database.number("select count(*) from shipping.cases where refund = 'submitted'").await == 1
    })
    .await;
    let shipment = carrier_id(&rig, id).await;
    let event = json!({"id": "evt_1", "description": "refund.successful",
                       "result": {"id": "rfnd_1", "shipment_id": shipment, "status": "refunded"}});
    received(&rig, &event).await;
    assert_eq!(result(&rig, "evt_1").await, "applied");
    rig.wait_state(id, "cancelled").await;
    rig.wait_entry(id, Step::BuyLabel, "case/1", "compensated").await;
}
