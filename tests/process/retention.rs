//! The table looks after itself: rows that were published long ago go, by one relay, and nobody notices.

use std::time::Duration;

use crate::{
    rig::Rig,
    support::{
        relay::{RelayProcess, finish},
        servers::{self, Server},
        wait,
    },
};

const MINUTE: Duration = Duration::from_secs(60);
/// A row of these has been published long ago.
const PUBLISHED: &str = "published_at = now() - interval '8 days'";
/// More than is removed before somebody sees it.
const MANY: i32 = 60_000;

/// Adds rows that were made ten days ago and have become what `columns` say: all at once, or a walk in between would pass
/// them by.
async fn add(rig: &Rig, kind: &str, rows: i32, columns: &str) {
    let sql = format!(
        "begin;
         insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, created_at, state, available_at)
         select 'order', n::text, '{kind}', '{{}}', now() - interval '10 days', 'waiting', now() + interval '1 day'
         from generate_series(1, {rows}) n;
         update relay.outbox set {columns} where event_type = '{kind}';
         commit"
    );
    rig.database.client().await.batch_execute(&sql).await.unwrap();
}

async fn count(rig: &Rig, kind: &str) -> i64 {
    rig.database.query("select count(*) from relay.outbox where event_type = $1", &[&kind]).await[0].get(0)
}

async fn wait_gone(rig: &Rig, kind: &str, but: i64) {
    wait::until(&format!("no row is {kind}"), MINUTE, async || count(rig, kind).await == but).await;
}

