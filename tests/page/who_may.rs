//! Who may look and who may act: by address, token, and where a request comes from.

use serde_json::json;

use crate::{
    client::{Client, OPERATE, OUTBOX, READ, insert_dead, operated},
    rig::Rig,
    support::relay::finish,
};

/// Everything that shows something, apart from the files of the page.
const LOOKS: [&str; 5] = ["/status", "/history", "/dead", "/pauses", "/audit"];

#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_without_tokens_whoever_is_there_looks_and_nobody_acts() {
    let rig = Rig::new().await;
    let relay = rig.relay().ready().await;
    let anybody = Client::of(&relay);
    for path in ["/", "/page.css", "/page.js"] {
        assert_eq!(anybody.get(path).status, 200, "{path}");
    }
    let session = anybody.json("/api/session");
    assert_eq!(session["may"], json!({ "read": true, "operate": false }));
    assert_eq!(session["outboxes"], json!(["default"]));
    assert_eq!(session["sign_in"], false);
    assert!(session["why_not"].as_str().unwrap().contains("page.operator_token"), "{session}");
    for path in LOOKS {
        anybody.json(&format!("{OUTBOX}{path}"));
    }
    let words = ["page.operator_token", "RELAY_PAGE_OPERATOR_TOKEN_FILE"];
    anybody.post(&format!("{OUTBOX}/pause"), &json!({ "scope": "all" })).refused(403, &words);
    anybody
        .with(OPERATE)
        .get("/api/session")
        .refused(401, &["neither page.read_token nor page.operator_token"]);
    assert_eq!(rig.database.number("select count(*) from relay.pauses").await, 0);
    assert!(relay.log().contains("to look at only"), "{}", relay.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_another_address_without_a_token_for_readers_nothing_is_served_but_metrics_and_probes() {
    let rig = Rig::new().await;
    for command in [rig.relay(), operated(&rig)] {
        let relay = command.env("RELAY_ADMIN_LISTEN", "0.0.0.0:0").start().await;
        let anybody = Client::of(&relay);
        for path in
            ["/", "/page.css", "/page.js", "/api/session", "/api/outboxes/default/status", "/api/nothing"]
        {
            for who in [&anybody, &anybody.with(OPERATE)] {
                who.get(path)
                    .refused(403, &["page.read_token", "RELAY_PAGE_READ_TOKEN", "kubectl port-forward"]);
            }
        }
        for path in ["/metrics", "/livez"] {
            assert_eq!(anybody.get(path).status, 200, "{path}");
        }
        assert!([200, 503].contains(&anybody.get("/readyz").status));
        assert!(relay.log().contains("closed, for page.read_token is not set"), "{}", relay.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_looking_takes_either_and_acting_the_operators() {
    let rig = Rig::new().await;
    let command = operated(&rig).env("RELAY_PAGE_READ_TOKEN", READ).env("RELAY_ADMIN_LISTEN", "0.0.0.0:0");
    let relay = command.ready().await;
    let nobody = Client::of(&relay);
    assert_eq!(nobody.get("/").status, 200, "the files hold nothing");
    let session = nobody.json("/api/session");
    assert_eq!(session["may"], json!({ "read": false, "operate": false }));
    assert_eq!((&session["outboxes"], &session["version"]), (&json!([]), &json!(null)), "nobody is told");
    for path in LOOKS {
        let refused = nobody.get(&format!("{OUTBOX}{path}"));
        refused.refused(401, &["page.read_token", "Authorization: Bearer"]);
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
    }
    let (reader, operator) = (nobody.with(READ), nobody.with(OPERATE));
    assert_eq!(reader.json("/api/session")["may"], json!({ "read": true, "operate": false }));
    assert_eq!(operator.json("/api/session")["may"], json!({ "read": true, "operate": true }));
    for path in LOOKS {
        reader.json(&format!("{OUTBOX}{path}"));
        operator.json(&format!("{OUTBOX}{path}"));
    }
    let acts = ["/dead/replay", "/dead/discard", "/pause", "/resume", "/key/skip", "/key/release"];
    for path in acts {
        for who in [&nobody, &reader] {
            who.post(&format!("{OUTBOX}{path}"), &json!({})).refused(403, &["page.operator_token"]);
        }
        // It may; but what?
        operator.post(&format!("{OUTBOX}{path}"), &json!({})).refused(400, &[]);
    }
    assert_eq!(operator.act(&format!("{OUTBOX}/pause"), &json!({ "scope": "all" }))["already"], false);
    let actor = rig.database.query("select actor from relay.pauses", &[]).await;
    assert_eq!(actor[0].get::<_, String>(0), "page:Ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_everywhere_and_the_log_says_so_once() {
    let rig = Rig::new().await;
    let relay = operated(&rig).env("RELAY_PAGE_READ_TOKEN", READ).ready().await;
    let stranger = Client::of(&relay).with("read-0123456789abcdeX");
    for _ in 0..20 {
        for path in ["/api/session", &format!("{OUTBOX}/status"), &format!("{OUTBOX}/dead/1")] {
            stranger.get(path).refused(401, &["neither page.read_token nor page.operator_token"]);
        }
        stranger.post(&format!("{OUTBOX}/pause"), &json!({ "scope": "all" })).refused(401, &[]);
    }
    for wrong in ["Basic cmVhZA==", READ, "Bearer", ""] {
        let sent = stranger.send("GET", &format!("{OUTBOX}/status"), &[("Authorization", wrong)], None);
        sent.refused(401, &[]);
    }
    let said: Vec<_> = relay.complaints().into_iter().filter(|line| line.contains("tokens")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(!relay.log().contains("read-0123456789abcdeX") && !relay.log().contains(READ), "{}", relay.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_site_or_a_form_could_send_does_nothing() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let (_, id) = insert_dead(&rig, "1", "placed", "{}").await;
    let operator = Client::of(&relay).with(OPERATE);
    let (path, body) = (format!("{OUTBOX}/dead/replay"), json!({ "event_ids": [id] }).to_string());
    let own = operator.address.to_string();
    let (json, ann) = (("Content-Type", "application/json"), ("X-Relay-Actor", "Ann"));
    let origin = format!("http://{own}");
    for (headers, status, word) in [
        (vec![ann, ("Content-Type", "application/x-www-form-urlencoded")], 415, "application/json"),
        (vec![ann, ("Content-Type", "text/plain")], 415, "application/json"),
        (vec![ann], 415, "application/json"),
        (vec![json], 400, "X-Relay-Actor"),
        (vec![json, ("X-Relay-Actor", "a%00b")], 400, "X-Relay-Actor"),
        (vec![json, ann, ("Sec-Fetch-Site", "cross-site")], 403, "another site"),
        (vec![json, ann, ("Sec-Fetch-Site", "same-site"), ("Origin", &origin)], 403, "another site"),
        (vec![json, ann, ("Origin", "http://evil.example")], 403, "another site"),
        (vec![json, ann, ("Origin", "null")], 403, "another site"),
        (vec![json, ann, ("Host", "evil.example")], 403, "loopback"),
        (vec![json, ann, ("Host", "evil.example"), ("Origin", "http://evil.example")], 403, "loopback"),
    ] {
        operator.send("POST", &path, &headers, Some(&body)).refused(status, &[word]);
    }
    // Nor is anything shown to a name that somebody leads to loopback.
    for path in ["/", "/api/session", &format!("{OUTBOX}/dead")] {
        let sent = Client::of(&relay).send("GET", path, &[("Host", "evil.example:80")], None);
        sent.refused(403, &["page.read_token"]);
        assert_eq!(Client::of(&relay).send("GET", path, &[("Host", "localhost:80")], None).status, 200);
    }
    assert_eq!(rig.database.number("select count(*) from relay.outbox where dead_at is not null").await, 1);
    let done = operator.send("POST", &path, &[json, ann, ("Origin", &origin)], Some(&body));
    assert_eq!(done.json()["done"], 1, "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_the_browser_to_run_nothing_else_and_to_keep_nothing() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let anybody = Client::of(&relay);
    let answers = [
        anybody.get("/"),
        anybody.get("/page.js"),
        anybody.get("/api/session"),
        anybody.get("/api/nothing"),
        anybody.get(&format!("{OUTBOX}/dead/x")),
        anybody.get("/api/outboxes/other/status"),
        anybody.send("DELETE", "/", &[], None),
        anybody.send("GET", "/", &[("Host", "evil.example")], None),
        anybody.with("0123456789abcdefg").get("/api/session"),
    ];
    for answer in &answers {
        let policy = &answer.headers["content-security-policy"];
        for part in
            ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"]
        {
            assert!(policy.contains(part), "{answer:?}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert!(!answer.headers.contains_key("set-cookie"));
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    assert_eq!(answers.map(|answer| answer.status), [200, 200, 200, 404, 400, 404, 405, 403, 401]);
    assert_eq!(anybody.get("/api/session").headers["cache-control"], "no-store");
    assert_eq!(anybody.get("/").headers["content-type"], "text/html; charset=utf-8");
    assert!(!anybody.get("/").body.contains("<script>"), "nothing runs that is written into the page");
    assert!(!anybody.get("/metrics").headers.contains_key("content-security-policy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_switched_off_is_not_there() {
    let rig = Rig::new().await;
    let relay = operated(&rig).env("RELAY_PAGE_ENABLED", "false").ready().await;
    let anybody = Client::of(&relay);
    for path in ["/", "/page.js", "/api/session", "/api/outboxes/default/status"] {
        assert_eq!(anybody.get(path).status, 404, "{path}");
    }
    assert_eq!(anybody.get("/metrics").status, 200);
}

#[test]
fn tokens_that_anybody_guesses_and_equal_ones_are_refused_at_start_and_none_is_ever_shown() {
    let servers = [("DATABASE_URL", "postgres://localhost/x"), ("AMQP_URL", "amqp://localhost")];
    for (read, operate, words) in [
        ("0123456789abcde", OPERATE, &["page.read_token", "16"][..]),
        (READ, "a-few-letters", &["page.operator_token", "16"]),
        (READ, "with a space in it", &["page.operator_token"]),
        (READ, READ, &["page.operator_token", "page.read_token", "are the same"]),
    ] {
        let mut env = servers.to_vec();
        env.extend([("RELAY_PAGE_READ_TOKEN", read), ("RELAY_PAGE_OPERATOR_TOKEN", operate)]);
        // Were they taken, it would end all the same: nobody listens there.
        env.push(("RELAY_ADMIN_LISTEN", "192.0.2.1:9630"));
        for args in [&["run"][..], &["config", "check"]] {
            let refused = finish(args, &env);
            assert_eq!(refused.code, Some(78), "{refused:?}");
            words.iter().for_each(|word| assert!(refused.stderr.contains(word), "{word}: {refused:?}"));
            assert!(!refused.stderr.contains(read) && !refused.stderr.contains(operate), "{refused:?}");
        }
    }
    let file =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("token-{}", std::process::id()));
    std::fs::write(&file, format!("{OPERATE}\n")).unwrap();
    let mut env = servers.to_vec();
    env.extend([("RELAY_PAGE_OPERATOR_TOKEN_FILE", file.to_str().unwrap()), ("RELAY_PAGE_READ_TOKEN", READ)]);
    let shown = finish(&["config", "show"], &env);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(
        shown.stdout.contains("page.operator_token") && !shown.stdout.contains("0123456789abcdef"),
        "{shown:?}"
    );
    env.push(("RELAY_ADMIN_LISTEN", "0.0.0.0:9630"));
    env.retain(|(name, _)| *name != "RELAY_PAGE_READ_TOKEN");
    let warned = finish(&["config", "check"], &env);
    assert!(
        warned.stderr.contains("warning: page.operator_token") && warned.stderr.contains("page.read_token"),
        "{warned:?}"
    );
    std::fs::remove_file(&file).unwrap();
}
