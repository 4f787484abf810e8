//! Services that change orders and say so in the outbox, in one transaction each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::servers::{Result, connect};

const SERVICES: u32 = 4;
const ORDERS: i32 = 400;

pub(crate) async fn prepare(database: &Client) -> Result<()> {
    database
        .batch_execute(&format!(
            "create schema shop;
             create table shop.orders (id integer primary key, version integer not null default 0);
             insert into shop.orders (id) select generate_series(1, {ORDERS})"
        ))
        .await?;
    Ok(())
}

/// What they did.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Committed {
    pub(crate) rows: u64,
    pub(crate) rolled_back: u64,
    /// Of the rows, those for which nobody has bound a queue yet.
    pub(crate) invoices: u64,
    /// Of the rows, those that nobody could publish.
    pub(crate) poison: u64,
}

/// The services at work.
pub(crate) struct Services {
    services: JoinSet<Result<Committed>>,
    stop: Arc<AtomicBool>,
}

impl Services {
    pub(crate) fn start(url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut services = JoinSet::new();
        for service in 0..SERVICES {
            let (url, stop) = (url.to_owned(), Arc::clone(&stop));
            services.spawn(async move { serve(&url, service, &stop).await });
        }
        Self { services, stop }
    }

    pub(crate) async fn finish(mut self) -> Result<Committed> {
        self.stop.store(true, Relaxed);
        let mut sum = Committed::default();
        while let Some(service) = self.services.join_next().await {
            let committed = service??;
            sum.rows += committed.rows;
            sum.rolled_back += committed.rolled_back;
            sum.invoices += committed.invoices;
            sum.poison += committed.poison;
        }
        Ok(sum)
    }
}

async fn serve(url: &str, service: u32, stop: &AtomicBool) -> Result<Committed> {
    let mut client = connect(url).await?;
    let mut committed = Committed::default();
    let mut pace = tokio::time::interval(Duration::from_millis(3));
    let mut step = service;
    for count in 1_u64.. {
        if stop.load(Relaxed) {
            break;
        }
        pace.tick().await;
        step = step.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let order = i32::try_from((step >> 8) % ORDERS.unsigned_abs())? + 1;
        let transaction = client.transaction().await?;
        // The row lock on the order is what gives its events their order.
        let version: i32 = transaction
            .query_one(
                "update shop.orders set version = version + 1 where id = $1 returning version",
                &[&order],
            )
            .await?
            .get(0);
        let (invoice, poison, rolled_back) = (count % 500 == 20, count % 1500 == 40, count % 50 == 0);
        let aggregate = if invoice { "invoice" } else { "order" };
        let headers = if poison { r#"{"nested": {"is": "not allowed"}}"# } else { r#"{"source": "demo"}"# };
        transaction
            .execute(
                "select relay.enqueue($1, $2::integer::text, 'changed', jsonb_build_object('version', $3::integer), $4::text::jsonb)",
                &[&aggregate, &order, &version, &headers],
            )
            .await?;
        if rolled_back {
            transaction.rollback().await?;
            committed.rolled_back += 1;
        } else {
            transaction.commit().await?;
            committed.rows += 1;
            committed.invoices += u64::from(invoice);
            committed.poison += u64::from(poison);
        }
    }
    Ok(committed)
}
