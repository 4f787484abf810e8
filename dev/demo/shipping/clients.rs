//! Clients that want shipments, and do not ask only once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use relay::http::client::Bytes;
use serde_json::json;
use tokio::task::JoinSet;

use super::shop::{Shop, address};
use crate::servers::{Result, until};

const CLIENTS: u64 = 4;
/// Shipments of an order.
const OF_ORDER: u64 = 10;

/// How a shipment has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Shipped.
    Shipped,
    /// Shipped, and then cancelled: everything undone.
    Cancelled,
    /// The carrier refused its labels, so it failed.
    Refused,
    /// One label was sold and another one refused, so it failed, and the one was voided.
    Voided,
}

impl Fate {
    /// The state it rests in.
    pub(crate) fn state(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Cancelled => "cancelled",
            Self::Refused | Self::Voided => "failed",
        }
    }
}

/// A shipment that a client wants under a key.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) order: String,
    pub(crate) key: String,
    pub(crate) body: Bytes,
    pub(crate) cases: u64,
    pub(crate) fate: Fate,
    /// The shipment, once it is accepted.
    pub(crate) id: String,
    /// What the client was answered.
    pub(crate) answer: Bytes,
}

impl Wanted {
    /// A shipment of so many cases with an apple in each.
    pub(crate) fn new(order: &str, key: &str, cases: u64, fate: Fate) -> Self {
        let case = json!({"weight_grams": 500, "length_mm": 300, "width_mm": 200, "height_mm": 100,
                          "lines": [{"line": 1, "quantity": 1}]});
        let cases_of_it: Vec<_> = (0..cases).map(|_| case.clone()).collect();
        // The carrier does not serve this postal code.
        let zip = if fate == Fate::Refused { "00000" } else { "97477" };
        let body = json!({"order_id": order, "ship_to": address(zip), "ship_from": address("97477"),
                          "cases": cases_of_it});
        Self {
            order: order.to_owned(),
            key: key.to_owned(),
            body: body.to_string().into(),
            cases,
            fate,
            id: String::new(),
            answer: Bytes::new(),
        }
    }
}

/// Clients at work.
pub(crate) struct Clients {
    tasks: JoinSet<Result<Vec<Wanted>>>,
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
}

impl Clients {
    pub(crate) fn start(shop: &Arc<Shop>, endpoint: &str) -> Self {
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for client in 0..CLIENTS {
            let (shop, endpoint) = (Arc::clone(shop), endpoint.to_owned());
            let (stop, accepted) = (Arc::clone(&stop), Arc::clone(&accepted));
            tasks.spawn(async move {
                let mut all = Vec::new();
                for count in 0_u64.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    all.push(want(&shop, &endpoint, client, count).await?);
                    accepted.fetch_add(1, Relaxed);
                    // An outage that takes long is not to become a mountain of work.
                    let pace = if count < 40 { 350 } else { 1000 };
                    tokio::time::sleep(Duration::from_millis(pace)).await;
                }
                Ok(all)
            });
        }
        Self { tasks, stop, accepted }
    }

    /// Waits until so many more shipments are accepted.
    pub(crate) async fn accepted_more(&self, count: u64) -> Result<()> {
        let goal = self.accepted.load(Relaxed) + count;
        let what = format!("{count} more shipments are accepted");
        until(&what, async || Ok(self.accepted.load(Relaxed) >= goal)).await
    }

    /// Has them stop; what they wanted.
    pub(crate) async fn finish(mut self) -> Result<Vec<Wanted>> {
        self.stop.store(true, Relaxed);
        let mut all = Vec::new();
        while let Some(client) = self.tasks.join_next().await {
            all.extend(client??);
        }
        Ok(all)
    }
}

/// Has one shipment accepted, in one of the ways in which clients ask more than once.
async fn want(shop: &Shop, endpoint: &str, client: u64, count: u64) -> Result<Wanted> {
    let order = format!("SO-{client}-{}", count / OF_ORDER);
    if count.is_multiple_of(OF_ORDER) {
        shop.put_order(&order, endpoint).await?;
    }
    let fate = if count % 12 == 7 { Fate::Refused } else { Fate::Shipped };
    let cases = if count.is_multiple_of(5) { 2 } else { 1 };
    let mut wanted = Wanted::new(&order, &format!("{client}-{count}"), cases, fate);
    match count % 4 {
        // At once. The others were answered, too, and must have been answered the same.
        0 => {
            let (mut first, mut second, mut third) = (wanted.clone(), wanted.clone(), wanted.clone());
            tokio::try_join!(shop.accept(&mut first), shop.accept(&mut second), shop.accept(&mut third))?;
            wanted = first;
            [second, third].iter().for_each(|again| shop.agree(&wanted, again));
        }
        // Gone at any moment from before the first byte to after the answer.
        1 | 2 => {
            shop.hang_up(&wanted, Duration::from_millis(count % 17)).await?;
            shop.accept(&mut wanted).await?;
        }
        _ => {
            shop.accept(&mut wanted).await?;
            shop.repeat(&wanted).await?;
        }
    }
    Ok(wanted)
}
