//! A database with relay's and shipping's tables, and short ways to fill it.

use relay::{
    postgres::{connect::connect, transaction::Tx},
    shipping::{
        event::WorkOrder,
        migrations,
        money::{Currency, Money},
        roles::{self, Part},
        saga::{Act, Again, Input, Limits, Outcome},
        shipment::Shipment,
        step::{Key, Step, Subject},
        store::{
            Created, Keyed, Label, NewCase, NewLine, NewOrder, NewOrderLine, NewParty, NewShipment,
            PartyAddress, Store, StoreError, Taken,
        },
    },
};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::{
    database::{Database, settings},
    servers,
};

pub struct Rig {
    pub db: Database,
    pub client: Client,
    pub store: Store,
}

impl Rig {
    pub async fn new() -> Self {
        let db = Database::new(servers::shared()).await;
        let mut connection = connect(&settings(&db.url), "test").await.unwrap();
        assert_eq!(
            migrations::migrate(&mut connection).await.unwrap().len(),
            migrations::HISTORY.migrations.len()
        );
        assert!(migrations::migrate(&mut connection).await.unwrap().is_empty(), "twice does nothing");
        let client = db.session().await;
        Self { client, db, store: Store::new("relay", Limits { attempts: 2, checks: 2 }) }
    }

    /// A session under a role that has just what a part needs.
    pub async fn part(&self, part: Part) -> Client {
        let session = self.db.session().await;
        let database: String = session.query_one("select current_database()", &[]).await.unwrap().get(0);
        // Roles belong to the server, tests to a database of it.
        let role = format!("{database}_{part}");
        session
            .batch_execute(&format!(
                "do $$ begin create role {role}; exception when duplicate_object then null; end $$"
            ))
            .await
            .unwrap();
        for _ in 0..2 {
            roles::grant(&session, part, "relay", &role).await.unwrap();
        }
        session.batch_execute(&format!("set role {role}")).await.unwrap();
        session
    }

    /// Takes the roles away, with all that they were granted.
    pub async fn end(self) {
        for part in Part::ALL {
            let role: String = self
                .client
                .query_one("select current_database() || '_' || $1", &[&part.as_str()])
                .await
                .unwrap()
                .get(0);
            let drop = format!("drop owned by {role}; drop role {role}");
            let _ = self.client.batch_execute(&drop).await;
        }
    }

    /// Order 17: ten apples at 1.50, four pears at 2.00, a customer by mail and another party by webhook.
    pub async fn order(&mut self) {
        let endpoint = Uuid::new_v4();
        let sql = "insert into shipping.webhook_endpoints (endpoint_id, caller, url, secret)
                   values ($1, 'shop', 'https://hooks.example/x', decode(repeat('ab', 32), 'hex'))";
        self.client.execute(sql, &[&endpoint]).await.unwrap();
        let party = |role: &str, address| NewParty { role: role.to_owned(), address };
        let line = |sku: &str, ordered, price| NewOrderLine { sku: sku.to_owned(), ordered, price };
        let order = NewOrder {
            order_id: "17".to_owned(),
            currency: Currency::new("EUR").unwrap(),
            ship_to: "{}".to_owned(),
            lines: vec![line("apple", 10, 150), line("pear", 4, 200)],
            parties: vec![
                party("customer", PartyAddress::Mail("ada@example.com".to_owned())),
                party("other", PartyAddress::Webhook(endpoint)),
            ],
        };
        let tx = Tx::from(self.client.transaction().await.unwrap());
        assert!(self.store.place_order(&tx, &order, "{}").await.unwrap());
        assert!(!self.store.place_order(&tx, &order, "{}").await.unwrap(), "once");
        tx.commit().await.unwrap();
    }

    /// Accepts a shipment of order 17.
    pub async fn accept(&mut self, new: &NewShipment, key: Option<&Keyed>) -> Result<Created, StoreError> {
        accept(&self.store, &mut self.client, new, key).await
    }

    pub async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, sql: &str) -> T {
        self.client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// Reserved and shipped of the two lines, and the order's state.
    pub async fn quantities(&self) -> String {
        self.one(
            "select string_agg(format('%s/%s', reserved, shipped), ' ' order by line_no) || ' ' || min(o.state)
             from shipping.order_lines l join shipping.orders o using (order_id)",
        )
        .await
    }

    pub async fn shipment(&self, id: Uuid) -> Shipment {
        self.store.find(&self.client, id).await.unwrap().0
    }
}

pub async fn accept(
    store: &Store,
    client: &mut Client,
    new: &NewShipment,
    key: Option<&Keyed>,
) -> Result<Created, StoreError> {
    let tx = Tx::from(client.transaction().await?);
    let created = store.create(&tx, new, key, "{}").await?;
    tx.commit().await?;
    Ok(created)
}

