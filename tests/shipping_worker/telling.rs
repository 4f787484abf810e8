//! Parties are told by the workers as they are run: once by mail and once by webhook, whoever dies in between; or it is
//! visible that nobody knows.

use relay::shipping::{
    step::{Step, Subject},
    store::{NewParty, PartyAddress},
};
use uuid::Uuid;

use crate::{
    postman::{Manner, Postman},
    receiver::{QUIET, Receiver, Reply, closed},
    rig::{GOOD, Rig, Worker},
    support::{broker::Delivery, wait},
};

/// The secret of every endpoint.
const SECRET: [u8; 32] = [0xab; 32];

const MAIL: &str = "mail/1";
const WEBHOOK: &str = "webhook/1";

/// Workers that tell parties on this machine, and soon again.
fn worker(rig: &Rig, postman: &Postman) -> Worker {
    rig.worker()
        .env("SHIPMENTS_MAIL_URL", &format!("smtp://{}", postman.address))
        .env("SHIPMENTS_MAIL_FROM", "Shop <shop@example.com>")
        .env("SHIPMENTS_WEBHOOK_ALLOW", "127.0.0.0/8")
        .env("SHIPMENTS_WEBHOOK_ALLOW_HTTP", "true")
        .env("SHIPMENTS_NOTIFY_SCHEDULE", &["100ms"; 40].join(","))
}

fn by_mail() -> PartyAddress {
    PartyAddress::Mail("ada@example.com".to_owned())
}

async fn by_webhook(rig: &Rig, url: &str) -> PartyAddress {
    let (session, endpoint) = (rig.database.session().await, Uuid::new_v4());
    let registered = rig.store.register_endpoint(&session, endpoint, "shop", (url, &SECRET), 10).await;
    assert!(registered.unwrap());
    PartyAddress::Webhook(endpoint)
}

/// Accepts a shipment of an order of its own, of which these are to be told: party 1, party 2.
async fn shipment(rig: &Rig, addresses: &[PartyAddress]) -> Uuid {
    let order = Uuid::new_v4().to_string();
    let party = |address: &PartyAddress| NewParty { role: "other".to_owned(), address: address.clone() };
    rig.order_for(&order, addresses.iter().map(party).collect()).await;
    let subjects = addresses.iter().zip(1..).map(|(address, number)| match address {
        PartyAddress::Mail(_) => Subject::Mail(number),
        PartyAddress::Webhook(_) => Subject::Webhook(number),
    });
    rig.accept_for(&order, 1, GOOD, subjects.collect()).await
}

/// State and error of what a party is told: `sent`, or `failed: because`.
async fn notification(rig: &Rig, id: Uuid, party: i16) -> String {
    let sql = "select state || coalesce(': ' || last_error, '') from shipping.notifications
               where shipment_id = $1 and party_no = $2 and kind = 'shipped'";
    rig.database.query(sql, &[&id, &party]).await[0].get(0)
}

/// State and attempts of the way to a webhook.
async fn delivery(rig: &Rig, id: Uuid) -> Option<(String, i32)> {
    let sql = "select d.state, d.attempts from shipping.deliveries d
               join shipping.notifications using (notification_id) where shipment_id = $1";
    rig.database.query(sql, &[&id]).await.first().map(|row| (row.get(0), row.get(1)))
}

/// Nobody is left who could still report: whatever a dead worker was at is due.
async fn claims_run_out(rig: &Rig) {
    rig.database.execute("update relay.inbox set due_at = now() where state = 'claimed'", &[]).await;
}

