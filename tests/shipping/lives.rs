//! Lives of shipments, each step done under the role of its worker.

use std::{collections::HashMap, time::Duration};

use relay::{
    postgres::transaction::Tx,
    shipping::{
        event::{Fact, OrderEvent, OrderFact, ShipmentEvent, WorkOrder},
        roles::Part,
        saga::{Act, Input, Outcome},
        shipment::{Quantities, Standing},
        step::{Key, Step, Subject},
        store::{Answer, Created, Keyed, StoreError},
    },
};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::rig::{Rig, accept, label, notify, part_of, shipment, take, work};

/// The workers, each with a session of its own.
struct Workers(HashMap<&'static str, Client>);

impl Workers {
    async fn new(rig: &Rig) -> Self {
        let mut sessions = HashMap::new();
        for part in Part::ALL {
            sessions.insert(part.as_str(), rig.part(*part).await);
        }
        Self(sessions)
    }

    fn of(&mut self, part: Part) -> &mut Client {
        self.0.get_mut(part.as_str()).unwrap()
    }

    /// Does every step that is asked for, well, until the shipment is at rest.
    async fn finish(&mut self, rig: &Rig, id: Uuid) {
        while let Some(key) =
            rig.shipment(id).await.entries.iter().find(|entry| entry.asked).map(|entry| entry.key)
        {
            let (act, again) = work(&rig.store, self.of(part_of(key.step)), id, key, Outcome::Done).await;
            assert!(act.is_some() && again.is_none(), "{key}: {act:?} {again:?}");
        }
    }
}

#[tokio::test]
async fn a_shipment_ships_and_is_cancelled_with_just_the_grants_of_its_workers() {
    let mut rig = Rig::new().await;
    rig.order().await;
    let mut workers = Workers::new(&rig).await;
    let new = shipment(2, 3, 2);
    let id = new.shipment_id;
    assert_eq!(accept(&rig.store, workers.of(Part::Api), &new, None).await.unwrap(), Created::New);
    assert_eq!(rig.quantities().await, "6/0 4/0 open");

    workers.finish(&rig, id).await;
    assert_eq!(rig.shipment(id).await.standing, Standing::Shipped);
    assert_eq!(rig.quantities().await, "0/6 0/4 partially_fulfilled");
    let total: i64 = rig.one("select total_minor from shipping.invoices").await;
    assert_eq!(total, 6 * 150 + 4 * 200);

    take(&rig.store, workers.of(Part::Api), id, Input::Cancel).await.unwrap();
    workers.finish(&rig, id).await;
    assert_eq!(rig.shipment(id).await.standing, Standing::Cancelled);
    assert_eq!(rig.quantities().await, "0/0 0/0 open");
    let credited: i64 = rig.one("select total_minor from shipping.credit_notes").await;
    assert_eq!(credited, total);
    let reason: String = rig.one("select reason from shipping.shipments").await;
    assert!(!reason.is_empty());

    check_events(&rig).await;
    rig.end().await;
}

/// Every row of the outbox is an event that this version can read, and the facts came in this order.
async fn check_events(rig: &Rig) {
    let sql = "select aggregate_type, event_type, payload::text from relay.outbox order by seq";
    let (mut facts, mut orders, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    for row in rig.client.query(sql, &[]).await.unwrap() {
        let (aggregate, kind, payload): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        if aggregate == "order" {
            let event: OrderEvent = serde_json::from_str(payload).unwrap();
            orders.push((kind.parse::<OrderFact>().unwrap(), event.state));
        } else if let Ok(step) = kind.parse::<Step>() {
            let order: WorkOrder = serde_json::from_str(payload).unwrap();
            assert_eq!(order.step, step);
        } else {
            let event: ShipmentEvent = serde_json::from_str(payload).unwrap();
            assert_eq!(event.cases.len(), 2);
            versions.push(event.version);
            facts.push(kind.parse::<Fact>().unwrap());
        }
    }
    assert!(versions.is_sorted(), "{versions:?}");
    assert_eq!(
        facts,
        [
            Fact::Requested,
            Fact::AddressValidated,
            Fact::LabelBought,
            Fact::LabelBought,
            Fact::Tracked,
            Fact::Invoiced,
            Fact::Shipped,
            Fact::Notified,
            Fact::Notified,
            Fact::CancelRequested,
            Fact::FulfilmentReverted,
            Fact::Credited,
            Fact::LabelVoided,
            Fact::LabelVoided,
            Fact::Cancelled,
            Fact::Corrected,
            Fact::Corrected,
        ]
    );
    let state = |state: &str| state.to_owned();
    assert_eq!(
        orders,
        [
            (OrderFact::Placed, state("open")),
            (OrderFact::PartiallyFulfilled, state("partially_fulfilled")),
            (OrderFact::Reopened, state("open")),
            (OrderFact::Reopened, state("open")),
        ]
    );
}

#[tokio::test]
async fn a_refusal_before_the_label_gives_back_what_was_reserved() {
    let mut rig = Rig::new().await;
    rig.order().await;
    let new = shipment(1, 10, 4);
    let id = new.shipment_id;
    rig.accept(&new, None).await.unwrap();
    let mut address = rig.part(Part::Address).await;
    work(&rig.store, &mut address, id, Key::whole(Step::ValidateAddress), Outcome::Refused).await;
    let failed = rig.shipment(id).await;
    assert_eq!((failed.standing, failed.quantities), (Standing::Failed, Quantities::Released));
    assert_eq!(rig.quantities().await, "0/0 0/0 open");
    let error: String =
        rig.one("select last_error from shipping.steps where step = 'validate_address'").await;
    assert_eq!(error, "because");
    // And somebody else may have it.
    rig.accept(&shipment(1, 10, 4), None).await.unwrap();
    rig.end().await;
}

#[tokio::test]
async fn the_last_shipment_fulfils_the_order() {
    let mut rig = Rig::new().await;
    rig.order().await;
    let mut workers = Workers::new(&rig).await;
    for (cases, apples, pears, then) in
        [(1, 4, 1, "0/4 0/1 partially_fulfilled"), (3, 2, 1, "0/10 0/4 fulfilled")]
    {
        let new = shipment(cases, apples, pears);
        rig.accept(&new, None).await.unwrap();
        workers.finish(&rig, new.shipment_id).await;
        assert_eq!(rig.quantities().await, then);
    }
    rig.end().await;
}

#[tokio::test]
async fn an_attempt_that_is_overtaken_by_a_cancellation_is_skipped() {
    // Two moves of one entry in one plan: back to pending, and skipped.
    let mut rig = Rig::new().await;
    rig.order().await;
    let new = shipment(1, 1, 1);
    let id = new.shipment_id;
    rig.accept(&new, None).await.unwrap();
    let key = Key::whole(Step::ValidateAddress);
    work(&rig.store, &mut rig.client, id, key, Outcome::Done).await;
    let order = WorkOrder { shipment_id: id, step: Step::BuyLabel, subject: Subject::Case(1), task: 1 };
    let tx = Tx::from(rig.client.transaction().await.unwrap());
    assert_eq!(rig.store.begin(&tx, &order, "{}").await.unwrap(), Some(Act::Do));
    tx.commit().await.unwrap();
    take(&rig.store, &mut rig.client, id, Input::Cancel).await.unwrap();
    assert_eq!(rig.shipment(id).await.standing, Standing::Cancelling);
    let tx = Tx::from(rig.client.transaction().await.unwrap());
    assert_eq!(rig.store.report(&tx, &order, Outcome::Later, None, "{}").await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(rig.shipment(id).await.standing, Standing::Cancelled);
}

#[tokio::test]
async fn an_entry_waits_in_the_tables_for_an_operator_and_goes_on() {
    let mut rig = Rig::new().await;
    rig.order().await;
    let new = shipment(1, 1, 1);
    let id = new.shipment_id;
    rig.accept(&new, None).await.unwrap();
    work(&rig.store, &mut rig.client, id, Key::whole(Step::ValidateAddress), Outcome::Done).await;
    work(&rig.store, &mut rig.client, id, label(1), Outcome::Lost).await;
    for _ in 0..2 {
        let (act, _) = work(&rig.store, &mut rig.client, id, label(1), Outcome::Later).await;
        assert_eq!(act, Some(Act::LookUp));
    }
    assert_eq!(rig.shipment(id).await.standing, Standing::NeedsAttention);
    take(&rig.store, &mut rig.client, id, Input::Retry(label(1))).await.unwrap();
    let (act, _) = work(&rig.store, &mut rig.client, id, label(1), Outcome::Done).await;
    assert_eq!(act, Some(Act::LookUp));
    assert_eq!(rig.shipment(id).await.standing, Standing::Shipping);
    let refused = take(&rig.store, &mut rig.client, id, Input::Retry(label(1))).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    let mail = notify(Subject::Mail(1));
    assert!(!rig.shipment(id).await.entry(mail).unwrap().asked);
}

fn keyed(key: &str, fingerprint: u8, body: &str) -> Keyed {
    Keyed {
        caller: "shop".to_owned(),
        key: key.to_owned(),
        fingerprint: [fingerprint; 32],
        lifetime: Duration::from_secs(3600),
        answer: Answer { status: 202, headers: "{}".to_owned(), body: body.as_bytes().to_vec() },
    }
}

#[tokio::test]
async fn a_key_used_fifty_times_at_once_makes_one_shipment() {
    let mut rig = Rig::new().await;
    rig.order().await;
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let (store, mut session) = (rig.store.clone(), rig.db.session().await);
        tasks.push(tokio::spawn(async move {
            let new = shipment(1, 1, 1);
            let key = keyed("k", 1, &new.shipment_id.to_string());
            (new.shipment_id, accept(&store, &mut session, &new, Some(&key)).await.unwrap())
        }));
    }
    let (mut new, mut bodies) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            (id, Created::New) => new.push(id.to_string()),
            (_, Created::Replayed(answer)) => bodies.push(String::from_utf8(answer.body).unwrap()),
            (_, Created::Mismatched) => panic!("it is the same request"),
        }
    }
    assert_eq!((new.len(), bodies.len()), (1, 49));
    assert!(bodies.iter().all(|body| *body == new[0]), "byte for byte");
    assert_eq!(rig.quantities().await, "1/0 1/0 open");
    assert_eq!(rig.one::<i64>("select count(*) from shipping.shipments").await, 1);
}

