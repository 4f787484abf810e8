//! Each role does its own and nothing of the others'. That it can do its own, the lives show.

use relay::shipping::{roles::Part, step::Step};
use tokio_postgres::error::SqlState;

use crate::rig::{Rig, part_of, shipment};

/// Statements, and who may run them. Whether they then do anything does not matter.
const MATRIX: &[(&str, &[Part])] = &[
    (
        "insert into shipping.shipments (shipment_id, order_id, caller, ship_to, ship_from) values (gen_random_uuid(), '17', 'x', '{}', '{}')",
        &[Part::Api],
    ),
    (
        "insert into shipping.invoices (shipment_id, order_id, total_minor, currency) select shipment_id, order_id, 1, 'EUR' from shipping.shipments",
        &[Part::Invoice],
    ),
    (
        "insert into shipping.invoice_lines (invoice_no, line_no, sku, quantity, unit_price_minor) values (1, 1, 'x', 1, 1)",
        &[Part::Invoice],
    ),
    (
        "insert into shipping.credit_notes (invoice_no, total_minor, currency, reason) values (1, 1, 'EUR', 'x')",
        &[Part::Invoice],
    ),
    ("select from shipping.invoices", &[Part::Api, Part::Invoice]),
    ("update shipping.invoices set total_minor = 0", &[]),
    ("update shipping.cases set carrier_shipment_id = 'x'", &[Part::Label]),
    ("update shipping.cases set lost_at = now()", &[Part::Label]),
    ("delete from shipping.idempotency_keys", &[Part::Api, Part::Fulfilment]),
    ("update shipping.cases set tracking_status = 'x'", &[Part::Tracking]),
    ("update shipping.cases set reference = gen_random_uuid()", &[]),
    ("update shipping.shipments set verified_to = '{}'", &[Part::Address]),
    ("update shipping.shipments set tracking_code = 'x'", &[Part::Tracking]),
    ("update shipping.shipments set quantities = 'fulfilled'", &[Part::Fulfilment]),
    ("update shipping.shipments set ship_to = '{}'", &[]),
    ("update shipping.shipments set reason = 'x'", Part::ALL),
    ("update shipping.order_lines set shipped = 1", &[Part::Fulfilment]),
    ("update shipping.order_lines set reserved = 1", &[Part::Api, Part::Fulfilment]),
    ("update shipping.order_lines set ordered = 9", &[Part::Api]),
    ("update shipping.orders set state = 'fulfilled'", &[Part::Api, Part::Fulfilment]),
    ("insert into shipping.order_views (order_id, version, body) values ('x', 1, '{}')", &[Part::Fulfilment]),
    ("select secret from shipping.webhook_endpoints", &[Part::Api, Part::Notify]),
    ("select mail from shipping.parties", &[Part::Api, Part::Notify]),
    ("update shipping.webhook_endpoints set url = 'https://x'", &[Part::Api]),
    (
        "update shipping.webhook_endpoints set disabled_at = now(), disabled_reason = 'x'",
        &[Part::Api, Part::Notify],
    ),
    ("update shipping.notifications set state = 'sent', finished_at = now()", &[Part::Notify]),
    ("update shipping.deliveries set attempts = 1", &[Part::Notify]),
    ("select body from shipping.idempotency_keys", &[Part::Api]),
    ("insert into shipping.carrier_events (event_id, body) values ('e', '{}')", &[Part::Api]),
    ("update shipping.carrier_events set applied_at = now(), result = 'x'", &[Part::Tracking]),
    ("insert into shipping.acts (actor, action, reason) values ('a', 'cancel', 'x')", &[Part::Api]),
    ("update shipping.acts set reason = 'y'", &[]),
    ("delete from shipping.shipments", &[]),
    ("delete from shipping.steps", &[]),
    ("create table shipping.mine ()", &[]),
    ("select shipping.release(shipment_id) from shipping.shipments", Part::ALL),
    ("select relay.enqueue('shipment', 'x', 'y', '{}')", Part::ALL),
    ("select payload from relay.outbox", &[]),
    ("update relay.outbox set published_at = now()", &[]),
];

#[tokio::test]
async fn each_role_can_do_its_own_and_nothing_of_the_others() {
    let mut rig = Rig::new().await;
    rig.order().await;
    rig.accept(&shipment(1, 1, 1), None).await.unwrap();
    for part in Part::ALL {
        let session = rig.part(*part).await;
        let allowed = async |sql: &str| {
            let error = session.batch_execute(&format!("begin; {sql}; rollback")).await.err();
            session.batch_execute("rollback").await.unwrap();
            error.is_none_or(|error| error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE))
        };
        for (sql, who) in MATRIX {
            assert_eq!(allowed(sql).await, who.contains(part), "{part}: {sql}");
        }
        for step in Step::ALL {
            let own = part_of(*step) == *part;
            let begin =
                format!("update shipping.steps set state = 'running', asked = true where step = '{step}'");
            assert_eq!(allowed(&begin).await, own, "{part} begins {step}");
            let skip =
                format!("update shipping.steps set state = 'skipped', asked = false where step = '{step}'");
            assert!(allowed(&skip).await, "{part} skips {step}");
        }
    }
    rig.end().await;
}
