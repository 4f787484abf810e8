//! Act two: a shipping service on top of relay. Clients ask twice and hang up, the carrier loses answers, and every part is
//! killed; each order is shipped once, billed once and told about once.

mod account;
mod clients;
mod mailbox;
mod parts;
mod receiver;
mod shop;

use std::sync::Arc;

use tokio_postgres::{Client, Row};

pub(crate) use account::Account;
use account::Evidence;
use clients::{Clients, Fate, Wanted};
use mailbox::Mailbox;
use parts::Parts;
use receiver::Receiver;
use shop::Shop;

use crate::{
    Story,
    part::Part,
    rows::tap::Tap,
    servers::{Result, Stack, number, until},
};

/// What is watched while it goes on.
struct Scene<'a> {
    story: &'a Story,
    stack: &'a Stack,
    database: &'a Client,
    mailbox: Mailbox,
}

/// Plays it, with the relay of the first act, and ends every part.
pub(crate) async fn act(
    story: &Story,
    stack: &Stack,
    database: &Client,
    tap: &Tap,
    mut relay: Part,
) -> Result<Account> {
    story
        .tell("TWO. shipments migrate; a carrier, two workers, an API; a mailbox and a receiver of webhooks");
    stack.run("shipments", &["migrate"]).await?;
    let (mailbox, receiver) = (Mailbox::open().await?, Receiver::open().await?);
    let mut parts = Parts::new(stack, &mailbox.url())?;
    parts.start().await?;
    // Not before the workers' queues are there: it would take their messages.
    tap.bind(&["shipment.#", "carrier.#"]).await?;
    let shop = Arc::new(Shop::new(&parts.api_url)?);
    let endpoint = shop.register(&receiver.url()).await?;
    receiver.expect(&endpoint.secret)?;
    let scene = Scene { story, stack, database, mailbox };

    story.tell("clients POST shipments: three times at once, twice in a row, or hanging up and asking again");
    let clients = Clients::start(&shop, &endpoint.id);
    scene.kills(&shop, &clients, &mut parts, &mut relay).await?;
    let mut wanted = clients.finish().await?;
    story.tell(&format!("{} shipments are accepted; waiting until nothing is under way", wanted.len()));
    scene.settle().await?;
    parts.count_spoilt().await?;

    wanted.extend(scene.undoing(&shop, &parts, &endpoint.id).await?);
    story.tell("every client asks for everything again, each with its old key");
    for one in &wanted {
        shop.repeat(one).await?;
    }
    scene.settle().await?;

    story.tell(
        "SIGTERM to the carrier and the API, then to workers and relay: each finishes what it has begun",
    );
    let ledger = parts.ledger().await?;
    parts.carrier.drain().await?;
    parts.api.drain().await?;
    scene.settle().await?;
    for part in parts.workers.iter_mut().chain([&mut relay]) {
        part.drain().await?;
    }
    let evidence = Evidence {
        wanted,
        tally: shop.tally(),
        ledger,
        spoilt: parts.spoilt,
        mails: scene.mailbox.mails(),
        calls: receiver.calls(),
    };
    Account::draw(database, &evidence).await
}

