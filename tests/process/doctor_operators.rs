//! `relay doctor`, about what operators do by commands and the page.

use relay::operator::doctor::Check;

use crate::{
    doctor::Doctor,
    rig::Rig,
    support::{broker::Broker, database::Database, relay::finish, servers},
};

const TOKEN: &str = "a-token-of-operators";
const CHECK: Check = Check::Operators;

/// A URL as another role's.
fn as_role(url: &str, role: &str) -> String {
    let (start, end) = url.split_once("://").unwrap();
    let (_, host) = end.split_once('@').unwrap();
    format!("{start}://{role}:relay@{host}")
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_operators_may_do_by_the_page_what_they_are_let_is_told_with_what_lets_them() {
    let rig = Rig::new().await;
    let role = format!("doctor_ops_{}", std::process::id());
    rig.database.execute(&format!("create role {role} login password 'relay'"), &[]).await;
    let grant = |purpose: &'static str| {
        let done = finish(&["migrate", purpose, &role], &[("DATABASE_URL", &rig.database.url)]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    };
    let doctor = || Doctor::new(&rig.database, &rig.broker);
    doctor().says().assert(CHECK, "ok", "only shows", "");
    doctor().env("RELAY_PAGE_ENABLED", "false").says().assert(CHECK, "skipped", "page.enabled = false", "");
    doctor().env("RELAY_PAGE_OPERATOR_TOKEN", TOKEN).says().assert(
        CHECK,
        "ok",
        "may do what operators do",
        "",
    );

    // Relay's own role looks, and no more.
    grant("--grant-run-to");
    grant("--grant-prune-to");
    let own = as_role(&rig.database.url, &role);
    let least = doctor().env("DATABASE_URL", own.clone());
    least.says().assert_only(&[]);
    let said = least.env("RELAY_PAGE_OPERATOR_TOKEN", TOKEN).says();
    said.assert(CHECK, "warning", &format!("{role:?}, which may not"), "name it in database.operator_url");
    said.assert_only(&[CHECK]);
    assert_eq!(said.code, 1, "rows go out all the same");

    // A connection of their own is looked at whoever may use it.
    let apart = doctor().env("RELAY_DATABASE_OPERATOR_URL", own).env("RELAY_PAGE_ENABLED", "false");
    let cure = format!("relay migrate --grant-operate-to {role}");
    apart.says().assert(CHECK, "warning", "which may not", &cure);
    grant("--grant-operate-to");
    apart.says().assert_only(&[]);
    for (revoke, lacks) in [
        ("update (payload) on relay.outbox", "update outbox (payload)"),
        ("delete on relay.pauses", "delete pauses"),
    ] {
        rig.database.execute(&format!("revoke {revoke} from {role}"), &[]).await;
        let said = apart.says();
        said.assert(CHECK, "warning", lacks, &cure);
        said.assert_only(&[CHECK]);
        grant("--grant-operate-to");
    }
    let sql = format!("drop owned by {role}; drop role {role}");
    rig.database.client().await.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_operators_that_leads_nowhere_or_elsewhere_is_told_before_somebody_acts_there() {
    let rig = Rig::new().await;
    let (empty, other) = (Database::empty(servers::shared()).await, Database::new(servers::shared()).await);
    let said = |url: &str| {
        Doctor::new(&rig.database, &rig.broker).env("RELAY_DATABASE_OPERATOR_URL", url.to_owned()).says()
    };
    for (url, what) in [
        ("postgres://relay@127.0.0.1:1/shop", "operators can't act"),
        (&empty.url, "has no outbox in schema relay"),
        (&other.url, "is not where the outbox is"),
    ] {
        let said = said(url);
        said.assert(CHECK, "warning", what, "database.operator_url");
        said.assert_only(&[CHECK]);
    }
    // With relay's own database away nobody can compare them.
    let broker = Broker::named(servers::shared());
    let lost = Doctor::new(&rig.database, &broker).env("DATABASE_URL", "postgres://relay@127.0.0.1:1/shop");
    let said = lost.env("RELAY_DATABASE_OPERATOR_URL", rig.database.url.clone()).says();
    said.assert(Check::Database, "failure", "", "");
    said.assert_well(CHECK);
}
