//! Deliveries that come twice.

use crate::{
    rig::Rig,
    support::{broker::Delivery, relay::RelayProcess, wait},
};

/// Everything that could change by a repetition.
async fn picture(rig: &Rig) -> String {
    let sql = "select (select json_agg(s order by s.shipment_id) from shipping.shipments s)::text
                   || (select json_agg(t order by t.shipment_id, t.step, t.subject) from shipping.steps t)::text
                   || (select json_agg(c order by c.shipment_id, c.case_no) from shipping.cases c)::text
                   || (select json_agg(l order by l.order_id, l.line_no) from shipping.order_lines l)::text
                   || (select count(*) from shipping.invoices)::text || (select count(*) from shipping.credit_notes)::text
                   || (select count(*) from relay.outbox)::text";
    rig.database.query(sql, &[]).await[0].get(0)
}

fn processed(worker: &RelayProcess, result: &str) -> f64 {
    let names = ["address", "label", "tracking", "invoice", "fulfilment", "order_views", "carrier_events"];
    let of = |name: &&str| {
        worker.metric(
            "relay_consumer_processed_total",
            &[&format!("consumer=\"shipping.{name}\""), &format!("result=\"{result}\"")],
        )
    };
    names.iter().map(of).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_delivery_that_comes_again_changes_nothing() {
    let rig = Rig::new().await;
    let worker = rig.worker().ready().await;
    rig.tap().await;
    let (kept, undone) = (rig.shipment(2).await, rig.shipment(1).await);
    rig.wait_state(kept, "shipped").await;
    rig.wait_state(undone, "shipped").await;
    rig.cancel(undone).await;
    rig.wait_state(undone, "cancelled").await;
    rig.check().await;
    let before = (picture(&rig).await, rig.sim.ledger().await);
    let seen = rig.broker.tapped().await;
    let consumed = |delivery: &&Delivery| {
        delivery.routing_key.starts_with("order.")
            || relay::shipping::step::Step::ALL.iter().any(|step| delivery.kind == step.as_str())
    };
    let consumed: Vec<Delivery> = seen.iter().filter(consumed).cloned().collect();
    assert!(consumed.len() > 15, "{}", consumed.len());

    // Under their ids, in another order: the inbox knows them.
    let mut backwards = consumed.clone();
    backwards.reverse();
    let done = processed(&worker, "duplicate");
    rig.publish_again(&backwards, str::to_owned).await;
    let all = consumed.len() as f64;
    wait::until("all are known", wait::LONG, async || processed(&worker, "duplicate") >= done + all).await;

    // Under others, as if the inbox had forgotten: the ledger knows them.
    let done = processed(&worker, "done");
    rig.publish_again(&backwards, |id| format!("again-{id}")).await;
    wait::until("all are done", wait::LONG, async || processed(&worker, "done") >= done + all).await;
    rig.check().await;
    assert_eq!((picture(&rig).await, rig.sim.ledger().await), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_the_work_and_do_none_of_it_twice() {
    let rig = Rig::new().await;
    let _workers = [rig.worker().ready().await, rig.worker().ready().await];
    rig.tap().await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(rig.shipment(2).await);
    }
    // While it goes on, everything comes twice.
    for _ in 0..3 {
        let seen = rig.broker.tapped().await;
        rig.publish_again(&seen, str::to_owned).await;
    }
    for id in ids {
        rig.wait_state(id, "shipped").await;
    }
    rig.check().await;
    assert_eq!(rig.sold().await, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_work_order_is_dead_lettered_and_stops_nobody() {
    let rig = Rig::new().await;
    let _worker = rig.worker().ready().await;
    rig.tap().await;
    let id = rig.shipment(1).await;
    rig.wait_state(id, "shipped").await;
    let seen = rig.broker.tapped().await;
    let order = seen.iter().find(|delivery| delivery.kind == "buy_label").expect("there was one").clone();
    let spoiled = |body: &str| Delivery { body: body.as_bytes().to_vec(), ..order.clone() };
    let nobody = String::from_utf8(order.body.clone())
        .unwrap()
        .replace(&id.to_string(), &uuid::Uuid::nil().to_string());
    for (number, body) in ["{", "{}", "[7]", nobody.as_str()].into_iter().enumerate() {
        rig.publish_again(&[spoiled(body)], |_| format!("bad-{number}")).await;
    }
    let letters = rig.broker.wait_dead_letters(4).await;
    let mut reasons: Vec<String> = letters.iter().map(|letter| letter.text("x-relay-reason")).collect();
    reasons.sort();
    assert_eq!(reasons, ["invalid_json", "no_shipment", "no_work_order", "no_work_order"]);
    let next = rig.shipment(1).await;
    rig.wait_state(next, "shipped").await;
}