impl Scene<'_> {
    /// Kills one part after the other, each in the middle of its work, and starts it again.
    async fn kills(&self, shop: &Shop, clients: &Clients, parts: &mut Parts, relay: &mut Part) -> Result<()> {
        self.shipped_more(8).await?;
        self.story.tell("kill -9 of the API, mid-stream; it starts again");
        parts.api.kill().await?;
        shop.unanswered_more().await?;
        parts.api.start().await?;
        clients.accepted_more(8).await?;

        self.story.tell("kill -9 of a worker; the other one goes on");
        parts.workers[0].kill().await?;
        self.shipped_more(8).await?;
        parts.workers[0].start().await?;

        self.story.tell("kill -9 of the carrier; shipments are accepted all the same");
        parts.kill_carrier().await?;
        clients.accepted_more(8).await?;
        self.story.tell("... the carrier is back, with its ledger and its bad manners");
        parts.carrier.start().await?;
        self.shipped_more(8).await?;

        self.story.tell("kill -9 of relay; it starts again, and waits until its predecessor's lease is over");
        relay.kill().await?;
        relay.start().await?;
        self.shipped_more(8).await?;

        self.story.tell("kill -9 of the broker; shipments are accepted all the same");
        self.stack.control("kill-broker").await?;
        clients.accepted_more(8).await?;
        self.story.tell("... the broker starts again");
        self.stack.control("start-broker").await?;
        self.shipped_more(8).await?;
        self.story.tell("shipments flow again");
        Ok(())
    }

    /// Has two shipments undone: one that somebody cancels, and one of whose two labels the carrier refuses one.
    async fn undoing(&self, shop: &Shop, parts: &Parts, endpoint: &str) -> Result<Vec<Wanted>> {
        parts.script(r#"{"rules": [], "refunds": {"after_ms": 300}}"#).await?;
        shop.put_order("SO-undone", endpoint).await?;
        self.story.tell("somebody cancels a shipment of two cases that has shipped");
        let mut cancelled = Wanted::new("SO-undone", "cancelled", 2, Fate::Cancelled);
        shop.accept(&mut cancelled).await?;
        self.settle().await?;
        shop.cancel(&cancelled).await?;
        self.settle().await?;

        self.story.tell("the carrier sells the first label of a shipment, and refuses the second");
        let refusal = r#"{"rules": [{"route": "buy", "work": false, "answer": "status", "status": 422, "skip": 1,
                                     "times": 1}], "refunds": {"after_ms": 300}}"#;
        parts.script(refusal).await?;
        let mut halved = Wanted::new("SO-undone", "halved", 2, Fate::Voided);
        shop.accept(&mut halved).await?;
        self.settle().await?;
        Ok(vec![cancelled, halved])
    }

    async fn shipped_more(&self, count: u64) -> Result<()> {
        let sql = "select count(*) from shipping.shipments where state = 'shipped'";
        let goal = number(self.database, sql).await? + count;
        let what = format!("{count} more shipments are shipped");
        until(&what, async || Ok(number(self.database, sql).await? >= goal)).await
    }

    /// Waits until nothing is under way. What then waits for a person gets one.
    async fn settle(&self) -> Result<()> {
        let under_way = "select (select count(*) from shipping.steps where asked)
                              + (select count(*) from shipping.carrier_events where applied_at is null)
                              + (select count(*) from relay.inbox where state not in ('done', 'dead'))
                              + (select count(*) from relay.outbox where published_at is null and dead_at is null)";
        loop {
            until("nothing is under way", async || Ok(number(self.database, under_way).await? == 0)).await?;
            let stalled =
                "select shipment_id::text, subject from shipping.steps where stalled and step = 'notify'";
            let stalled = self.database.query(stalled, &[]).await?;
            if stalled.is_empty() {
                return Ok(());
            }
            self.resolve(&stalled).await?;
        }
    }

    /// A mail whose answer was lost is not sent again by itself: an operator looks whether it is there, and says so.
    async fn resolve(&self, stalled: &[Row]) -> Result<()> {
        let count = stalled.len();
        self.story.tell(&format!(
            "nobody knows whether {count} mails were taken; the operator looks into the mailbox:"
        ));
        for (index, row) in stalled.iter().enumerate() {
            let (id, subject): (&str, &str) = (row.get(0), row.get(1));
            let there = self.mailbox.mails().iter().any(|mail| mail.shipment() == Some(id));
            let verdict = if there { "done" } else { "not_done" };
            let act =
                ["resolve", id, "notify", subject, verdict, "--reason", "looked into the mailbox", "--yes"];
            if index == 0 {
                self.story.tell(&format!("shipments {}", act[..5].join(" ")));
                self.stack.run("shipments", &act).await?;
            } else {
                self.stack.run_quietly("shipments", &act).await?;
            }
        }
        Ok(())
    }
}