#[tokio::test]
async fn a_key_is_kept_for_its_caller_and_its_time_and_not_used_up_by_a_failure() {
    let mut rig = Rig::new().await;
    rig.order().await;
    let too_much = rig.accept(&shipment(1, 11, 1), Some(&keyed("k", 1, "a"))).await;
    assert!(matches!(too_much, Err(StoreError::NotEnough(_))), "{too_much:?}");
    assert_eq!(rig.one::<i64>("select count(*) from shipping.idempotency_keys").await, 0);
    let new = shipment(1, 1, 1);
    assert_eq!(rig.accept(&new, Some(&keyed("k", 1, "a"))).await.unwrap(), Created::New);
    let other = shipment(1, 1, 1);
    assert_eq!(rig.accept(&other, Some(&keyed("k", 2, "b"))).await.unwrap(), Created::Mismatched);
    let somebody = Keyed { caller: "somebody else".to_owned(), ..keyed("k", 2, "b") };
    assert_eq!(rig.accept(&other, Some(&somebody)).await.unwrap(), Created::New);
    let late = "update shipping.idempotency_keys set created_at = now() - interval '2 days', expires_at = now() - interval '1 day'";
    rig.client.execute(late, &[]).await.unwrap();
    assert_eq!(rig.accept(&shipment(1, 1, 1), Some(&keyed("k", 3, "c"))).await.unwrap(), Created::New);
    assert_eq!(rig.store.prune_keys(&rig.client, 100).await.unwrap(), 1, "the one that was not used again");
}

#[tokio::test]
async fn what_many_take_at_once_is_never_more_than_there_is() {
    let mut rig = Rig::new().await;
    rig.order().await;
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let (store, mut session) = (rig.store.clone(), rig.db.session().await);
        tasks.push(tokio::spawn(async move {
            accept(&store, &mut session, &shipment(1, 3, 1), None).await.is_ok()
        }));
    }
    let mut accepted = 0;
    for task in tasks {
        accepted += i32::from(task.await.unwrap());
    }
    assert_eq!(accepted, 3, "of ten apples");
    assert_eq!(rig.quantities().await, "9/0 3/0 open");
}