/// A shipment of order 17 with so many cases, each of so many apples and pears.
pub fn shipment(cases: usize, apples: i32, pears: i32) -> NewShipment {
    let case = || NewCase {
        reference: Uuid::new_v4(),
        weight: 500,
        size: [300, 200, 100],
        lines: vec![NewLine { line: 1, quantity: apples }, NewLine { line: 2, quantity: pears }],
    };
    NewShipment {
        shipment_id: Uuid::new_v4(),
        order_id: "17".to_owned(),
        caller: "shop".to_owned(),
        ship_to: r#"{"city": "Aachen"}"#.to_owned(),
        ship_from: "{}".to_owned(),
        cases: (0..cases).map(|_| case()).collect(),
        parties: vec![Subject::Mail(1), Subject::Webhook(2)],
    }
}

pub fn label(case: i16) -> Key {
    Key { step: Step::BuyLabel, subject: Subject::Case(case) }
}

pub const fn notify(subject: Subject) -> Key {
    Key { step: Step::Notify, subject }
}

/// Who does a step.
pub fn part_of(step: Step) -> Part {
    match step {
        Step::ValidateAddress => Part::Address,
        Step::BuyLabel => Part::Label,
        Step::RecordTracking => Part::Tracking,
        Step::CreateInvoice => Part::Invoice,
        Step::FulfilOrder => Part::Fulfilment,
        Step::Notify => Part::Notify,
    }
}

/// A worker's whole attempt at the latest work order of an entry, its own tables included.
pub async fn work(
    store: &Store,
    client: &mut Client,
    id: Uuid,
    key: Key,
    outcome: Outcome,
) -> (Option<Act>, Option<Again>) {
    let tx = Tx::from(client.transaction().await.unwrap());
    let (shipment, _) = store.lock(&tx, id).await.unwrap();
    let task = shipment.entry(key).unwrap().task;
    let order = WorkOrder { shipment_id: id, step: key.step, subject: key.subject, task };
    let begun = store.take(&tx, id, &Input::Begin(key, task), None, "{}").await.unwrap();
    assert_eq!(
        store.find(&tx, id).await.unwrap(),
        (begun.plan.shipment, begun.version),
        "the plan is what is stored"
    );
    let act = begun.plan.act;
    tx.commit().await.unwrap();
    let tx = Tx::from(client.transaction().await.unwrap());
    match (key, act, outcome) {
        (
            Key { step: Step::BuyLabel, subject: Subject::Case(case) },
            Some(Act::Do | Act::LookUp),
            Outcome::Done,
        ) => {
            let kept =
                store.keep_carrier_id(&tx, id, case, &format!("shp_{id}_{case}"), Some("rate_1")).await;
            assert_eq!(kept.unwrap(), format!("shp_{id}_{case}"));
            let label = Label {
                carrier: "USPS".to_owned(),
                service: Some("Priority".to_owned()),
                tracking_code: format!("{id}{case}"),
                url: None,
                cost: Money { minor: 758, currency: Currency::new("USD").unwrap() },
            };
            assert!(store.keep_label(&tx, id, case, &label).await.unwrap());
        }
        (
            Key { step: Step::BuyLabel, subject: Subject::Case(case) },
            Some(Act::Compensate),
            Outcome::Done,
        ) => {
            assert!(store.keep_refund(&tx, id, case, "refunded").await.unwrap());
        }
        (Key { step: Step::CreateInvoice, .. }, Some(Act::Do), Outcome::Done) => {
            let bill = store.create_invoice(&tx, id).await.unwrap();
            assert_eq!(store.create_invoice(&tx, id).await.unwrap(), bill, "twice is once");
        }
        (Key { step: Step::CreateInvoice, .. }, Some(Act::Compensate), Outcome::Done) => {
            let bill = store.credit_invoice(&tx, id, "cancelled").await.unwrap();
            assert_eq!(store.credit_invoice(&tx, id, "cancelled").await.unwrap(), bill, "twice is once");
        }
        _ => {}
    }
    let again = store.report(&tx, &order, outcome, Some("because"), "{}").await.unwrap();
    tx.commit().await.unwrap();
    (act, again)
}

pub async fn take(store: &Store, client: &mut Client, id: Uuid, input: Input) -> Result<Taken, StoreError> {
    let tx = Tx::from(client.transaction().await?);
    let taken = store.take(&tx, id, &input, Some("somebody said so"), "{}").await?;
    // Whoever holds the lock may go on with the plan instead of reading again.
    assert_eq!(store.find(&tx, id).await?, (taken.plan.shipment.clone(), taken.version));
    tx.commit().await?;
    Ok(taken)
}
