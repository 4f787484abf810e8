//! The account: what the carrier's ledger says against what the tables say. Empty when they agree.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    rig::Rig,
    sim::{created, succeeded},
    support::database::Database,
};

/// What does not agree, once all is quiet.
pub async fn violations(database: &Database, ledger: &Value) -> Vec<String> {
    let mut wrong = carrier(database, ledger).await;
    for (what, sql) in TABLES {
        for row in database.query(sql, &[]).await {
            wrong.push(format!("{what}: {}", row.get::<_, String>(0)));
        }
    }
    wrong
}

/// Queries that return nothing unless something is wrong.
const TABLES: &[(&str, &str)] = &[
    (
        "shipped without one invoice, or with a credit note",
        "select s.shipment_id::text from shipping.shipments s
         left join shipping.invoices i using (shipment_id) left join shipping.credit_notes n using (invoice_no)
         where s.state = 'shipped' and (i.invoice_no is null or n.invoice_no is not null)",
    ),
    (
        "undone with a bill that stands",
        "select s.shipment_id::text from shipping.shipments s join shipping.invoices i using (shipment_id)
         where s.state in ('cancelled', 'failed')
           and not exists (select from shipping.credit_notes n where n.invoice_no = i.invoice_no)",
    ),
    (
        "quantities of a line are not those of its shipments",
        "select l.order_id || '/' || l.line_no from shipping.order_lines l
         left join (select c.order_id, c.line_no,
                           sum(c.quantity) filter (where s.quantities = 'reserved') as reserved,
                           sum(c.quantity) filter (where s.quantities = 'fulfilled') as shipped
                    from shipping.case_lines c join shipping.shipments s using (shipment_id) group by 1, 2) c
              using (order_id, line_no)
         where l.reserved <> coalesce(c.reserved, 0) or l.shipped <> coalesce(c.shipped, 0)",
    ),
    ("a work order is out", "select shipment_id || ' ' || step from shipping.steps where asked"),
    ("a message is unfinished", "select message_id from relay.inbox where state not in ('done', 'dead')"),
    ("an event was never published", "select event_id::text from relay.outbox where published_at is null"),
    (
        "a shipment neither rests nor moves",
        "select shipment_id::text from shipping.shipments
         where state not in ('shipped', 'cancelled', 'failed', 'needs_attention')",
    ),
];

/// Case by case: at most one label was sold for it, the tables know it, and it is refunded if the shipment is undone.
async fn carrier(database: &Database, ledger: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut labels: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for label in ledger["labels"].as_array().expect("a list") {
        labels.entry(label["reference"].as_str().unwrap_or_default().to_owned()).or_default().push(label);
    }
    let sql =
        "select c.reference::text, c.carrier_shipment_id, c.tracking_code, c.cost_minor, c.refund, s.state
               from shipping.cases c join shipping.shipments s using (shipment_id)";
    for row in database.query(sql, &[]).await {
        let reference: String = row.get(0);
        let sold = labels.remove(&reference).unwrap_or_default();
        let state: String = row.get(5);
        let mut say =
            |what: &str| wrong.push(format!("case {reference} of a shipment that is {state}: {what}"));
        if sold.len() > 1 {
            say(&format!("{} labels were sold", sold.len()));
            continue;
        }
        let (carrier_id, code): (Option<String>, Option<String>) = (row.get(1), row.get(2));
        match (sold.first(), &code) {
            (None, None) => {
                if state == "shipped" {
                    say("it has no label");
                }
            }
            (None, Some(code)) => say(&format!("the tables know label {code}, which was never sold")),
            (Some(label), None) => {
                say(&format!("label {} was sold, and nobody knows", label["tracking_code"]))
            }
            (Some(label), Some(code)) => {
                if label["tracking_code"] != *code.as_str()
                    || Some(label["shipment_id"].as_str().unwrap()) != carrier_id.as_deref()
                    || label["cents"].as_i64() != row.get::<_, Option<i64>>(3)
                {
                    say("the label that was sold is another one");
                }
                let refunded = label["refund"] == "refunded";
                match (state.as_str(), refunded) {
                    ("cancelled" | "failed", false) => say("its label was not refunded"),
                    ("shipped", true) => say("its label was refunded"),
                    _ => {}
                }
                if refunded != (row.get::<_, Option<String>>(4).as_deref() == Some("refunded")) {
                    say("the tables and the carrier disagree about the refund");
                }
            }
        }
    }
    wrong.extend(
        labels.keys().map(|reference| format!("a label was sold for {reference:?}, which is no case")),
    );
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checker_sees_what_is_planted() {
    let rig = Rig::new().await;
    let _worker = rig.worker().ready().await;
    let id = rig.shipment(2).await;
    rig.wait_state(id, "shipped").await;
    rig.check().await;
    let client = rig.database.client().await;

    let planted = async |sql: &str, what: &str, undo: &str| {
        client.batch_execute(sql).await.unwrap();
        let violations = rig.violations().await;
        assert!(violations.iter().any(|violation| violation.contains(what)), "{what}: {violations:?}");
        client.batch_execute(undo).await.unwrap();
        assert_eq!(rig.violations().await, Vec::<String>::new());
    };
    planted(
        "update shipping.cases set tracking_code = tracking_code || 'x' where case_no = 1",
        "is another one",
        "update shipping.cases set tracking_code = rtrim(tracking_code, 'x') where case_no = 1",
    )
    .await;
    planted(
        "alter table shipping.cases disable trigger user; update shipping.cases set reference = gen_random_uuid(), tracking_status = reference::text where case_no = 2",
        "which is no case",
        "update shipping.cases set reference = tracking_status::uuid, tracking_status = null where case_no = 2",
    )
    .await;
    planted(
        "update shipping.order_lines set reserved = reserved + 1",
        "quantities of a line",
        "update shipping.order_lines set reserved = reserved - 1",
    )
    .await;
    planted(
        "insert into relay.inbox (consumer, message_id, state, due_at, done_at, body, properties) values ('x', 'y', 'retrying', now(), null, '', '{}')",
        "unfinished",
        "delete from relay.inbox where consumer = 'x'",
    )
    .await;
    planted(
        "insert into shipping.credit_notes (invoice_no, total_minor, currency, reason) select invoice_no, total_minor, currency, 'x' from shipping.invoices",
        "with a credit note",
        "set session_replication_role = replica; delete from shipping.credit_notes; set session_replication_role = origin",
    )
    .await;

    // And what only the carrier knows: a second label for a case.
    let reference: String = client
        .query_one("select reference::text from shipping.cases where case_no = 1", &[])
        .await
        .unwrap()
        .get(0);
    let carrier = rig.sim.carrier();
    let (shipment, rate) = created(&carrier, &reference).await;
    succeeded(carrier.buy(&shipment.id, &rate).await);
    let violations = rig.violations().await;
    assert!(violations.iter().any(|violation| violation.contains("2 labels were sold")), "{violations:?}");
}
