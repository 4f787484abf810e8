//! A consumer of one's own: counts what was paid, exactly once. `docs/consumers.md` shows this file.

use std::time::Duration;

use relay::{
    amqp::{AmqpSettings, QueueSpec},
    consumer::{ConsumerSettings, Delivery, Failure, Handler, Transactional, Tx, run},
    health::Health,
    metrics::ConsumerMetrics,
    postgres::settings::{DatabaseSettings, Tls},
};
use tokio_postgres::types::Type;

/// Keeps `app.revenue`: one row a customer, with the sum of what they paid.
pub struct Revenue;

#[derive(serde::Deserialize)]
struct Paid {
    customer: String,
    cents: i64,
}

impl Transactional for Revenue {
    async fn handle(&self, delivery: &Delivery, tx: &Tx<'_>) -> Result<(), Failure> {
        if delivery.event_type != "paid" {
            return Err(Failure::finally("unknown_type", format!("{} is not for me", delivery.event_type)));
        }
        let paid: Paid = delivery.json().map_err(|error| Failure::finally("unknown_shape", error))?;
        // The message's row in relay.inbox commits with this, or neither does. Any error is tried again.
        tx.query_typed(
            "insert into app.revenue (customer, cents) values ($1, $2)
             on conflict (customer) do update set cents = revenue.cents + excluded.cents",
            &[(&paid.customer, Type::TEXT), (&paid.cents, Type::INT8)],
        )
        .await?;
        Ok(())
    }
}

/// How it is run: its name, its queue, its servers.
pub fn settings(database_url: &str, amqp_url: &str) -> Result<ConsumerSettings, Box<dyn std::error::Error>> {
    let queue = QueueSpec {
        name: "revenue".to_owned(),
        exchange: "outbox.events".to_owned(),
        routing_keys: vec!["order.paid".to_owned()],
        single_active: false,
    };
    let database = DatabaseSettings {
        config: database_url.parse()?,
        tls: Tls::Auto,
        ca_file: None,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(30),
        pooled: false,
        schema: "relay".to_owned(),
    };
    Ok(ConsumerSettings::new("revenue", queue, database, AmqpSettings::new(amqp_url.parse()?)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = settings(&std::env::var("DATABASE_URL")?, &std::env::var("AMQP_URL")?)?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.send_replace(true);
    });
    let ended =
        run(settings, Handler::transactional(Revenue), ConsumerMetrics::new()?, Health::new(), stopped);
    ended.await?;
    Ok(())
}