fn pruned(relay: &RelayProcess, kind: &str) -> f64 {
    relay.metric("relay_pruned_rows_total", &[&format!("kind=\"{kind}\"")])
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_past_their_age_go_all_others_stay_and_nobody_waits() {
    let rig = Rig::new().await;
    let dead = "dead_at = now() - interval '8 days', dead_reason = 'unroutable'";
    add(&rig, "old", 5000, PUBLISHED).await;
    add(&rig, "discarded", 10, &format!("{dead}, resolved_at = now() - interval '8 days'")).await;
    add(&rig, "young", 10, "published_at = now() - interval '6 days'").await;
    add(&rig, "discarded lately", 10, &format!("{dead}, resolved_at = now()")).await;
    add(&rig, "waiting", 10, "attempts = 1").await;
    add(&rig, "dead", 10, dead).await;
    add(&rig, "parked", 1, dead).await;
    add(&rig, "held", 1, "state = 'held'").await;
    let park = "insert into relay.held_keys (aggregate_type, aggregate_id, lane, head_seq, reason)
                select aggregate_type, aggregate_id, lane, seq, 'parked' from relay.outbox where event_type = 'parked'";
    rig.database.execute(park, &[]).await;
    // Somebody looks at one of them very closely.
    let session = rig.database.session().await;
    let lock = "begin; select from relay.outbox where seq = (select min(seq) from relay.outbox) for update";
    session.batch_execute(lock).await.unwrap();

    let mut relay = rig.relay().ready().await;
    // Rows are written and published all the while.
    wait::until("what is old is gone", MINUTE, async || {
        rig.database.wait_published(rig.database.insert("a", "placed").await).await;
        count(&rig, "old").await == 1 && count(&rig, "discarded").await == 0
    })
    .await;
    let stays =
        [("young", 10), ("discarded lately", 10), ("waiting", 10), ("dead", 10), ("parked", 1), ("held", 1)];
    for (kind, rows) in stays {
        assert_eq!(count(&rig, kind).await, rows, "{kind}");
    }
    assert_eq!((pruned(&relay, "published"), pruned(&relay, "discarded")), (4999.0, 10.0));
    session.batch_execute("rollback").await.unwrap();
    relay.drain().await;
    assert_eq!(relay.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_that_is_off_removes_nothing() {
    let rig = Rig::new().await;
    add(&rig, "old", 10, PUBLISHED).await;
    let off = rig.relay().env("RELAY_RETENTION_PUBLISHED", "off").ready().await;
    // Else it would not be its turn anyway.
    off.wait_metric("relay_lanes_owned", &[], wait::LONG, |lanes| lanes == 32.0).await;
    wait::throughout("old rows stay", Duration::from_secs(8), async || count(&rig, "old").await == 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_relays_removes_rows_and_the_other_goes_on_with_it() {
    let rig = Rig::new().await;
    let mut relays = [rig.relay().ready().await, rig.relay().ready().await];
    wait::until("the lanes are shared", wait::LONG, async || {
        relays.iter().all(|relay| relay.metric("relay_lanes_owned", &[]) == 16.0)
    })
    .await;
    add(&rig, "old", MANY, PUBLISHED).await;
    wait_gone(&rig, "old", 0).await;
    let removed = relays.each_ref().map(|relay| pruned(relay, "published"));
    assert!(removed.contains(&0.0) && removed.contains(&f64::from(MANY)), "{removed:?}");

    add(&rig, "older", MANY, PUBLISHED).await;
    wait::until("rows go", MINUTE, async || count(&rig, "older").await < i64::from(MANY)).await;
    let (busy, idle) = if removed[0] > 0.0 { (0, 1) } else { (1, 0) };
    relays[busy].drain().await;
    assert!(count(&rig, "older").await > 0, "it was over before: nothing was tested");
    wait_gone(&rig, "older", 0).await;
    assert!(pruned(&relays[idle], "published") > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_stay_while_there_is_a_backlog() {
    let rig = Rig::new().await;
    let (proxy, through) = crate::rig::through_proxy(&rig.broker.url).await;
    proxy.refuse();
    add(&rig, "old", 1000, PUBLISHED).await;
    rig.database.insert_many(10_000, 1000).await;
    let relay = rig.relay().env("AMQP_URL", &through).start().await;
    relay.wait_metric("relay_pending_rows", &["state=\"ready\""], wait::LONG, |rows| rows >= 10_000.0).await;
    wait::throughout("old rows stay", Duration::from_secs(8), async || count(&rig, "old").await == 1000)
        .await;
    proxy.thaw();
    wait_gone(&rig, "old", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_away_is_tidied_up_when_it_is_back() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    add(&rig, "old", MANY, PUBLISHED).await;
    let relay = rig.relay().ready().await;
    wait::until("rows go", MINUTE, async || count(&rig, "old").await < i64::from(MANY)).await;
    own.kill(Server::Postgres);
    relay.wait_trouble("database").await;
    own.boot(Server::Postgres);
    assert!(count(&rig, "old").await > 0, "it was over before: nothing was tested");
    wait_gone(&rig, "old", 0).await;
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_role_may_not_delete_says_so_once_and_goes_on() {
    let rig = Rig::new().await;
    let role = rig.broker.name("role").replace(['.', '-'], "_");
    rig.database.execute(&format!("create role {role} login password 'relay'"), &[]).await;
    let grant = |what: &str| {
        let granted = finish(&["migrate", what, &role], &[("DATABASE_URL", &rig.database.url)]);
        assert_eq!(granted.code, Some(0), "{}", granted.stderr);
    };
    grant("--grant-run-to");
    add(&rig, "old", 10, PUBLISHED).await;
    let own = rig.database.url.replacen("postgres@", &format!("{role}:relay@"), 1);
    let relay = rig.relay().env("DATABASE_URL", &own).ready().await;
    relay.wait_log("--grant-prune-to").await;
    // Longer than it takes to look again.
    wait::throughout("it is said once, and rows go on", Duration::from_secs(12), async || {
        rig.database.wait_published(rig.database.insert("a", "placed").await).await;
        relay.complaints().len() == 1
    })
    .await;
    assert_eq!(count(&rig, "old").await, 10);
    grant("--grant-prune-to");
    wait_gone(&rig, "old", 0).await;
    relay.wait_log("old rows are removed again").await;
    drop(relay);
    for end in ["drop owned by", "drop role"] {
        rig.database.execute(&format!("{end} {role}"), &[]).await;
    }
}
