//! The last line: what the database refuses, whatever the code does. Each by plain SQL.

use relay::shipping::{
    entry::{State, TRANSITIONS},
    saga::Outcome,
    shipment::{STANDINGS, Standing},
    step::{Key, Step},
};
use tokio_postgres::Client;

use crate::rig::{Rig, label, shipment, work};

/// The constraint that refuses a transaction of these statements; the error's code, if it has no name.
async fn refusal(client: &Client, sql: &str) -> Option<String> {
    let script = format!("begin; {sql}; set constraints all immediate; rollback");
    let error = client.batch_execute(&script).await.err();
    client.batch_execute("rollback").await.unwrap();
    error.map(|error| {
        let db = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error:?}"));
        assert!(db.code().code().starts_with("23"), "{sql}: {error:?}");
        db.constraint().unwrap_or(db.code().code()).to_owned()
    })
}

async fn assert_refused(client: &Client, cases: &[(&str, &str)]) {
    for (sql, constraint) in cases {
        assert_eq!(refusal(client, sql).await.as_deref(), Some(*constraint), "{sql}");
    }
}

/// A shipment of two cases, billed.
async fn billed() -> Rig {
    let mut rig = Rig::new().await;
    rig.order().await;
    let new = shipment(2, 3, 1);
    rig.accept(&new, None).await.unwrap();
    let keys = [
        Key::whole(Step::ValidateAddress),
        label(1),
        label(2),
        Key::whole(Step::RecordTracking),
        Key::whole(Step::CreateInvoice),
    ];
    for key in keys {
        work(&rig.store, &mut rig.client, new.shipment_id, key, Outcome::Done).await;
    }
    rig
}

#[tokio::test]
async fn an_over_shipped_line_is_impossible() {
    let rig = billed().await;
    let line = "insert into shipping.case_lines (shipment_id, case_no, order_id, line_no, quantity)
                select shipment_id, 2, order_id, 1, 20 from shipping.shipments";
    let another = "insert into shipping.shipments (shipment_id, order_id, caller, ship_to, ship_from)
                   values ('00000000-0000-0000-0000-000000000001', '17', 'x', '{}', '{}');
                   insert into shipping.cases values ('00000000-0000-0000-0000-000000000001', 1, gen_random_uuid(), 1, 1, 1, 1);
                   insert into shipping.case_lines values ('00000000-0000-0000-0000-000000000001', 1, '17', 1, 5)";
    assert_refused(
        &rig.client,
        &[
            ("update shipping.order_lines set shipped = 11 where line_no = 1", "order_lines_not_over_shipped"),
            ("update shipping.order_lines set shipped = 5 where line_no = 1", "order_lines_not_over_shipped"),
            ("update shipping.order_lines set ordered = 5 where line_no = 1", "order_lines_not_over_shipped"),
            ("update shipping.order_lines set reserved = -1", "order_lines_reserved_check"),
            ("update shipping.order_lines set shipped = -1", "order_lines_shipped_check"),
            (&format!("delete from shipping.case_lines where case_no = 2; {line}"), "case_lines_not_over_shipped"),
            // The counters are forgotten; the rows still add up.
            (another, "case_lines_not_over_shipped"),
            ("update shipping.case_lines set quantity = 8 where line_no = 1 and case_no = 1", "case_lines_not_over_shipped"),
            (
                "update shipping.shipments set undo = 'failed', state = 'failing'; update shipping.shipments set quantities = 'released';
                 update shipping.shipments set quantities = 'reserved'",
                "shipments_quantities",
            ),
        ],
    )
    .await;
    assert!(
        !rig.one::<bool>("select shipping.release(shipment_id) from shipping.shipments").await,
        "labels stand"
    );
}

#[tokio::test]
async fn two_that_forget_to_reserve_cannot_miss_each_other() {
    let mut rig = Rig::new().await;
    rig.order().await;
    let (mut one, two) = (rig.db.session().await, rig.db.session().await);
    let insert = |id: &str| {
        format!(
            "insert into shipping.shipments (shipment_id, order_id, caller, ship_to, ship_from) values ('{id}', '17', 'x', '{{}}', '{{}}');
             insert into shipping.cases values ('{id}', 1, gen_random_uuid(), 1, 1, 1, 1);
             insert into shipping.case_lines values ('{id}', 1, '17', 1, 6)"
        )
    };
    let first = one.transaction().await.unwrap();
    first.batch_execute(&insert("00000000-0000-0000-0000-000000000001")).await.unwrap();
    let second = tokio::spawn(async move {
        let sql = format!("begin; {}; commit", insert("00000000-0000-0000-0000-000000000002"));
        two.batch_execute(&sql).await
    });
    let waits = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())";
    crate::support::wait::until("the second waits for the first", crate::support::wait::LONG, async || {
        rig.one::<bool>(waits).await
    })
    .await;
    first.commit().await.unwrap();
    let error = second.await.unwrap().unwrap_err();
    let constraint = error.as_db_error().and_then(|error| error.constraint().map(str::to_owned));
    assert_eq!(constraint.as_deref(), Some("case_lines_not_over_shipped"));
}

