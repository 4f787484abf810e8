//! `shipments doctor`: whether parties could be told.

use std::process::Command;

use serde_json::Value;

use crate::{
    postman::Manner,
    receiver::closed,
    rig::Rig,
    support::{database::Database, servers},
};

/// The real program, between these servers.
fn doctor(database_url: &str, env: &[(&str, &str)]) -> (i32, Value) {
    doctor_with(database_url, env, &[])
}

fn doctor_with(database_url: &str, env: &[(&str, &str)], args: &[&str]) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shipments"));
    command.args(["doctor", "-o", "json"]).args(args).env_clear().env("DATABASE_URL", database_url);
    let output = command.envs(env.iter().copied()).output().unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

#[track_caller]
fn assert_found(report: &Value, check: &str, verdict: &str, what: &str, cure: &str) {
    let text = |finding: &Value, part: &str| finding[part].as_str().unwrap_or_default().to_owned();
    let found = report["findings"].as_array().unwrap().iter().any(|finding| {
        finding["check"] == check
            && finding["verdict"] == verdict
            && text(finding, "what").contains(what)
            && text(finding, "cure").contains(cure)
    });
    assert!(found, "no {verdict} of {check} says {what:?} and {cure:?}: {report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_and_endpoints_that_cannot_be_reached_are_told_and_nothing_is_sent() {
    let rig = Rig::new().await;
    let url = rig.base.db.url.clone();
    let mail = format!("smtp://{}", rig.postman.address);
    let well = [
        ("SHIPMENTS_MAIL_URL", mail.as_str()),
        ("SHIPMENTS_MAIL_FROM", "shop@example.com"),
        ("SHIPMENTS_WEBHOOK_ALLOW", "127.0.0.0/8"),
        ("SHIPMENTS_WEBHOOK_ALLOW_HTTP", "true"),
    ];
    let (code, report) = doctor(&url, &well);
    assert_eq!(code, 0, "{report:#}");
    assert_found(&report, "notify.mail", "ok", "takes mail", "");
    assert_found(&report, "notify.webhooks", "ok", "1 endpoints can be reached", "");
    assert_found(&report, "shipping.migrations", "ok", "up to date", "");
    assert!(rig.receiver.calls().is_empty() && rig.postman.mails().is_empty(), "something was sent");

    // By the rules of webhooks: this machine's own are not for strangers.
    let (code, report) = doctor(&url, &[("SHIPMENTS_WEBHOOK_ALLOW_HTTP", "true")]);
    assert_eq!(code, 1, "{report:#}");
    assert_found(&report, "notify.mail", "skipped", "--mail-url", "");
    assert_found(
        &report,
        "notify.webhooks",
        "warning",
        "it is this machine's own",
        "SHIPMENTS_WEBHOOK_ALLOW",
    );
    let (_, report) = doctor(&url, &[]);
    assert_found(&report, "notify.webhooks", "warning", "https://", "its owner");
    let (code, report) = doctor_with(&url, &[], &["--fail-on", "failure"]);
    assert_eq!((code, &report["verdict"]), (0, &"warning".into()), "{report:#}");

    let nobody = closed();
    let nobody_at = nobody.local_addr().unwrap();
    let hook = format!("http://{nobody_at}/hook?key=hunter2");
    rig.base.client.execute("update shipping.webhook_endpoints set url = $1", &[&hook]).await.unwrap();
    let away = format!("smtp://{nobody_at}");
    let failing = [("SHIPMENTS_MAIL_URL", away.as_str()), well[1], well[2], well[3]];
    assert_eq!(doctor_with(&url, &failing, &["--fail-on", "failure"]).0, 2);
    let (code, report) = doctor(&url, &failing);
    assert_eq!(code, 2, "{report:#}");
    assert_found(&report, "notify.mail", "failure", "the mail server", "--mail-url");
    assert_found(&report, "notify.webhooks", "warning", "cannot connect", "its owner");
    assert!(!report.to_string().contains("hunter2"), "{report:#}");

    // One that never greets is given up.
    rig.postman.script([Manner::Silent]);
    let (code, report) = doctor(&url, &[well[0], well[1], ("SHIPMENTS_MAIL_DEADLINE", "500ms")]);
    assert_eq!(code, 2);
    assert_found(&report, "notify.mail", "failure", "no answer within", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_shippings_tables_is_to_be_migrated() {
    let database = Database::empty(servers::shared()).await;
    let (code, report) = doctor(&database.url, &[]);
    assert_eq!(code, 2);
    assert_found(&report, "shipping.migrations", "failure", "pending", "shipments migrate");
    assert_found(&report, "notify.webhooks", "skipped", "needs shipping.migrations", "");
    let (code, report) = doctor(&format!("{}_none", database.url), &[]);
    assert_eq!(code, 2);
    assert_found(&report, "shipping.database", "failure", "does not exist", "create the database");
    assert_found(&report, "notify.webhooks", "skipped", "needs shipping.database", "");
}
