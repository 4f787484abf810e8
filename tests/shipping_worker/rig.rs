//! One test's surroundings: a database with relay's and shipping's tables, a corner of the broker, relay, the simulator of
//! the carrier, and workers, each a process that a test may kill.

use std::{collections::BTreeMap, process::Command};

use lapin::{
    BasicProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::FieldTable,
};
use relay::{
    postgres::{connect::connect, transaction::Tx},
    shipping::{
        migrations,
        money::Currency,
        roles::{self, Part},
        saga::{Input, Limits},
        step::{Step, Subject},
        store::{NewCase, NewLine, NewOrder, NewOrderLine, NewParty, NewShipment, Store},
    },
};
use uuid::Uuid;

use crate::{
    checker,
    sim::{KEY, Sim},
    support::{
        broker::{Broker, Delivery, short},
        database::{Database, finally, settings},
        relay::{Finished, Relay, RelayProcess},
        servers::{self, Servers},
        wait,
    },
};

/// Queues of the workers, after the prefix.
const QUEUES: [&str; 9] = [
    "address",
    "label",
    "tracking",
    "invoice",
    "fulfilment",
    "notify",
    "carrier_events",
    "order_views",
    "facts",
];

/// An address that can be delivered to.
pub const GOOD: &str = r#"{"name": "Ada", "street1": "2 Second St", "city": "Springfield", "state": "OR", "zip": "97477", "country": "US"}"#;
/// One that can't.
pub const BAD: &str = r#"{"name": "Bob", "street1": "1 Undeliverable St", "city": "Springfield", "state": "OR", "zip": "97477", "country": "US"}"#;

pub struct Rig {
    pub database: Database,
    pub broker: Broker,
    pub sim: Sim,
    pub relay: RelayProcess,
    pub store: Store,
    queues: Queues,
}

/// Deletes the workers' queues.
struct Queues {
    url: String,
    prefix: String,
}

impl Drop for Queues {
    fn drop(&mut self) {
        let (url, prefix) = (self.url.clone(), self.prefix.clone());
        finally(async move {
            let properties = lapin::ConnectionProperties::default();
            let Ok(connection) = lapin::Connection::connect(&url, properties).await else { return };
            let Ok(channel) = connection.create_channel().await else { return };
            for queue in QUEUES {
                let name = short(&format!("{prefix}.{queue}"));
                let _ = channel.queue_delete(name, lapin::options::QueueDeleteOptions::default()).await;
            }
        });
    }
}

impl Rig {
    pub async fn new() -> Self {
        Self::on(servers::shared()).await
    }

    pub async fn on(servers: &Servers) -> Self {
        Self::with(servers, |relay| relay).await
    }

    /// With relay started so.
    pub async fn with(servers: &Servers, adjust: impl FnOnce(Relay) -> Relay) -> Self {
        let database = Database::new(servers).await;
        let mut connection = connect(&settings(&database.url), "test").await.unwrap();
        migrations::migrate(&mut connection).await.unwrap();
        // Nothing takes what is published before the workers' queues are there: then it waits in the outbox.
        let broker = Broker::bound_to(servers, &[]).await;
        let relay = Relay::between(&database, &broker)
            .env("RELAY_RETRY_FLOOR", "50ms")
            .env("RELAY_RETRY_CAP", "300ms")
            .env("RELAY_RETRY_MAX_ATTEMPTS", "1000");
        let relay = adjust(relay).start().await;
        let queues = Queues { url: broker.url.clone(), prefix: broker.name("shipping") };
        let sim = Sim::start(&[]);
        Self { database, broker, sim, relay, queues, store: Store::new("relay", Limits::default()) }
    }

