use crate::{
    rig::{Kind, Rig, post},
    support::wait,
};

async fn order_of(rig: &Rig, ids: &[String]) -> Vec<String> {
    let rows = rig
        .database
        .query("select message_id from app.effects where message_id = any ($1) order by at", &[&ids])
        .await;
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_order_a_failed_message_holds_the_later_ones_of_its_key_and_no_others() {
    for kind in [Kind::Inside, Kind::Outside] {
        let rig = Rig::new().await;
        let ids: Vec<String> = (0..10).map(|n| format!("a{n}")).collect();
        // Of a crowd each is done again alone, where it fails again.
        rig.trouble("a2", "before:later", 2).await;
        let consumer = rig.start_with(kind, |settings| settings.in_order = true);
        let mut posts: Vec<_> = ids.iter().zip(1..).map(|(id, seq)| post(id).of("a", seq)).collect();
        posts.push(post("b0").of("b", 11));
        // One by one and as a crowd, so that some are alone in their batch and some are not.
        for post in &posts[..4] {
            rig.publish(post).await;
        }
        rig.publish_all(&posts[4..]).await;
        rig.wait_done("b0").await;
        wait::until("the others of the key are held", wait::LONG, async || {
            let sql = "select count(*) from relay.inbox where state = 'held'";
            rig.database.number(sql).await == 7
        })
        .await;
        assert_eq!(rig.queue_depth().await, 0, "they wait in the inbox");
        for id in &ids {
            rig.wait_done(id).await;
        }
        assert_eq!(order_of(&rig, &ids).await, ids, "{kind:?}");
        consumer.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_message_lets_its_key_go_on() {
    let rig = Rig::new().await;
    rig.trouble("a0", "before:fail", 99).await;
    let consumer = rig.start_with(Kind::Outside, |settings| settings.in_order = true);
    let ids: Vec<String> = (0..5).map(|n| format!("a{n}")).collect();
    let posts: Vec<_> = ids.iter().zip(1..).map(|(id, seq)| post(id).of("a", seq)).collect();
    rig.publish_all(&posts).await;
    rig.wait_state("a0", "dead").await;
    for id in &ids[1..] {
        rig.wait_done(id).await;
    }
    assert_eq!(order_of(&rig, &ids).await, &ids[1..]);
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_stays_held_when_its_predecessor_ends_at_that_moment() {
    let rig = Rig::new().await;
    // Two workers that race: one finishes retries of a key while the other takes in later ones.
    let one = rig.start_with(Kind::Inside, |settings| settings.in_order = true);
    let other = rig.start_with(Kind::Inside, |settings| settings.in_order = true);
    let mut ids = Vec::new();
    for seq in 1..=200 {
        let id = format!("m{seq}");
        if seq % 3 == 0 {
            rig.trouble(&id, "before:fail", 1).await;
        }
        rig.publish(&post(&id).of("k", seq)).await;
        ids.push(id);
    }
    let left = "select count(*) from relay.inbox where state <> 'done'";
    wait::until("none is left", wait::LONG, async || {
        one.count("done") + other.count("done") == 200 && rig.database.number(left).await == 0
    })
    .await;
    assert_eq!(rig.database.number("select count(*) from app.effects").await, 200);
    one.drain().await;
    other.drain().await;
}

/// Stops whoever finishes the message `first` between its last statement and its commit, while a test holds the lock 7.
const GATE: &str = "
    create function app.hold() returns trigger language plpgsql as $$ begin
        if (select state from relay.inbox where message_id = 'first') = 'done' then
            -- The statement after the one by which it is done: the next of the key is released by now, if there is one.
            if current_setting('app.first_done', true) = 'yes' then
                perform pg_advisory_xact_lock(7);
            end if;
            perform set_config('app.first_done', 'yes', true);
        end if;
        return null;
    end $$;
    create trigger hold after update on relay.inbox for each statement execute function app.hold();
";

/// How many wait for an advisory lock: at the gate, or for a key.
async fn waiting(rig: &Rig) -> i64 {
    let sql = "select count(*) from pg_locks where locktype = 'advisory' and not granted
               and database = (select oid from pg_database where datname = current_database())";
    rig.database.number(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_while_another_worker_finishes_the_one_before_it_is_not_forgotten() {
    for kind in [Kind::Inside, Kind::Outside] {
        let rig = Rig::new().await;
        let gate = rig.database.session().await;
        gate.batch_execute(GATE).await.expect("a gate");
        gate.batch_execute("select pg_advisory_lock(7)").await.expect("a closed one");
        // Its retry is the inbox's, which lets the next of its key go on when it is done.
        rig.trouble("first", "before:fail", 1).await;
        let leaving = rig.start_with(kind, |settings| settings.in_order = true);
        rig.publish(&post("first").of("k", 1)).await;
        wait::until("the first is about to be done", wait::LONG, async || waiting(&rig).await == 1).await;
        leaving.stop.send_replace(true);
        wait::until("it takes no more", wait::LONG, async || rig.consumers().await == 0).await;

        let heir = rig.start_with(kind, |settings| settings.in_order = true);
        rig.publish(&post("second").of("k", 2)).await;
        wait::until("the second waits for the first, somehow", wait::LONG, async || {
            waiting(&rig).await == 2 || rig.state("second").await.is_some()
        })
        .await;
        gate.batch_execute("select pg_advisory_unlock(7)").await.expect("open");
        rig.wait_done("second").await;
        assert_eq!(order_of(&rig, &["first".to_owned(), "second".to_owned()]).await, ["first", "second"]);
        leaving.drain().await;
        heir.drain().await;
    }
}
