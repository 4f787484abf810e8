//! All goes well.

use crate::{
    rig::Rig,
    support::{relay::RelayProcess, wait},
};
use relay::shipping::roles::Part;

#[tokio::test(flavor = "multi_thread")]
async fn shipments_are_shipped_billed_and_kept_account_of() {
    let rig = Rig::new().await;
    let mut worker = rig.worker().ready().await;
    rig.order("17").await;
    let mut ids = Vec::new();
    for cases in [1, 2, 3, 4] {
        ids.push(rig.accept("17", cases, crate::rig::GOOD).await);
    }
    for id in &ids {
        rig.wait_state(*id, "shipped").await;
    }
    rig.check().await;
    assert_eq!(rig.sold().await, 10);
    let sql = "select state || ' ' || (select string_agg(shipped::text, ',') from shipping.order_lines) from shipping.orders";
    assert_eq!(rig.database.query(sql, &[]).await[0].get::<_, String>(0), "fulfilled 100");
    // As the carrier writes it, and the code of the first case.
    let sql = "select count(*) from shipping.shipments s join shipping.cases c using (shipment_id)
               where c.case_no = 1 and s.tracking_code = c.tracking_code and s.verified_to ->> 'city' = 'SPRINGFIELD'";
    assert_eq!(rig.database.number(sql).await, 4);
    wait::until("the view is as new as the order", wait::LONG, async || {
        let sql =
            "select count(*) from shipping.order_views v join shipping.orders o using (order_id, version)
                   where v.body ->> 'state' = 'fulfilled'";
        rig.database.number(sql).await == 1
    })
    .await;
    worker
        .wait_metric(
            "relay_time_to_consistency_seconds_count",
            &["consumer=\"shipments\""],
            wait::LONG,
            |count| count == 4.0,
        )
        .await;
    assert_eq!(worker.metric("relay_breaker_state", &["target=\"carrier\""]), 0.0);
    assert_eq!(worker.get("/livez").0, 200);
    assert!(worker.complaints().is_empty(), "{:?}", worker.complaints());
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_worker_alone_under_a_role_of_its_own_ships_and_cancels() {
    let rig = Rig::new().await;
    let parts = [Part::Address, Part::Label, Part::Tracking, Part::Invoice, Part::Fulfilment];
    let mut workers: Vec<RelayProcess> = Vec::new();
    for part in parts {
        let url = rig.url_of(part).await;
        let variable = format!("SHIPMENTS_{}_DATABASE_URL", part.as_str().to_uppercase());
        // The part's own variable is the one that counts.
        let worker = rig.worker().only(part.as_str()).env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/x");
        workers.push(worker.env(&variable, &url).start().await);
    }
    for worker in &workers {
        worker.wait_ready().await;
    }
    let (kept, undone) = (rig.shipment(2).await, rig.shipment(2).await);
    rig.wait_state(kept, "shipped").await;
    rig.wait_state(undone, "shipped").await;
    rig.cancel(undone).await;
    rig.wait_state(undone, "cancelled").await;
    rig.check().await;
    for worker in &mut workers {
        worker.drain().await;
    }
    drop(workers);
    for part in parts {
        rig.drop_role(part).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_belongs_to_the_trace_of_what_it_follows_from() {
    let rig = Rig::new().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    rig.relay.signal("STOP");
    let id = rig.shipment(1).await;
    let sql =
        "update relay.outbox set headers = jsonb_build_object('traceparent', $1::text) where event_type = $2";
    assert_eq!(rig.database.execute(sql, &[&trace, &"validate_address"]).await, 1);
    rig.relay.signal("CONT");
    let _worker = rig.worker().ready().await;
    rig.wait_state(id, "shipped").await;
    let sql = "select count(*) from relay.outbox
               where aggregate_type = 'shipment' and headers ->> 'traceparent' is distinct from $1
                 and event_type not in ('requested')";
    assert_eq!(rig.database.query(sql, &[&trace]).await[0].get::<_, i64>(0), 0);
}