    /// `shipments worker` with the impatience of tests.
    pub fn worker(&self) -> Worker {
        let env = [
            ("DATABASE_URL", self.database.url.as_str()),
            ("AMQP_URL", &self.broker.url),
            ("SHIPMENTS_EXCHANGE", &self.broker.exchange),
            ("SHIPMENTS_DEAD_LETTER_EXCHANGE", &self.broker.dead_letter_exchange),
            ("SHIPMENTS_QUEUE_PREFIX", &self.queues.prefix),
            ("SHIPMENTS_ADMIN_LISTEN", "127.0.0.1:0"),
            ("SHIPMENTS_CARRIER_URL", &format!("{}/v2", self.sim.url)),
            ("SHIPMENTS_CARRIER_API_KEY", KEY),
            ("SHIPMENTS_CARRIER_TIMEOUT", "1s"),
            ("SHIPMENTS_CARRIER_SETTLING", "1s"),
            ("SHIPMENTS_CARRIER_REFUND_POLL", "200ms"),
            ("SHIPMENTS_RETRY_FLOOR", "50ms"),
            ("SHIPMENTS_RETRY_CAP", "200ms"),
            ("SHIPMENTS_DEADLINE", "3s"),
            ("SHIPMENTS_CLAIM_MARGIN", "1s"),
            ("SHIPMENTS_CONCURRENCY", "4"),
        ];
        Worker { env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), args: vec![] }
    }

    /// Has the tap see everything from now on. Not before the workers' queues are there: it would take their messages.
    pub async fn tap(&self) {
        self.broker.bind(&self.broker.tap, &self.broker.exchange, "#").await;
    }

    /// The name of a worker's queue.
    pub fn queue(&self, name: &str) -> String {
        format!("{}.{name}", self.queues.prefix)
    }

    /// The URL of the database under the role of a part, which is made with just its grants.
    pub async fn url_of(&self, part: Part) -> String {
        let session = self.database.session().await;
        let role = self.role(part).await;
        session.batch_execute(&format!("create role {role}")).await.unwrap();
        roles::grant(&session, part, "relay", &role).await.unwrap();
        let joint = if self.database.url.contains('?') { '&' } else { '?' };
        format!("{}{joint}options=-c%20role%3D{role}", self.database.url)
    }

    async fn role(&self, part: Part) -> String {
        let name: String = self.database.query("select current_database()", &[]).await[0].get(0);
        format!("{name}_{part}")
    }

    /// Takes the role of a part away.
    pub async fn drop_role(&self, part: Part) {
        let role = self.role(part).await;
        let session = self.database.session().await;
        let _ = session.batch_execute(&format!("drop owned by {role}; drop role {role}")).await;
    }

    /// An order of a hundred apples at 1.50, which nobody wants to be told about.
    pub async fn order(&self, order_id: &str) {
        self.order_for(order_id, vec![]).await;
    }

    /// The same with these parties.
    pub async fn order_for(&self, order_id: &str, parties: Vec<NewParty>) {
        let order = NewOrder {
            order_id: order_id.to_owned(),
            currency: Currency::new("USD").unwrap(),
            ship_to: GOOD.to_owned(),
            lines: vec![NewOrderLine { sku: "apple".to_owned(), ordered: 100, price: 150 }],
            parties,
        };
        let mut session = self.database.session().await;
        let tx = Tx::from(session.transaction().await.unwrap());
        assert!(self.store.place_order(&tx, &order, "{}").await.unwrap());
        tx.commit().await.unwrap();
    }

    /// Accepts a shipment of so many cases, ten apples each, as the API does; returns its id.
    pub async fn accept(&self, order_id: &str, cases: usize, ship_to: &str) -> Uuid {
        self.accept_for(order_id, cases, ship_to, vec![]).await
    }

    /// The same, of which these are to be told.
    pub async fn accept_for(
        &self,
        order_id: &str,
        cases: usize,
        ship_to: &str,
        parties: Vec<Subject>,
    ) -> Uuid {
        let case = || NewCase {
            reference: Uuid::new_v4(),
            weight: 500,
            size: [300, 200, 100],
            lines: vec![NewLine { line: 1, quantity: 10 }],
        };
        let new = NewShipment {
            shipment_id: Uuid::new_v4(),
            order_id: order_id.to_owned(),
            caller: "shop".to_owned(),
            ship_to: ship_to.to_owned(),
            ship_from: GOOD.to_owned(),
            cases: (0..cases).map(|_| case()).collect(),
            parties,
        };
        let mut session = self.database.session().await;
        let tx = Tx::from(session.transaction().await.unwrap());
        self.store.create(&tx, &new, None, "{}").await.unwrap();
        tx.commit().await.unwrap();
        new.shipment_id
    }

    /// An order and one shipment of it.
    pub async fn shipment(&self, cases: usize) -> Uuid {
        let order = Uuid::new_v4().to_string();
        self.order(&order).await;
        self.accept(&order, cases, GOOD).await
    }

    /// As the API does it.
    pub async fn cancel(&self, id: Uuid) {
        let mut session = self.database.session().await;
        let tx = Tx::from(session.transaction().await.unwrap());
        self.store.take(&tx, id, &Input::Cancel, Some("changed their mind"), "{}").await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn state(&self, id: Uuid) -> String {
        self.database.query("select state from shipping.shipments where shipment_id = $1", &[&id]).await[0]
            .get(0)
    }

    pub async fn wait_state(&self, id: Uuid, state: &str) {
        wait::until(&format!("{id} is {state}"), 2 * wait::LONG, async || self.state(id).await == state)
            .await;
    }

    /// A column of the ledger, as text.
    pub async fn entry(&self, id: Uuid, step: Step, subject: &str, column: &str) -> String {
        let sql = format!(
            "select coalesce({column}::text, '') from shipping.steps
             where shipment_id = $1 and step = $2 and subject = $3"
        );
        self.database.query(&sql, &[&id, &step.as_str(), &subject]).await[0].get(0)
    }

    pub async fn wait_entry(&self, id: Uuid, step: Step, subject: &str, state: &str) {
        wait::until(&format!("{step} of {subject} is {state}"), wait::LONG, async || {
            self.entry(id, step, subject, "state").await == state
        })
        .await;
    }

    /// Waits until no work order is out and no inbox holds one.
    pub async fn wait_quiet(&self) {
        let sql = "select (select count(*) from shipping.steps where asked)
                        + (select count(*) from relay.inbox where state not in ('done', 'dead'))
                        + (select count(*) from relay.outbox where published_at is null and dead_at is null)";
        wait::until("all is quiet", wait::LONG, async || self.database.number(sql).await == 0).await;
    }

    /// Everything agrees: what the carrier did, what the tables say.
    pub async fn check(&self) {
        self.wait_quiet().await;
        let violations = self.violations().await;
        assert!(violations.is_empty(), "{violations:#?}");
    }

    pub async fn violations(&self) -> Vec<String> {
        checker::violations(&self.database, &self.sim.ledger().await).await
    }

    /// How many labels were sold, ever.
    pub async fn sold(&self) -> u64 {
        self.sim.ledger().await["counts"]["bought"].as_u64().unwrap()
    }

    /// Publishes messages as they were seen, perhaps under other ids, to the exchange again.
    pub async fn publish_again(&self, deliveries: &[Delivery], id: impl Fn(&str) -> String) {
        let channel = self.broker.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        for delivery in deliveries {
            let mut headers = FieldTable::default();
            for (name, value) in &delivery.headers {
                headers.insert(short(name), value.clone());
            }
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_headers(headers)
                .with_message_id(short(&id(&delivery.id)))
                .with_type(short(&delivery.kind));
            let (exchange, key) = (short(&self.broker.exchange), short(&delivery.routing_key));
            let published = channel.basic_publish(
                exchange,
                key,
                BasicPublishOptions::default(),
                &delivery.body,
                properties,
            );
            assert!(published.await.expect("published").await.expect("confirmed").is_ack());
        }
    }

    /// Runs `shipments ARGS` to its end.
    pub fn shipments(&self, args: &[&str]) -> Finished {
        let output = shipments(args).env("DATABASE_URL", &self.database.url).output().expect("it can be run");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub fn shipments(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shipments"));
    command.args(args).env_clear().stdin(std::process::Stdio::null());
    command
}

/// How to run workers.
#[derive(Debug, Clone)]
pub struct Worker {
    env: BTreeMap<String, String>,
    args: Vec<String>,
}

impl Worker {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn only(mut self, parts: &str) -> Self {
        self.args = vec!["--only".to_owned(), parts.to_owned()];
        self
    }

    pub async fn start(&self) -> RelayProcess {
        let mut command = shipments(&["worker"]);
        command.args(&self.args).envs(&self.env);
        RelayProcess::launch(command).await
    }

    pub async fn ready(&self) -> RelayProcess {
        let process = self.start().await;
        process.wait_ready().await;
        process
    }
}
