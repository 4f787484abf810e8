//! `relay top`, on a terminal between a real database and real relays.

#[path = "../support/terminal.rs"]
mod terminal;

use std::collections::BTreeMap;

use relay::{
    operator::sample::Sampler,
    postgres::{connect::connect, sql::STEADY_PLANS},
};

use self::terminal::Terminal;
use crate::{
    rig::{Rig, through_proxy},
    several_outboxes::{File, block},
    support::{database, relay::finish, wait},
};

const EVERY: [&str; 3] = ["top", "--every", "200ms"];

/// A row that dies at once.
async fn insert_poison(rig: &Rig) -> i64 {
    let seq = rig.database.insert("poison", "placed").await;
    let sql = "update relay.outbox set exchange = 'nobody-allowed-this' where seq = $1";
    rig.database.execute(sql, &[&seq]).await;
    seq
}

#[tokio::test(flavor = "multi_thread")]
async fn backlog_dead_rows_pauses_and_owners_are_seen_and_q_gives_the_terminal_back() {
    let rig = Rig::new().await;
    let poison = insert_poison(&rig).await;
    let command = rig.relay();
    command.command(&["pause", "--key", "order/k1", "--note", "wrong address"]);
    let relay = command.ready().await;
    let admin = format!("http://{}", relay.address());
    rig.database.insert_many(90, 3).await;
    let env = [("DATABASE_URL", rig.database.url.as_str())];
    let mut terminal = Terminal::run(&[&EVERY[..], &["--ask", &admin]].concat(), &env, 45, 150);
    let name: String = rig.database.query("select name from relay.relays", &[]).await[0].get(0);
    let backlog = "ready 0  waiting 0  held 30";
    terminal
        .wait_text(&[backlog, "forbidden_exchange", "order/poison", "order/k1", "wrong address", &name])
        .await;
    terminal.wait_text(&["32 of 32 held, by 1 relays", &poison.to_string(), "closed"]).await;
    assert!(terminal.has_colours());
    // What is on the terminal is what others are told, too.
    let status = command.command(&["status"]);
    assert!(status.contains(&name) && status.contains("wrong address"), "{status}");

    terminal.press("4");
    terminal.wait_text(&["LANES", &"a".repeat(32), "connected"]).await;
    terminal.press("\t\t");
    terminal.wait_text(&["HELD KEY", "pause 1", "HOT KEY"]).await;
    terminal.press("\x1b[B?");
    terminal.wait_text(&["freeze what is shown"]).await;
    terminal.press("?p");
    terminal.wait_text(&["FROZEN", "go on"]).await;
    rig.database.insert("k1", "placed").await;
    let held = "select count(*) from relay.outbox where state = 'held'";
    wait::until("it is held", wait::LONG, async || rig.database.number(held).await == 31).await;
    terminal.press("1");
    terminal.wait_text(&["FROZEN", backlog]).await;
    terminal.press("p");
    terminal.wait_text(&["held 31"]).await;
    terminal.resize(12, 44);
    terminal.wait_text(&["relay top", "held 31", "of ", "q quit"]).await;
    assert!(!terminal.text().contains("wrong address"), "{}", terminal.text());
    terminal.press("\x1b[F");
    terminal.wait_text(&["forbid"]).await;
    terminal.press("q");
    assert_eq!(terminal.wait_exit().await.code(), Some(0));
    terminal.assert_given_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_relay_is_seen_a_lost_database_leaves_the_last_frame_and_sigterm_gives_the_terminal_back() {
    let rig = Rig::new().await;
    let mut relay = rig.relay().env("RELAY_LEASE_DURATION", "3s").ready().await;
    let seq = rig.database.insert("a", "placed").await;
    rig.database.wait_published(seq).await;
    let (proxy, url) = through_proxy(&rig.database.url).await;
    let admin = format!("http://{}", relay.address());
    let env = [("DATABASE_URL", url.as_str()), ("NO_COLOR", "1")];
    let mut terminal = Terminal::run(&[&EVERY[..], &["--ask", &admin]].concat(), &env, 40, 120);
    terminal.wait_text(&["nothing stands out", "32 of 32 held"]).await;
    assert_eq!(proxy.connections(), 1, "one connection is enough");
    relay.kill9();
    rig.database.insert("a", "placed").await;
    terminal.wait_text(&["no relay lives, so nothing is published", "0 of 32 held", "ready 1"]).await;
    proxy.refuse();
    proxy.cut();
    terminal.wait_text(&["STALE for", "ready 1"]).await;
    proxy.thaw();
    wait::until("the database is back", wait::LONG, async || !terminal.text().contains("STALE")).await;
    assert!(!terminal.has_colours(), "in spite of NO_COLOR");
    terminal.signal("TERM");
    assert_eq!(terminal.wait_exit().await.code(), Some(0));
    terminal.assert_given_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_outboxes_are_looked_at_in_turn() {
    let (shop, billing) = (Rig::new().await, Rig::new().await);
    let blocks = [("shop", &shop), ("billing", &billing)];
    let blocks = blocks.map(|(name, rig)| block(name, &rig.database.url, &rig.broker, &rig.broker.url));
    let file = File::new(&blocks);
    shop.database.insert_many(7, 1).await;
    let env = [("RELAY_CONFIG", file.0.as_str())];
    let mut terminal = Terminal::run(&EVERY, &env, 30, 100);
    terminal.wait_text(&["shop (1 of 2)", "ready 7"]).await;
    terminal.press("o");
    terminal.wait_text(&["billing (2 of 2)", "ready 0"]).await;
    terminal.press("o2");
    terminal.wait_text(&["shop (1 of 2)", "HOT KEY", "order/k0"]).await;
    // As control and C, which is a key here.
    terminal.press("\x03");
    assert_eq!(terminal.wait_exit().await.code(), Some(0));
    terminal.assert_given_back().await;
    let once = finish(&["top", "--once", "--every", "200ms"], &env);
    assert_eq!(once.code, Some(0), "{}", once.stderr);
    assert!(once.stdout.contains("relay top  shop") && once.stdout.contains("relay top  billing"));
    let alone = finish(&["top", "--once", "--every", "200ms", "--outbox", "billing"], &env);
    assert!(!alone.stdout.contains("relay top  shop"), "{}", alone.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_there_is_one_frame_as_text_or_an_error_that_says_so() {
    let rig = Rig::new().await;
    let poison = insert_poison(&rig).await;
    let mut relay = rig.relay().ready().await;
    let dead = async || rig.database.state(poison).await.dead_reason.is_some();
    wait::until("the row is dead", wait::LONG, dead).await;
    let env = [("DATABASE_URL", rig.database.url.as_str())];
    let refused = finish(&["top"], &env);
    assert_eq!(refused.code, Some(2));
    for part in ["no terminal", "relay top --once", "relay status"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let once = finish(&["top", "--once", "--every", "200ms"], &env);
    assert_eq!((once.code, once.stderr.as_str()), (Some(0), ""));
    for part in ["OVERVIEW", "KEYS", "ROWS", "RELAYS", "forbidden_exchange", "0/s", "32 of 32 held"] {
        assert!(once.stdout.contains(part), "no {part:?} in {}", once.stdout);
    }
    assert!(!once.stdout.contains('\x1b'), "{}", once.stdout);
    relay.drain().await;
    let nobody = finish(&["top", "--once"], &[("DATABASE_URL", "postgres://a@127.0.0.1:1/a")]);
    assert_eq!(nobody.code, Some(69), "{}", nobody.stderr);
    for (args, cure) in
        [(["--every", "1ms"], "200ms to 1h"), (["--ask", "localhost"], "http://127.0.0.1:9630")]
    {
        let strange = finish(&[&["top", "--once"], &args[..]].concat(), &env);
        assert_eq!(strange.code, Some(2));
        assert!(strange.stderr.contains(cure), "{}", strange.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_out_is_counted_at_both_ends_of_a_backlog_and_never_twice() {
    let rig = Rig::new().await;
    let connection = connect(&database::settings(&rig.database.url), "top").await.unwrap();
    connection.client.configure(STEADY_PLANS).await.unwrap();
    rig.database.insert_many(30_000, 50).await;
    let mut sampler = Sampler::new("relay");
    let first = sampler.read(&connection.client).await.unwrap();
    assert!(first.change.is_none() && first.status.backlog.pending[0] == 10_000);
    assert_eq!(first.hot.len(), 50, "each key has 200 of the first 10,000");
    assert!(first.hot.iter().all(|key| key.ready == 200), "{:?}", first.hot);
    let mut total = 0;
    for (mark, expected) in [("seq <= 3000", 3000), ("seq > 29000", 4000)] {
        rig.database
            .execute(&format!("update relay.outbox set published_at = now() where {mark}"), &[])
            .await;
        wait::until("they are counted", wait::LONG, async || {
            let change = sampler.read(&connection.client).await.unwrap().change.unwrap();
            total += change.published;
            assert!(!change.more_published && total <= expected, "{total}");
            total == expected
        })
        .await;
    }
    rig.database.insert_many(5, 1).await;
    let seconds =
        "update relay.outbox set state = 'waiting', attempts = 2, first_failed_at = now(), last_error = 'so',
                   available_at = now() + interval '1 hour' where seq = 30001";
    rig.database.execute(seconds, &[]).await;
    let dead = "update relay.outbox set dead_at = now() - interval '0.5 s', dead_reason = 'refused' where seq = 30002";
    rig.database.execute(dead, &[]).await;
    let last = sampler.read(&connection.client).await.unwrap();
    let change = last.change.unwrap();
    assert_eq!((change.added, change.died), (5, 1));
    assert_eq!(BTreeMap::from_iter(last.dead_by_reason), BTreeMap::from([("refused".to_owned(), 1)]));
    assert_eq!(last.dead.iter().map(|row| row.seq).collect::<Vec<_>>(), [30_002]);
    assert_eq!(
        (last.retrying_rows, last.retrying[0].seq, last.retrying[0].error.as_str()),
        (1, 30_001, "so")
    );
    assert!((3500.0..3601.0).contains(&last.retrying[0].due_in), "{:?}", last.retrying);
}
