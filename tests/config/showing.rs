//! What `relay config show` says, and what is never said.

use relay::config::{Env, KEYS, json, table};

use crate::deployment::{Deployment, SECRET, sample};

#[test]
fn secrets_are_redacted_in_debug_show_and_errors() {
    let deployment = Deployment::new()
        .env("DATABASE_URL", &format!("postgres://app:{SECRET}@localhost/app"))
        .env("RELAY_DATABASE_LISTEN_URL", &format!("host=localhost password={SECRET}"))
        .toml(&format!("[amqp]\nurl = 'amqp://app:{SECRET}@localhost'\n"));
    let loaded = deployment.loaded();
    assert!(loaded.config.database_url().unwrap().expose().contains(SECRET));
    for text in [
        format!("{loaded:?}"),
        format!("{loaded:#?}"),
        table(std::slice::from_ref(&loaded)),
        json(std::slice::from_ref(&loaded)).to_string(),
    ] {
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains("[redacted]"), "{text}");
    }
    // Every way for a secret to be wrong.
    for url in [
        format!("mysql://app:{SECRET}@db"),
        format!("postgres://app:p@{SECRET}@db/app"),
        format!("postgres://db:{SECRET}/app"),
        format!("host=db password=a {SECRET}"),
        format!("host=db password='a {SECRET}"),
        format!("postgres://db/app?{SECRET}=1"),
        format!("postgres://db/app?sslmode={SECRET}"),
        format!("http://{SECRET}"),
        format!("amqp://app:{SECRET}@db:port/"),
        format!("amqp://app:{SECRET}@[::1]/"),
        SECRET.to_owned(),
    ] {
        let toml = format!("[database]\nurl = {url:?}\nlisten_url = ['{url:?}']\n[amqp]\nurl = {url:?}\n");
        let deployment = Deployment::new().toml(&toml);
        let errors = deployment.errors();
        let text = format!("{errors} {errors:?}");
        assert!(!text.contains(SECRET), "{url}: {text}");
    }
    let env: Env = [("DATABASE_URL", SECRET)].into_iter().collect();
    assert_eq!(format!("{env:?}"), r#"{"DATABASE_URL"}"#);
}

#[test]
fn show_lists_every_key_with_value_and_origin() {
    let deployment =
        Deployment::new().toml("[lease]\nduration = '90s'\n").env("RELAY_OUTBOX_ALLOWED_EXCHANGES", "a,b");
    let loaded = deployment.loaded();
    let text = table(std::slice::from_ref(&loaded));
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    let fields = |key: &str| line(key).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(text.lines().count(), KEYS.len() + 1);
    let file = deployment.directory.join("relay.toml");
    assert_eq!(fields("lease.duration"), ["lease.duration", "1m", "30s", &format!("{}:2", file.display())]);
    assert_eq!(fields("database.url"), ["database.url", "-", "default"]);
    assert_eq!(fields("limits.in_flight_bytes"), ["limits.in_flight_bytes", "64MiB", "default"]);

    let shown = json(std::slice::from_ref(&loaded));
    let of = |key: &str| shown.as_array().unwrap().iter().find(|entry| entry["key"] == key).unwrap().clone();
    assert_eq!(shown.as_array().unwrap().len(), KEYS.len());
    assert_eq!(of("limits.in_flight_bytes")["value"], 64 << 20);
    assert_eq!(of("outbox.allowed_exchanges")["value"], serde_json::json!(["a", "b"]));
    assert_eq!(
        of("outbox.allowed_exchanges")["origin"],
        "environment variable RELAY_OUTBOX_ALLOWED_EXCHANGES"
    );
    assert!(of("database.url")["value"].is_null());
}

#[test]
fn the_text_shown_for_a_value_can_be_given_back_to_the_same_effect() {
    let mut deployment = Deployment::new();
    for key in KEYS.iter().filter(|key| !key.secret()) {
        deployment.env.insert(key.variable(), sample(key).0.into());
    }
    // Relations hold between the samples but for this one.
    let deployment = deployment.env("RELAY_DEAD_LETTER_EXCHANGE", "dead").env("RELAY_RETRY_FLOOR", "7s");
    let loaded = deployment.loaded();
    let again = loaded.settings.iter().filter(|setting| !setting.key.secret());
    let again = again.fold(Deployment::new(), |next, setting| {
        next.env(&setting.key.variable(), &setting.value.to_string())
    });
    assert_eq!(again.loaded().config, loaded.config);
}
