//! A place for facts that nobody consumes yet. relay publishes nothing into the void: a fact without a queue would be
//! tried again and at last dead-lettered. So the latest of them are kept in a queue that drops the oldest by itself.

use std::time::Duration;

use crate::{
    amqp::{AmqpError, AmqpSettings, Session},
    cause::chain,
    health::{Health, Part},
    reconnect::Reconnect,
    shipping::event::{Fact, ORDER, OrderFact, SHIPMENT},
};

/// As of [`Health`].
const USE: &str = "journal of facts";
/// Messages that it keeps.
const MOST: u32 = 10_000;
/// For the broker to hear the goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Declares it, as soon as the broker is there. Work orders are not for it: without their worker they have to stay.
pub(super) async fn declare(amqp: AmqpSettings, queue: String, exchange: String, health: Health) {
    let shipments = Fact::ALL.iter().map(|fact| format!("{SHIPMENT}.{fact}"));
    let orders = OrderFact::ALL.iter().map(|fact| format!("{ORDER}.{fact}"));
    let keys: Vec<String> = shipments.chain(orders).collect();
    let mut reconnect = Reconnect::default();
    loop {
        match try_declare(&amqp, &queue, &exchange, &keys).await {
            Ok(()) => return health.up(Part::Broker, USE),
            Err(error) => {
                health.down(Part::Broker, USE, &chain(&error));
                let wait = if error.is_configuration() { reconnect.refused() } else { reconnect.failed() };
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn try_declare(
    amqp: &AmqpSettings,
    queue: &str,
    exchange: &str,
    keys: &[String],
) -> Result<(), AmqpError> {
    let session = Session::connect(amqp, "shipments journal").await?;
    session.declare_journal(queue, exchange, keys, MOST).await?;
    session.close(GOODBYE).await;
    Ok(())
}
