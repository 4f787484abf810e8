//! What nobody drives: work orders that die, get lost, or wait for a worker that is not there.

use relay::shipping::step::Step;

use crate::{rig::Rig, support::wait};

#[tokio::test(flavor = "multi_thread")]
async fn a_work_order_that_dies_leaves_a_shipment_that_needs_attention() {
    let rig = Rig::new().await;
    let session = rig.database.session().await;
    session
        .batch_execute(
            "create function shipping.broken() returns trigger language plpgsql as $$ begin raise exception 'out of ink'; end $$;
             create trigger broken before insert on shipping.invoices for each row execute function shipping.broken()",
        )
        .await
        .unwrap();
    let _worker = rig.worker().ready().await;
    let id = rig.shipment(1).await;
    rig.wait_state(id, "needs_attention").await;
    let letters = rig.broker.wait_dead_letters(1).await;
    assert_eq!(letters[0].text("x-relay-consumer"), "shipping.invoice");
    let error = rig.entry(id, Step::CreateInvoice, "shipment", "last_error").await;
    assert!(error.contains("exhausted") && error.contains(&letters[0].id), "{error}");
    session.batch_execute("drop trigger broken on shipping.invoices").await.unwrap();
    let retry = ["retry", &id.to_string(), "create_invoice", "shipment", "--reason", "new ink", "--yes"];
    assert_eq!(rig.shipments(&retry).code, Some(0));
    rig.wait_state(id, "shipped").await;
    rig.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_order_that_got_lost_is_sent_again() {
    let rig = Rig::new().await;
    // The queue is there, and then it is emptied by somebody.
    let mut worker = rig.worker().ready().await;
    worker.drain().await;
    let id = rig.shipment(1).await;
    rig.database.wait_finished(wait::LONG).await;
    rig.broker.purge(&rig.queue("address")).await;
    let _worker = rig.worker().env("SHIPMENTS_SWEEP_AFTER", "1s").ready().await;
    rig.wait_state(id, "shipped").await;
    let task: i64 = rig.entry(id, Step::ValidateAddress, "shipment", "task").await.parse().unwrap();
    assert!(task >= 2, "{task}");
    rig.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_whose_time_is_up_are_forgotten() {
    let rig = Rig::new().await;
    let sql = "insert into shipping.idempotency_keys (caller, key, fingerprint, status, body, created_at, expires_at)
               select 'a', k, decode(repeat('00', 32), 'hex'), 202, '', now() - interval '2 days', now() + k::interval
               from unnest(array['-1 day', '1 day']) k";
    rig.database.execute(sql, &[]).await;
    let url = rig.url_of(relay::shipping::roles::Part::Fulfilment).await;
    let worker = rig.worker().only("fulfilment").env("SHIPMENTS_SWEEP_AFTER", "1s");
    let _worker = worker.env("DATABASE_URL", &url).ready().await;
    wait::until("the old one is gone", wait::LONG, async || {
        rig.database.number("select count(*) from shipping.idempotency_keys").await == 1
    })
    .await;
    let sql = "select key from shipping.idempotency_keys";
    assert_eq!(rig.database.query(sql, &[]).await[0].get::<_, String>(0), "1 day");
    rig.drop_role(relay::shipping::roles::Part::Fulfilment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_waits_for_a_worker_that_is_not_there() {
    let rig = Rig::new().await;
    let mut all = rig.worker().ready().await;
    all.drain().await;
    let _some = rig.worker().only("validate_address,label,tracking").ready().await;
    let id = rig.shipment(1).await;
    rig.wait_entry(id, Step::RecordTracking, "shipment", "succeeded").await;
    assert_eq!(rig.state(id).await, "shipping");
    let _others = rig.worker().only("invoice,fulfilment").ready().await;
    rig.wait_state(id, "shipped").await;
    rig.check().await;
}