#[tokio::test]
async fn a_double_invoice_is_impossible() {
    let rig = billed().await;
    let again = "insert into shipping.invoices (shipment_id, order_id, total_minor, currency)
                 select shipment_id, order_id, total_minor, currency from shipping.invoices";
    let credit = "insert into shipping.credit_notes (invoice_no, total_minor, currency, reason)
                  select invoice_no, total_minor, currency, 'x' from shipping.invoices";
    assert_refused(
        &rig.client,
        &[
            (again, "invoices_one_per_shipment"),
            // Not even after a credit note.
            (&format!("{credit}; {again}"), "invoices_one_per_shipment"),
            (&format!("{credit}; {credit}"), "credit_notes_one_per_invoice"),
            (
                &credit.replace("total_minor, currency, 'x'", "total_minor - 1, currency, 'x'"),
                "credit_notes_invoice_no_total_minor_currency_fkey",
            ),
            (&credit.replace("'x'", "''"), "credit_notes_reason_check"),
            (
                "insert into shipping.invoice_lines (invoice_no, line_no, sku, quantity, unit_price_minor)
                 select invoice_no, 9, 'x', 1, 1 from shipping.invoices",
                "invoices_add_up",
            ),
            ("update shipping.invoices set total_minor = 1", "invoices_are_kept"),
            ("delete from shipping.invoice_lines", "invoice_lines_are_kept"),
            (&format!("{credit}; delete from shipping.credit_notes"), "credit_notes_are_kept"),
        ],
    )
    .await;
    let other = "insert into shipping.shipments (shipment_id, order_id, caller, ship_to, ship_from)
                 values ('00000000-0000-0000-0000-000000000001', '17', 'x', '{}', '{}');
                 insert into shipping.invoices (shipment_id, order_id, total_minor, currency)
                 values ('00000000-0000-0000-0000-000000000001', '17', 1, 'EUR')";
    assert_refused(&rig.client, &[(other, "invoices_add_up")]).await;
}

