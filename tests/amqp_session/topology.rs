//! The exchange and the dead-letter objects: declared, verified, in the way.

use std::time::{Duration, Instant};

use lapin::{
    options::{BasicNackOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use relay::{
    amqp::{AmqpError, Topology, topology},
    publisher::Outcome,
};

use crate::rig::{PATIENCE, Queues, THREADS, message, publish_alone, session, unique};

fn names() -> Topology {
    Topology {
        exchange: unique("events"),
        dead_letter_exchange: unique("dlx"),
        dead_letter_queue: unique("dlq"),
    }
}

async fn remove(topology: &Topology) {
    let queues = Queues::new().await;
    for name in [&topology.exchange, &topology.dead_letter_exchange] {
        let _ = queues.channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await;
    }
    let name = topology.dead_letter_queue.as_str().into();
    let _ = queues.channel.queue_delete(name, QueueDeleteOptions::default()).await;
}

#[tokio::test]
async fn the_topology_is_missing_then_declared_then_declared_again_and_takes_dead_letters() {
    let _shared = THREADS.read().await;
    let (session, names) = (session().await, names());
    let missing = topology::verify(&session, &names).await;
    let declared = [topology::declare(&session, &names).await, topology::declare(&session, &names).await];
    let verified = topology::verify(&session, &names).await;
    let mut letter = message("any.key.at.all");
    letter.exchange.clone_from(&names.dead_letter_exchange);
    let outcome = publish_alone(&mut session.confirm_channel().await.unwrap(), letter).await;
    remove(&names).await;

    let missing = missing.unwrap_err();
    assert!(matches!(&missing, AmqpError::Missing { name, .. } if *name == names.exchange), "{missing:?}");
    assert!(missing.is_configuration() && missing.to_string().contains("outbox.declare"), "{missing}");
    assert!(declared.iter().chain([&verified]).all(Result::is_ok), "{declared:?} {verified:?}");
    assert_eq!(outcome, Outcome::Confirmed);
}

#[tokio::test]
async fn a_dead_letter_survives_any_number_of_redeliveries() {
    let _shared = THREADS.read().await;
    let (session, names) = (session().await, names());
    topology::declare(&session, &names).await.unwrap();
    let mut letter = message("any.key");
    letter.exchange.clone_from(&names.dead_letter_exchange);
    assert_eq!(
        publish_alone(&mut session.confirm_channel().await.unwrap(), letter).await,
        Outcome::Confirmed
    );
    let queues = Queues::new().await;
    let mut deliveries = 0;
    let begun = Instant::now();
    // RabbitMQ 4 would drop it after the 20th, unless told otherwise.
    while deliveries < 25 && begun.elapsed() < PATIENCE {
        let name = names.dead_letter_queue.as_str().into();
        match queues.channel.basic_get(name, Default::default()).await.unwrap() {
            Some(got) => {
                deliveries += 1;
                got.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await.unwrap();
            }
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    remove(&names).await;
    assert_eq!(deliveries, 25);
}

#[tokio::test]
async fn an_object_that_exists_with_other_properties_is_named_and_costs_no_session() {
    let _shared = THREADS.read().await;
    let (session, names) = (session().await, names());
    let queues = Queues::new().await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let classic = names.dead_letter_queue.as_str().into();
    queues.channel.queue_declare(classic, options, FieldTable::default()).await.unwrap();
    let mismatch = topology::declare(&session, &names).await;
    let mut other = names.clone();
    other.exchange = "amq.fanout".to_owned();
    let fanout = topology::declare(&session, &other).await;
    other.exchange = "n".repeat(256);
    let long = topology::declare(&session, &other).await;
    let channel = session.confirm_channel().await;
    remove(&names).await;

    let mismatch = mismatch.unwrap_err();
    let AmqpError::Mismatch { object: "queue", name, text } = &mismatch else { panic!("{mismatch:?}") };
    assert!(*name == names.dead_letter_queue && text.contains("x-queue-type"), "{text}");
    assert!(mismatch.is_configuration());
    let fanout = fanout.unwrap_err();
    assert!(
        matches!(&fanout, AmqpError::Mismatch { object: "exchange", .. } | AmqpError::Denied { .. }),
        "{fanout:?}"
    );
    assert!(matches!(long.unwrap_err(), AmqpError::Name { length: 256, .. }));
    channel.expect("the session goes on");
}