/// Has a worker die at a place of telling this party, and another one follow it.
async fn after_a_death(rig: &Rig, postman: &Postman, place: &str) -> crate::support::relay::RelayProcess {
    let worker = worker(rig, postman);
    let mut dying = worker.clone().env("SHIPMENTS_FAILPOINT", place).start().await;
    assert!(!dying.wait_exit(wait::LONG).await.success(), "{place}: nothing died there");
    claims_run_out(rig).await;
    worker.ready().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_party_is_told_once_however_often_the_work_order_comes() {
    let rig = Rig::new().await;
    let (postman, receiver) = (Postman::new().await, Receiver::new());
    let worker = worker(&rig, &postman).ready().await;
    rig.tap().await;
    let id = shipment(&rig, &[by_mail(), by_webhook(&rig, &receiver.url()).await]).await;
    rig.wait_entry(id, Step::Notify, "mail/1", "succeeded").await;
    rig.wait_entry(id, Step::Notify, "webhook/2", "succeeded").await;

    let seen = rig.broker.tapped().await;
    let orders: Vec<Delivery> = seen.into_iter().filter(|delivery| delivery.kind == "notify").collect();
    assert_eq!(orders.len(), 2);
    // The inbox knows these, the ledger those.
    rig.publish_again(&orders, str::to_owned).await;
    rig.publish_again(&orders, |id| format!("again-{id}")).await;
    for (result, count) in [("duplicate", 2.0), ("done", 4.0)] {
        let labels = ["consumer=\"shipping.notify\"", &format!("result=\"{result}\"")];
        let name = "relay_consumer_processed_total";
        worker.wait_metric(name, &labels, wait::LONG, |value| value >= count).await;
    }
    rig.wait_state(id, "shipped").await;
    rig.check().await;

    let (mails, calls) = (postman.mails(), receiver.calls());
    assert_eq!((mails.len(), mails[0].to.as_str()), (1, "ada@example.com"));
    assert_eq!((calls.len(), calls[0].signed_by(&SECRET)), (1, true));
    let (said, text) = (calls[0].json(), id.to_string());
    assert_eq!((&said["type"], &said["data"]["shipment_id"]), (&"shipment.shipped".into(), &text.into()));
    for party in [1, 2] {
        assert_eq!(notification(&rig, id, party).await, "sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_sent_once_whoever_dies_or_rests_as_unknown_for_a_person() {
    for (place, sent, state, found) in [
        // Rolled back: nothing had begun.
        ("prepared", 1, "succeeded", None),
        // From here on nobody knows whether the server has it.
        ("before", 0, "unknown", Some("not_done")),
        ("after", 1, "unknown", Some("done")),
        ("finish", 1, "unknown", Some("done")),
    ] {
        let rig = Rig::new().await;
        let postman = Postman::new().await;
        let id = shipment(&rig, &[by_mail()]).await;
        let _heir = after_a_death(&rig, &postman, &format!("notify.{MAIL}.{place}")).await;
        rig.wait_entry(id, Step::Notify, MAIL, state).await;
        rig.check().await;
        assert_eq!(postman.mails().len(), sent, "{place}");
        assert_eq!(rig.state(id).await, "shipped", "{place}");
        if let Some(found) = found {
            assert_eq!(rig.entry(id, Step::Notify, MAIL, "stalled").await, "true");
            let said = notification(&rig, id, 1).await;
            assert!(said.starts_with("unknown: the worker that told it died"), "{place}: {said}");
            let text = id.to_string();
            let resolve = ["resolve", &text, "notify", MAIL, found, "--reason", "asked Ada", "--yes"];
            let finished = rig.shipments(&resolve);
            assert_eq!(finished.code, Some(0), "{}", finished.stderr);
            rig.wait_entry(id, Step::Notify, MAIL, "succeeded").await;
            rig.check().await;
            assert_eq!(postman.mails().len(), 1, "{place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_whose_answer_died_with_its_worker_is_not_sent_again() {
    let rig = Rig::new().await;
    let postman = Postman::new().await;
    postman.script([Manner::SilentAfterMail]);
    let id = shipment(&rig, &[by_mail()]).await;
    let worker = worker(&rig, &postman);
    let mut killed = worker.ready().await;
    postman.wait_mails(1).await;
    killed.kill9();
    claims_run_out(&rig).await;
    let _heir = worker.ready().await;
    rig.wait_entry(id, Step::Notify, MAIL, "unknown").await;
    rig.check().await;
    wait::throughout("it is not sent again", QUIET, async || postman.connections() == 1).await;
    let said = notification(&rig, id, 1).await;
    assert!(said.starts_with("unknown: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_worker_died_comes_again_under_its_id() {
    for (place, calls) in [("prepared", 1), ("before", 1), ("after", 2), ("finish", 2)] {
        let rig = Rig::new().await;
        let (postman, receiver) = (Postman::new().await, Receiver::new());
        let id = shipment(&rig, &[by_webhook(&rig, &receiver.url()).await]).await;
        let _heir = after_a_death(&rig, &postman, &format!("notify.{WEBHOOK}.{place}")).await;
        rig.wait_entry(id, Step::Notify, WEBHOOK, "succeeded").await;
        rig.wait_state(id, "shipped").await;
        rig.check().await;
        let seen = receiver.calls();
        assert_eq!(seen.len(), calls, "{place}");
        assert!(seen.iter().all(|call| (call.id(), &call.body) == (seen[0].id(), &seen[0].body)), "{place}");
        assert!(seen.iter().all(|call| call.signed_by(&SECRET)), "{place}");
        assert_eq!(delivery(&rig, id).await.map(|(state, _)| state).as_deref(), Some("delivered"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_is_called_until_it_is_up() {
    let rig = Rig::new().await;
    let (postman, socket) = (Postman::new().await, closed());
    let url = format!("http://{}/hook", socket.local_addr().unwrap());
    let id = shipment(&rig, &[by_webhook(&rig, &url).await]).await;
    let _worker = worker(&rig, &postman).ready().await;
    wait::until("it was called in vain", wait::LONG, async || {
        delivery(&rig, id).await.is_some_and(|(state, attempts)| state == "pending" && attempts > 1)
    })
    .await;
    assert_eq!(rig.state(id).await, "shipped", "nobody waits for it");
    let receiver = Receiver::at(socket);
    rig.wait_entry(id, Step::Notify, WEBHOOK, "succeeded").await;
    rig.check().await;
    assert_eq!(receiver.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_disabled_and_not_called_again() {
    let rig = Rig::new().await;
    let (postman, receiver) = (Postman::new().await, Receiver::new());
    receiver.script([Reply::Status(410)]);
    let endpoint = by_webhook(&rig, &receiver.url()).await;
    let _worker = worker(&rig, &postman).ready().await;
    for error in ["the endpoint answered 410: it is gone", "the endpoint is disabled: it answered 410"] {
        let id = shipment(&rig, std::slice::from_ref(&endpoint)).await;
        rig.wait_entry(id, Step::Notify, WEBHOOK, "failed").await;
        rig.check().await;
        assert_eq!(rig.entry(id, Step::Notify, WEBHOOK, "last_error").await, error);
        assert_eq!(notification(&rig, id, 1).await, format!("failed: {error}"));
        assert_eq!(rig.state(id).await, "shipped");
    }
    assert_eq!(receiver.calls().len(), 1);
    let disabled =
        "select count(*) from shipping.webhook_endpoints where disabled_reason = 'it answered 410'";
    assert_eq!(rig.database.number(disabled).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_says_of_a_notification_stands_in_its_row_at_once() {
    let rig = Rig::new().await;
    let (postman, receiver) = (Postman::new().await, Receiver::new());
    postman.script([Manner::DropsAfterMail; 3]);
    receiver.script([Reply::Status(410)]);
    let [sent, again, never] = [by_mail(), by_mail(), by_mail()];
    let id = shipment(&rig, &[sent, again, never, by_webhook(&rig, &receiver.url()).await]).await;
    let worker = worker(&rig, &postman);
    let mut running = worker.ready().await;
    for (party, state) in [("mail/1", "unknown"), ("mail/2", "unknown"), ("mail/3", "unknown")] {
        rig.wait_entry(id, Step::Notify, party, state).await;
    }
    rig.wait_entry(id, Step::Notify, "webhook/4", "failed").await;
    rig.check().await;
    running.drain().await;

    let text = id.to_string();
    let state = async |party| notification(&rig, id, party).await.split(':').next().unwrap().to_owned();
    for (party, args, expected) in [
        (1, ["resolve", &text, "notify", "mail/1", "done"].as_slice(), "sent"),
        (2, &["resolve", &text, "notify", "mail/2", "not_done"], "pending"),
        (3, &["resolve", &text, "notify", "mail/3", "never"], "failed"),
        (4, &["retry", &text, "notify", "webhook/4"], "pending"),
    ] {
        let before = state(party).await;
        for (how, after) in [("--dry-run", before.as_str()), ("--yes", expected)] {
            let finished = rig.shipments(&[args, &["--reason", "asked them", how]].concat());
            assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
            assert_eq!(state(party).await, after, "{args:?} {how}");
        }
    }
    assert_eq!(delivery(&rig, id).await, Some(("pending".to_owned(), 1)));

    rig.database
        .execute("update shipping.webhook_endpoints set disabled_at = null, disabled_reason = null", &[])
        .await;
    let _heir = worker.ready().await;
    rig.wait_entry(id, Step::Notify, "mail/2", "succeeded").await;
    rig.wait_entry(id, Step::Notify, "webhook/4", "succeeded").await;
    rig.check().await;
    assert_eq!((state(2).await.as_str(), state(4).await.as_str()), ("sent", "sent"));
    assert_eq!((postman.mails().len(), receiver.calls().len()), (4, 2));
    assert_eq!(delivery(&rig, id).await, Some(("delivered".to_owned(), 2)));
}
