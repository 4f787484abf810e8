//! What operators see, in a real browser: every view in every look, within the policy; and whether it is still true.

use std::time::Duration;

use serde_json::json;

use crate::{
    browser::{LOOKS, Page},
    client::{Client, OPERATE, READ, insert_dead, operated},
    outboxes::{File, block},
    rig::Rig,
    shipping_rig::{self, shipment},
    support::{
        broker::Broker,
        relay::{Relay, RelayProcess},
        servers, wait,
    },
};

/// Where the page of a relay is.
pub fn address(relay: &RelayProcess) -> String {
    format!("http://{}/", Client::of(relay).address)
}

/// Opens a view.
pub async fn open(relay: &RelayProcess, view: &str) -> Page {
    Page::open(&format!("{}#/default/{view}", address(relay))).await
}

/// Until what is asked for is seen, as of now.
const SHOWN: &str = "document.querySelector('.fresh.live') && !document.querySelector('.loading')";

/// An outbox with something of everything, and shipments beside it.
async fn furnished() -> (Rig, Vec<(&'static str, String, &'static str)>) {
    let mut shipping = shipping_rig::Rig::new().await;
    shipping.order().await;
    let new = shipment(1, 2, 1);
    shipping.accept(&new, None).await.unwrap();
    let rig = Rig { database: shipping.db, broker: Broker::new(servers::shared()).await };
    let (_, dead) = insert_dead(&rig, "4711", "placed", r#"{"lines": [1, 2, 3]}"#).await;
    for index in 0..12 {
        insert_dead(&rig, &format!("customer-{index}/a-rather-long-name-of-an-aggregate"), "paid", "{}")
            .await;
    }
    let park = "insert into relay.held_keys (aggregate_type, aggregate_id, lane, head_seq, reason)
                select aggregate_type, aggregate_id, lane, seq, 'parked' from relay.outbox where aggregate_id = '4711'";
    rig.database.execute(park, &[]).await;
    let behind = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, state)
                  select 'order', '4711', 'paid', '{}', 'held' from generate_series(1, 3)";
    rig.database.execute(behind, &[]).await;
    rig.relay().command(&["pause", "--routing-key", "invoice.#", "--note", "the queue moves"]);
    let views = vec![
        ("overview", "overview".to_owned(), "the queue moves"),
        ("dead-letters", "dead".to_owned(), "312 NO_ROUTE"),
        ("dead-letter", format!("dead?open={dead}"), "Show the payload"),
        ("key", "key?aggregate_type=order&aggregate_id=4711".to_owned(), "Release the key"),
        ("event", format!("event?event={dead}"), "inserted"),
        ("shipments", "shipment?order=17".to_owned(), "Shipments of order 17"),
        ("shipment", format!("shipment?shipment={}", new.shipment_id), "validate address"),
        ("audit", "audit".to_owned(), "pause"),
    ];
    (rig, views)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_keeps_to_the_policy_and_to_the_screens_width() {
    let (rig, views) = furnished().await;
    let relay = operated(&rig).ready().await;
    let page = open(&relay, "overview").await;
    for (name, view, words) in views {
        page.eval(&format!("location.hash = {}", json!(format!("#/default/{view}")))).await;
        page.until("location.hash.includes(document.querySelector('nav [aria-current]')?.hash.slice(2))")
            .await;
        for (look, width, ..) in LOOKS {
            page.look(look).await;
            page.until(SHOWN).await;
            page.reads(words).await;
            page.until(&format!("innerWidth === {width}")).await;
            let wide = page.eval("document.documentElement.scrollWidth").await;
            assert!(wide.as_u64() <= Some(width.into()), "{name} {look}: {wide} wide\n{}", page.text().await);
            page.keep(&format!("{name}-{look}")).await;
        }
    }
    assert_eq!(page.complaints(), [""; 0]);
    let address = address(&relay);
    let strangers: Vec<_> = page
        .requests()
        .into_iter()
        .filter(|url| !url.starts_with(&address) && !url.starts_with("data:"))
        .collect();
    assert_eq!(strangers, [""; 0], "everything comes from relay itself");
    // Had there been something to complain of, it would have been heard.
    page.eval("document.body.setAttribute('style', 'color: red')").await;
    page.eval("fetch('http://127.0.0.1:1/').catch(() => 0)").await;
    wait::until("the browser complains", wait::LONG, async || {
        let complaints = page.complaints().join("\n");
        complaints.contains("style-src") && complaints.contains("connect-src")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_without_anything_says_so_in_every_view() {
    let rig = Rig::new().await;
    let relay = rig.relay().ready().await;
    let page = open(&relay, "overview").await;
    page.reads("All is well").await;
    page.reads("Nothing is paused").await;
    assert!(!page.text().await.contains("Shipment"), "shipping is not installed");
    for (view, words) in [
        ("Dead letters", "No dead rows"),
        ("Key", "Which key?"),
        ("Event", "Which event?"),
        ("Audit", "Nobody did anything such"),
    ] {
        page.click(view).await;
        page.reads(words).await;
        page.keep(&format!("empty-{}-wide-light", view.to_lowercase().replace(' ', "-"))).await;
    }
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_shows_the_backlog_and_why_it_waits() {
    let rig = Rig::new().await;
    let command = operated(&rig);
    let relay = command.ready().await;
    command.command(&["pause", "--all", "--note", "the broker moves"]);
    relay.wait_metric("relay_paused", &["scope=\"all\""], wait::LONG, |pauses| pauses == 1.0).await;
    rig.database.insert_many(7, 7).await;
    let page = open(&relay, "overview").await;
    let figure = |name: &str, value: &str| {
        format!(
            "[...document.querySelectorAll('.figure')].some((one) => one.textContent === {})",
            json!(format!("{name}{value}"))
        )
    };
    page.until(&figure("ready", "7")).await;
    for words in ["1 pause stands", "everything", "the broker moves", "Lease left"] {
        page.reads(words).await;
    }
    page.until("document.querySelectorAll('.lanes li:not(.free)').length === 32").await;
    command.command(&["resume", "--all"]);
    page.until(&figure("ready", "0")).await;
    page.reads("All is well").await;
    // What relay measured over time is drawn.
    page.until("document.querySelectorAll('.plot .line').length === 3").await;
    assert_eq!(page.complaints(), [""; 0]);
}

/// A chart of rates, of which the latest is higher than all that were drawn.
const CHART: &str = "(async () => {
    const { chart } = await import('./page/chart.js');
    const { element, update } = chart({
        title: 'Rates', about: '', show: (value) => `${value.toLocaleString('en')}/s`,
    });
    document.body.append(element);
    update([1200, 4999, 3000], 60, Date.now(), 5100);
    const ticks = [...element.querySelectorAll('.tick[text-anchor=end]')];
    return {
        ticks: ticks.map((tick) => tick.textContent),
        leftmost: Math.min(...ticks.map((tick) => tick.getBBox().x)),
        peak: element.querySelector('.peak').textContent,
    };
})()";

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_shows_its_axis_whole_and_nothing_higher_than_its_highest() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let page = open(&relay, "overview").await;
    page.reads("Backlog").await;
    for look in ["wide-light", "narrow-light"] {
        page.look(look).await;
        let drawn = page.eval(CHART).await;
        assert_eq!(drawn["ticks"], json!(["0/s", "2,000/s", "4,000/s", "6,000/s"]));
        assert!(drawn["leftmost"].as_f64().unwrap() >= 0.0, "{look}: {drawn}");
        assert_eq!(drawn["peak"], "highest 5,100/s");
    }
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_looking_takes_a_token_a_wrong_one_shows_nothing() {
    let rig = Rig::new().await;
    insert_dead(&rig, "4711", "placed", "{}").await;
    let command = operated(&rig).env("RELAY_PAGE_READ_TOKEN", READ).env("RELAY_ADMIN_LISTEN", "0.0.0.0:0");
    let relay = command.ready().await;
    let page = open(&relay, "dead").await;
    page.reads("This page takes a token").await;
    page.keep("token-wide-light").await;
    page.fill("Token", "read-0123456789abcdeX").await;
    page.press("Enter").await;
    page.reads("The token was not taken").await;
    assert!(!page.text().await.contains("4711"), "{}", page.text().await);
    assert!(
        page.eval("Object.keys({ ...sessionStorage, ...localStorage }).length").await == 0,
        "it is not kept"
    );
    page.fill("Token", READ).await;
    page.click("Look").await;
    page.reads("order/4711").await;
    assert!(page.eval("document.cookie").await == "" && page.eval("localStorage.length").await == 0);
    // The tab remembers it, another does not.
    page.go("about:blank").await;
    page.go(&format!("{}#/default/dead", address(&relay))).await;
    page.reads("order/4711").await;
    open(&relay, "dead").await.reads("This page takes a token").await;
    // Looking is not acting.
    page.click("Choose all that are shown").await;
    page.click("Replay…").await;
    page.asks("Acting takes a token and a name").await;
    page.fill("Operator token", READ).await;
    page.fill("Your name", "Ann").await;
    page.click("Go on").await;
    page.reads("That token does not allow acting").await;
    page.fill("Operator token", OPERATE).await;
    page.click("Go on").await;
    page.asks("Replay 1 dead row?").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_another_address_without_a_token_there_is_no_page_but_what_to_do_about_it() {
    let rig = Rig::new().await;
    let relay = operated(&rig).env("RELAY_ADMIN_LISTEN", "0.0.0.0:0").ready().await;
    let page = Page::open(&address(&relay)).await;
    page.reads("page.read_token").await;
    assert!(page.eval("document.scripts.length").await == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_relay_is_gone_the_page_says_since_when_what_it_shows_is_old() {
    let rig = Rig::new().await;
    let mut relay = rig.relay().ready().await;
    let page = open(&relay, "overview").await;
    page.reads("All is well").await;
    page.until(SHOWN).await;
    relay.kill9();
    page.reads("Relay does not answer. What you see is from ").await;
    page.until("document.querySelector('.fresh.old') && document.querySelector('main.stale')").await;
    page.keep("stale-wide-light").await;
    page.look("narrow-dark").await;
    page.keep("stale-narrow-dark").await;
    page.reads("All is well").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_nobody_sees_asks_for_nothing() {
    let rig = Rig::new().await;
    let relay = rig.relay().ready().await;
    let page = open(&relay, "overview").await;
    page.until(SHOWN).await;
    let asked = || page.requests().iter().filter(|url| url.contains("/status")).count();
    let before = asked();
    wait::until("it asks again by itself", wait::LONG, async || asked() > before).await;
    let hide = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{ configurable: true, get: () => {hidden} }});
             document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    page.until(SHOWN).await;
    page.eval(&hide(true)).await;
    let before = asked();
    wait::throughout("it does not ask", Duration::from_secs(6), async || asked() == before).await;
    page.eval(&hide(false)).await;
    wait::until("it asks at once", wait::LONG, async || asked() > before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_outboxes_are_switched_between_and_each_shows_its_own() {
    let (shop, billing) = (Rig::new().await, Rig::new().await);
    let file = File::new(&[
        block("shop", &shop.database.url, &shop.broker, &shop.broker.url),
        block("billing eu", &billing.database.url, &billing.broker, &billing.broker.url),
    ]);
    let relay = Relay::configured_by(&file.0).ready().await;
    insert_dead(&shop, "of-the-shop", "placed", "{}").await;
    insert_dead(&billing, "of-billing", "placed", "{}").await;
    let page = Page::open(&format!("{}#/shop/dead", address(&relay))).await;
    page.reads("of-the-shop").await;
    page.eval(
        "(() => { const outbox = document.querySelector('#outbox select'); outbox.value = 'billing eu';
                  outbox.dispatchEvent(new Event('change')); })()",
    )
    .await;
    page.reads("of-billing").await;
    assert!(!page.text().await.contains("of-the-shop"));
    page.click("Overview").await;
    page.reads("1 dead row waits").await;
    page.click("Look at them").await;
    page.reads("of-billing").await;
    assert_eq!(page.complaints(), [""; 0]);
}