#[tokio::test]
async fn the_database_knows_the_same_transitions_as_the_saga() {
    let mut rig = Rig::new().await;
    rig.order().await;
    rig.accept(&shipment(1, 1, 1), None).await.unwrap();
    let row = |state: State| {
        let (asked, failure) = (
            matches!(state, State::Running | State::Unknown | State::Compensating),
            if state == State::Failed { "'refused'" } else { "null" },
        );
        format!(
            "update shipping.steps set state = '{state}', asked = {asked}, failure = {failure} where step = 'notify'"
        )
    };
    for from in State::ALL {
        for to in State::ALL {
            let legal = from == to || TRANSITIONS.iter().any(|(a, _, b)| (a, b) == (from, to));
            // Triggers are off while the first state is set up.
            let sql = format!(
                "set local session_replication_role = replica; {}; set local session_replication_role = origin; {}",
                row(*from),
                row(*to)
            );
            let expected = (!legal).then_some("steps_legal");
            assert_eq!(refusal(&rig.client, &sql).await.as_deref(), expected, "{from} to {to}");
        }
    }
    let row = |state: Standing| {
        let undo = match state {
            Standing::Cancelling | Standing::Cancelled => "'cancelled'",
            Standing::Failing | Standing::Failed => "'failed'",
            _ => "null",
        };
        let quantities = match state {
            Standing::Cancelled | Standing::Failed => "released",
            Standing::Shipped => "fulfilled",
            _ => "reserved",
        };
        format!("update shipping.shipments set state = '{state}', undo = {undo}, quantities = '{quantities}'")
    };
    for from in Standing::ALL {
        for to in Standing::ALL {
            let sql = format!(
                "set local session_replication_role = replica; {}; set local session_replication_role = origin; {}",
                row(*from),
                row(*to)
            );
            let refused = refusal(&rig.client, &sql).await;
            let legal = from == to || STANDINGS.contains(&(*from, *to));
            // What undo and quantities may do has triggers of its own, which may be asked first or last.
            assert_eq!(refused.as_deref() == Some("shipments_legal"), !legal, "{from} to {to}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn a_shipment_is_never_in_a_state_that_its_columns_contradict() {
    let rig = billed().await;
    let refused = [
        "update shipping.shipments set state = 'needs_attention'; update shipping.shipments set state = 'cancelled'",
        "update shipping.shipments set state = 'shipped'",
        "update shipping.shipments set undo = 'failed'",
        "update shipping.shipments set undo = 'failed', state = 'cancelling'",
        "update shipping.shipments set undo = 'failed', state = 'failing'; update shipping.shipments set state = 'failed'",
        "update shipping.shipments set undo = 'failed', state = 'failing'; update shipping.shipments set undo = null, state = 'needs_attention'",
        "update shipping.shipments set quantities = 'released'",
        "insert into shipping.steps (shipment_id, step, subject) select shipment_id, 'buy_label', 'case/3' from shipping.shipments",
        "insert into shipping.steps (shipment_id, step, subject) select shipment_id, 'buy_label', 'case/1' from shipping.shipments",
        "insert into shipping.steps (shipment_id, step, subject) select shipment_id, 'buy_label', 'shipment' from shipping.shipments",
        "insert into shipping.steps (shipment_id, step, subject) select shipment_id, 'notify', 'case/1' from shipping.shipments",
        "insert into shipping.steps (shipment_id, step, subject) select shipment_id, 'create_invoice', 'mail/1' from shipping.shipments",
        "insert into shipping.steps (shipment_id, step, subject, state) select shipment_id, 'notify', 'mail/9', 'succeeded' from shipping.shipments",
        "update shipping.steps set failure = 'refused' where step = 'fulfil_order'",
        "update shipping.steps set state = 'running', asked = false where step = 'fulfil_order'",
        "update shipping.steps set stalled = true where step = 'fulfil_order'",
        "update shipping.cases set reference = '00000000-0000-0000-0000-000000000001'",
        "update shipping.cases set carrier_shipment_id = 'shp_1'",
        "update shipping.cases set tracking_code = 'x'",
        "update shipping.cases set tracking_code = null",
        "update shipping.cases set carrier_shipment_id = null",
        "update shipping.cases set cost_minor = -1",
        "update shipping.cases set refund = 'submitted'",
        "update shipping.orders set currency = 'euro'",
        "update shipping.case_lines set order_id = '18'",
    ];
    for sql in refused {
        assert!(refusal(&rig.client, sql).await.is_some(), "{sql}");
    }
}

#[tokio::test]
async fn whatever_is_told_kept_or_recorded_is_so_once_and_whole() {
    let rig = billed().await;
    let notice =
        "insert into shipping.notifications (notification_id, shipment_id, order_id, party_no, kind, body)
                  select gen_random_uuid(), shipment_id, order_id, 1, 'shipped', 'x' from shipping.shipments";
    let key = "insert into shipping.idempotency_keys (caller, key, fingerprint, status, body, expires_at)
               values ('a', 'k', decode(repeat('00', 32), 'hex'), 202, '', now() + interval '1 day')";
    let event = "insert into shipping.carrier_events (event_id, body) values ('evt_1', '{}')";
    let act = "insert into shipping.acts (actor, action, reason) values ('ada', 'retry', 'x')";
    let endpoint = "update shipping.webhook_endpoints set ";
    let refused = [
        format!("{notice}; {notice}"),
        notice.replace(", 1, 'shipped'", ", 9, 'shipped'"),
        notice.replace("'shipped'", "'gossip'"),
        format!("{key}; {key}"),
        key.replace("32", "31"),
        key.replace("1 day", "-1 day"),
        key.replace("'k'", "''"),
        format!("{event}; {event}"),
        format!("{event}; update shipping.carrier_events set applied_at = now()"),
        act.replace("'x'", "''"),
        format!("{act}; update shipping.acts set reason = 'y'"),
        format!("{act}; delete from shipping.acts"),
        format!("{endpoint} secret = 'short'"),
        format!("{endpoint} previous_secret = decode(repeat('cd', 32), 'hex')"),
        format!("{endpoint} previous_secret = secret, previous_until = now()"),
        format!("{endpoint} url = 'ftp://x'"),
        format!("{endpoint} disabled_at = now()"),
        "insert into shipping.parties (order_id, party_no, role, channel) values ('17', 3, 'other', 'mail')".to_owned(),
        "insert into shipping.parties (order_id, party_no, role, channel, mail) values ('17', 3, 'customer', 'mail', 'a@b')".to_owned(),
    ];
    for sql in &refused {
        assert!(refusal(&rig.client, sql).await.is_some(), "{sql}");
    }
    for sql in [notice, key, event, act] {
        assert_eq!(refusal(&rig.client, sql).await, None, "{sql}");
    }
}
