//! What operators do, in a real browser: each act asks first, and is done under their name.

use serde_json::json;

use crate::{
    browser::Page,
    browser_views::open,
    client::{OPERATE, audit, insert_dead, operated},
    rig::Rig,
    support::wait,
};

/// Answers who acts.
async fn sign_in(page: &Page) {
    page.asks("Acting takes a token and a name").await;
    page.fill("Operator token", OPERATE).await;
    page.fill("Your name", "Ann Öhm").await;
    page.click("Go on").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_row_is_found_its_payload_shown_as_text_when_asked_for_and_replayed() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let payload = r#"{"note": "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"}"#;
    let (seq, id) = insert_dead(&rig, "4711", "placed", payload).await;
    insert_dead(&rig, "<b>bold</b>", "paid", "{}").await;
    let page = open(&relay, "dead").await;
    page.reads("order/<b>bold</b>").await;
    page.fill("Aggregate id", "4711").await;
    page.click("Search").await;
    page.until("document.querySelectorAll('.list tbody tr').length === 1").await;
    assert!(!page.text().await.contains("<script>"));
    page.click(&format!("Open row {seq}")).await;
    page.reads("Hidden: it may hold").await;
    assert!(!page.eval("document.documentElement.innerHTML").await.as_str().unwrap().contains("window.ran"));
    assert!(!page.requests().iter().any(|url| url.contains("payload=true")), "it was not even asked for");
    page.click("Show the payload").await;
    page.reads("<script>window.ran = 1</script>").await;
    page.keep("payload-wide-light").await;
    assert!(page.eval("document.querySelectorAll('main script, main img, main b').length").await == 0);
    assert!(page.eval("typeof window.ran").await == "undefined", "markup ran");
    page.click("Hide the payload").await;
    page.until("!document.body.innerText.includes('<script>')").await;
    page.click("Replay…").await;
    page.keep("sign-in-wide-light").await;
    sign_in(&page).await;
    page.asks("Replay 1 dead row?").await;
    page.keep("replay-wide-light").await;
    assert_eq!(rig.database.published().await, 0, "nothing before it is answered");
    page.fill("Note for the audit", "mended").await;
    page.click("Replay it").await;
    page.reads("Replayed 1 row.").await;
    rig.database.wait_published(seq).await;
    page.reads("No dead row matches").await;
    page.until("document.querySelector('.letter .badge').textContent === 'published'").await;
    let entries = audit(&rig);
    let entry = json!({ "actor": "page:Ann Öhm", "action": "replay", "affected": 1, "filter": { "event_ids": [id] }, "note": "mended" });
    assert_eq!(entries, [entry]);
    page.click("What happened to it").await;
    for words in ["inserted", "replay", "page:Ann Öhm", "published"] {
        page.reads(words).await;
    }
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn discarding_takes_a_reason_and_only_what_was_chosen() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let (chosen, _) = insert_dead(&rig, "1", "placed", "{}").await;
    insert_dead(&rig, "2", "placed", "{}").await;
    let page = open(&relay, "dead").await;
    page.click(&format!("Choose row {chosen}")).await;
    page.reads("1 chosen").await;
    page.click("Discard…").await;
    sign_in(&page).await;
    page.asks("Discard 1 dead row?").await;
    page.click("Discard it").await;
    page.reads("Say why").await;
    page.keep("discard-wide-light").await;
    assert_eq!(audit(&rig).len(), 0);
    // Escape does nothing but close it.
    page.press("Escape").await;
    page.until("!document.querySelector('dialog')").await;
    page.reads("1 chosen").await;
    page.click("Discard…").await;
    page.fill("Reason", "a test order").await;
    page.click("Discard it").await;
    page.reads("Discarded 1 row.").await;
    page.until("document.querySelectorAll('.list tbody tr').length === 1").await;
    let entries = audit(&rig);
    assert_eq!((&entries[0]["action"], &entries[0]["note"]), (&json!("discard"), &json!("a test order")));
    let left = rig
        .database
        .number("select count(*) from relay.outbox where dead_at is not null and resolved_at is null");
    assert_eq!(left.await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_key_is_skipped_from_where_the_overview_shows_it_wait() {
    let rig = Rig::bound_to(&["order.placed"]).await;
    let relay = operated(&rig).env("RELAY_RETRY_FLOOR", "1h").env("RELAY_RETRY_CAP", "1h").ready().await;
    let head = rig.database.insert("4711", "lost").await;
    let behind = rig.database.insert("4711", "placed").await;
    let page = open(&relay, "overview").await;
    page.reads("1 key waits behind a row that is being retried").await;
    page.click("order/4711").await;
    page.reads("Its head failed and is tried again").await;
    page.until("document.querySelectorAll('[aria-label=\"Rows of the key\"] tbody tr').length === 2").await;
    page.click("Skip its head…").await;
    sign_in(&page).await;
    page.asks(&format!("Give up row {head}?")).await;
    page.fill("Reason", "it was never routable").await;
    page.click("Give it up").await;
    page.reads(&format!("Row {head} is given up.")).await;
    rig.database.wait_published(behind).await;
    page.reads("Nothing holds it up").await;
    let entries = audit(&rig);
    assert_eq!((&entries[0]["action"], &entries[0]["actor"]), (&json!("skip"), &json!("page:Ann Öhm")));
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_is_paused_and_resumed() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let page = open(&relay, "overview").await;
    page.click("Pause…").await;
    sign_in(&page).await;
    page.asks("Pause publishing?").await;
    page.eval("(() => { const what = document.querySelector('dialog select'); what.value = 'key'; what.dispatchEvent(new Event('change')); })()").await;
    page.click("Pause").await;
    page.reads("Name the key.").await;
    page.fill("Aggregate type", "order").await;
    page.fill("Aggregate id", "4711").await;
    page.fill("Reason", "wrong address").await;
    page.keep("pause-wide-light").await;
    page.click("Pause").await;
    page.reads("order/4711").await;
    page.reads("wrong address").await;
    relay.wait_metric("relay_paused", &["scope=\"key\""], wait::LONG, |pauses| pauses == 1.0).await;
    let seq = rig.database.insert("4711", "placed").await;
    page.reads("paused by").await;
    assert_eq!(rig.database.published().await, 0);
    page.click("Resume").await;
    page.asks("Resume publishing?").await;
    page.click("Resume").await;
    page.reads("Nothing is paused").await;
    rig.database.wait_published(seq).await;
    let acts: Vec<_> = audit(&rig).iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(acts, ["resume", "pause"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_operators_token_the_page_says_how_to_get_one() {
    let rig = Rig::new().await;
    let relay = rig.relay().ready().await;
    insert_dead(&rig, "1", "placed", "{}").await;
    let page = open(&relay, "dead").await;
    page.click("Choose all that are shown").await;
    page.click("Replay…").await;
    page.asks("This page is read only").await;
    page.reads("page.operator_token").await;
    page.click("Understood").await;
    assert_eq!(audit(&rig).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_reached_by_the_keyboard() {
    let rig = Rig::new().await;
    let relay = rig.relay().ready().await;
    let (seq, _) = insert_dead(&rig, "1", "placed", "{}").await;
    let page = open(&relay, "dead").await;
    page.reads("order/1").await;
    page.press("Tab").await;
    page.until("document.activeElement.textContent === 'Skip to the content'").await;
    let wanted = [
        "Overview".to_owned(),
        "Dead letters".to_owned(),
        "Audit".to_owned(),
        "Search".to_owned(),
        "Choose all that are shown".to_owned(),
        format!("Choose row {seq}"),
        format!("Open row {seq}"),
    ];
    let focused = "(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()";
    let mut seen = Vec::new();
    while !seen.contains(&wanted[wanted.len() - 1]) {
        page.press("Tab").await;
        assert!(seen.len() < 60, "{seen:?}");
        seen.push(page.eval(focused).await.as_str().unwrap().to_owned());
        assert!(
            page.eval("getComputedStyle(document.activeElement).outlineStyle !== 'none'").await == true,
            "{seen:?}"
        );
    }
    for name in &wanted {
        assert!(seen.contains(name), "{name} is not in {seen:?}");
    }
    page.press("Enter").await;
    page.until("document.activeElement.className.includes('letter')").await;
    page.press("Escape").await;
    page.until("!document.querySelector('.letter')").await;
}
