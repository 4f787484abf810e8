//! Handlers that do what the message's body tells them to.
//!
//! Effects go to `app.effects`, which has no constraint, so that an effect done twice is seen. What a third party would
//! see goes to `app.outside`, on a connection of its own.

use std::{sync::Arc, time::Duration};

use relay::{
    consumer::{BoxError, Delivery, Event, External, Failure, Outbox, Transactional},
    postgres::transaction::Tx,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio_postgres::Client;

use crate::support::{database::connect, wait};

/// What tests prepare.
pub const TABLES: &str = "
    create schema app;
    create table app.effects (consumer text, message_id text, attempt integer, at timestamptz default clock_timestamp());
    create table app.outside (message_id text, at timestamptz default clock_timestamp());
    -- Rows taken one by one: how often something is still to go wrong.
    create table app.troubles (id bigint generated always as identity, message_id text, what text);
    create table app.parents (id integer primary key);
    create table app.children (parent integer references app.parents deferrable initially deferred);
    create table app.buried (message_id text, reason text);
    create table app.failures (message_id text, error text);
    create table app.gates (name text primary key);
";

/// Does what the body says, in a transaction or around one.
#[derive(Clone)]
pub struct Obedient {
    pub consumer: String,
    /// Outside of every transaction of the library's.
    pub url: String,
    pub outside: Arc<Mutex<Option<Arc<Client>>>>,
}

impl Obedient {
    /// A connection of its own, made anew after the server was away.
    async fn outside(&self) -> Arc<Client> {
        let mut kept = self.outside.lock().await;
        match &*kept {
            Some(client) if !client.is_closed() => Arc::clone(client),
            // The test's own limit bounds this: an async closure here would not be `Send` for every lifetime.
            _ => loop {
                if let Ok(client) = connect(&self.url).await {
                    return Arc::clone(kept.insert(Arc::new(client)));
                }
                tokio::time::sleep(wait::TICK).await;
            },
        }
    }

    /// Takes the next trouble that is prepared for this message.
    async fn trouble(&self, delivery: &Delivery, place: &str) -> Result<Option<String>, Failure> {
        let sql = "delete from app.troubles where id = (select min(id) from app.troubles
                   where message_id = $1 and what like $2 || '%') returning what";
        let row = self.outside().await.query_opt(sql, &[&delivery.message_id, &place]).await?;
        Ok(row.map(|row| row.get::<_, String>(0)))
    }

    /// Acts on a trouble.
    async fn suffer(&self, delivery: &Delivery, place: &str, tx: Option<&Tx<'_>>) -> Result<(), Failure> {
        let Some(what) = self.trouble(delivery, place).await? else { return Ok(()) };
        match what.strip_prefix(place).unwrap_or_default() {
            "abort" => std::process::abort(),
            "panic" => panic!("as the test wants it"),
            "fail" => Err(Failure::retry("as the test wants it", None)),
            "later" => Err(Failure::retry("as a third party wants it", Some(Duration::from_secs(2)))),
            "final" => Err(Failure::finally("unwanted", "as the test wants it")),
            "held" => Err(Failure::held("the circuit is open", Duration::from_millis(50))),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(())
            }
            "hang" => {
                tokio::time::sleep(Duration::from_secs(600)).await;
                Ok(())
            }
            "swallow" => {
                let _ = tx.expect("in a transaction").execute("select 1 / 0", &[]).await;
                Ok(())
            }
            "orphan" => {
                tx.expect("in a transaction").execute("insert into app.children values (7)", &[]).await?;
                Ok(())
            }
            other => panic!("no such trouble: {other}"),
        }
    }

    /// Waits until the test opens the gate that the body names.
    async fn wait_at_gate(&self, delivery: &Delivery) -> Result<(), Failure> {
        let body: Value = delivery.json()?;
        let Some(gate) = body["gate"].as_str() else { return Ok(()) };
        self.outside()
            .await
            .execute("insert into app.outside (message_id) values ('at ' || $1)", &[&gate])
            .await?;
        while self
            .outside()
            .await
            .query_opt("select from app.gates where name = $1", &[&gate])
            .await?
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn write_effect(&self, delivery: &Delivery, tx: &Tx<'_>) -> Result<(), Failure> {
        let sql = "insert into app.effects (consumer, message_id, attempt) values ($1, $2, $3)";
        let attempt = i32::try_from(delivery.attempt)?;
        tx.execute(sql, &[&self.consumer, &delivery.message_id, &attempt]).await?;
        let body: Value = delivery.json()?;
        if body["follow"] == json!(true) {
            let event = Event {
                aggregate_type: "parcel",
                aggregate_id: "1",
                event_type: "sent",
                payload: &json!({ "because": delivery.message_id }),
            };
            Outbox::new("relay").add(tx, delivery, event).await?;
        }
        Ok(())
    }

    async fn write_burial(&self, delivery: &Delivery, reason: &str, tx: &Tx<'_>) -> Result<(), BoxError> {
        tx.execute("insert into app.buried values ($1, $2)", &[&delivery.message_id, &reason]).await?;
        Ok(())
    }
}

/// In a transaction.
pub struct Inside(pub Obedient);

impl Transactional for Inside {
    async fn handle(&self, delivery: &Delivery, tx: &Tx<'_>) -> Result<(), Failure> {
        if delivery.event_type == "nobody.knows" {
            return Err(Failure::finally("unknown_type", "there is no such type"));
        }
        self.0.suffer(delivery, "before:", Some(tx)).await?;
        self.0.write_effect(delivery, tx).await?;
        self.0.wait_at_gate(delivery).await?;
        self.0.suffer(delivery, "after:", Some(tx)).await
    }

    async fn buried(&self, delivery: &Delivery, reason: &str, tx: &Tx<'_>) -> Result<(), BoxError> {
        self.0.write_burial(delivery, reason, tx).await
    }
}

/// Outside of one.
pub struct Outside(pub Obedient);

impl External for Outside {
    type Work = String;
    type Outcome = u64;

    async fn prepare(&self, delivery: &Delivery, tx: &Tx<'_>) -> Result<Option<String>, Failure> {
        self.0.suffer(delivery, "prepare:", Some(tx)).await?;
        let body: Value = delivery.json()?;
        Ok((body["nothing"] != json!(true)).then(|| delivery.message_id.clone()))
    }

    async fn perform(&self, delivery: &Delivery, work: String) -> Result<u64, Failure> {
        self.0.suffer(delivery, "before:", None).await?;
        self.0.wait_at_gate(delivery).await?;
        let done = self
            .0
            .outside()
            .await
            .execute("insert into app.outside (message_id) values ($1)", &[&work])
            .await?;
        self.0.suffer(delivery, "after:", None).await?;
        Ok(done)
    }

    async fn finish(
        &self,
        delivery: &Delivery,
        result: Result<&u64, &Failure>,
        tx: &Tx<'_>,
    ) -> Result<(), Failure> {
        match result {
            Ok(done) => {
                assert_eq!(*done, 1);
                self.0.suffer(delivery, "finish:", Some(tx)).await?;
                self.0.write_effect(delivery, tx).await
            }
            Err(failure) => {
                let sql = "insert into app.failures values ($1, $2)";
                tx.execute(sql, &[&delivery.message_id, &failure.text()]).await?;
                Ok(())
            }
        }
    }

    async fn buried(&self, delivery: &Delivery, reason: &str, tx: &Tx<'_>) -> Result<(), BoxError> {
        self.0.write_burial(delivery, reason, tx).await
    }
}
