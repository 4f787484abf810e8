//! Several outboxes: what each is told, and what may not be said of two.

use std::time::Duration;

use relay::config::{KEYS, Origin, json, table};

use crate::deployment::{Deployment, NEEDS_BOTH, sample};

const TWO: &str = "[database]
url = 'postgres://localhost/app'
[lease]
duration = '30s'

[[outbox]]
name = 'shop'
exchange = 'shop.events'

[[outbox]]
name = 'billing-eu'
ordering = 'none'
database.schema = 'billing'
retry = { cap = '1h' }
lease.duration = '1m'
dead_letter = { exchange = 'billing.dlx', queue = 'billing.dlq' }
[outbox.amqp]
url = 'amqp://elsewhere.local'
insecure = true
";

fn two() -> Deployment {
    Deployment::new().toml(TWO)
}

#[test]
fn each_outbox_has_its_own_word_and_else_what_is_said_of_all() {
    let outboxes = two().env("AMQP_URL", "amqp://localhost").needs(NEEDS_BOTH).outboxes();
    let [shop, billing] = outboxes.as_slice() else { panic!("{} outboxes", outboxes.len()) };
    let url = |loaded: &relay::config::Loaded| loaded.config.amqp_url().unwrap().expose().to_owned();
    assert_eq!((shop.config.outbox.name.as_str(), url(shop).as_str()), ("shop", "amqp://localhost"));
    assert_eq!(shop.config.outbox.exchange, "shop.events");
    assert_eq!(shop.config.lease.duration, Duration::from_secs(30));
    assert_eq!(billing.config.outbox.exchange, "outbox.events");
    assert_eq!(url(billing), "amqp://elsewhere.local");
    assert_eq!((billing.config.database.schema.as_str(), billing.config.amqp.insecure), ("billing", true));
    assert_eq!(billing.config.lease.duration, Duration::from_secs(60));
    assert_eq!(billing.config.retry.cap, Duration::from_secs(3600));
    assert!(matches!(billing.origin("lease.duration"), Some(Origin::File { line: 15, .. })));
    assert_eq!(shop.config.database.url, billing.config.database.url);
}

#[test]
fn every_key_can_be_set_for_one_outbox_by_its_block_and_by_a_variable_of_its_own_to_the_same_effect() {
    let block = |lines: &str| {
        format!(
            "[[outbox]]\nname = 'one-two'\n{lines}\n[[outbox]]\nname = 'other'\n\
        database.schema = 'other'\ndead_letter = {{ exchange = 'other.dlx', queue = 'other.dlq' }}\n"
        )
    };
    for key in KEYS.iter().filter(|key| !key.of_process() && key.path() != "outbox.name") {
        let (text, toml) = sample(key);
        let by_block =
            Deployment::new().toml(&block(&format!("{} = {toml}", key.path_in_block()))).outboxes();
        let variable =
            format!("RELAY_OUTBOX_ONE_TWO_{}", key.path_in_block().replace('.', "_").to_uppercase());
        let by_env = Deployment::new().toml(&block("")).env(&variable, &text).outboxes();
        assert_eq!(by_block[0].config, by_env[0].config, "{key:?}");
        assert_eq!(by_env[0].origin(&key.path()), Some(&Origin::Env { variable }));
        assert_ne!(by_env[0].origin(&key.path()), by_env[1].origin(&key.path()), "{key:?} of the other");
    }
}

#[test]
fn flags_prevail_over_an_outbox_s_own_word_and_that_over_the_environment() {
    let lease = |deployment: Deployment| {
        deployment.outboxes().iter().map(|loaded| loaded.config.lease.duration.as_secs()).collect::<Vec<_>>()
    };
    assert_eq!(lease(two().env("RELAY_LEASE_DURATION", "40s")), [40, 60]);
    assert_eq!(lease(two().env("RELAY_OUTBOX_BILLING_EU_LEASE_DURATION", "50s")), [30, 50]);
    assert_eq!(lease(two().flag("lease.duration", "20s")), [20, 20]);
}

#[test]
fn a_secret_of_one_outbox_can_be_in_a_file_that_its_variable_names() {
    let deployment = two();
    let secret = deployment.write("secret", "postgres://app:pw@db.local/billing\n");
    let outboxes = deployment.env("RELAY_OUTBOX_BILLING_EU_DATABASE_URL_FILE", &secret).outboxes();
    assert!(outboxes[1].config.database_url().unwrap().expose().ends_with("db.local/billing"));
    assert!(outboxes[0].config.database_url().unwrap().expose().ends_with("localhost/app"));
}

#[test]
fn one_can_be_chosen_and_then_only_its_servers_are_needed() {
    let chosen = two().needs(NEEDS_BOTH).only("billing-eu").loaded();
    assert_eq!(chosen.config.outbox.name, "billing-eu");
    assert_eq!(
        two().needs(NEEDS_BOTH).lines(),
        ["amqp.url is not set; set AMQP_URL, or amqp.url in relay.toml"]
    );
    assert_eq!(
        two().only("bling").lines(),
        [r#"there is no outbox "bling"; name one of these: shop, billing-eu"#]
    );
    assert_eq!(Deployment::new().only("default").loaded().config.outbox.name, "default");
}

#[test]
fn what_a_block_says_wrong_is_named_with_its_line() {
    let toml = "[[outbox]]\nexchange = 'a'\nexchagne = 'b'\n[outbox.log]\nlevel = 'debug'\n[outbox.leese]\n\
                [outbox.retry]\nfloor = 3\n[[outbox]]\nname = 'x'\nordering = 'wild'\n";
    assert_eq!(
        Deployment::new().toml(toml).lines(),
        [
            "relay.toml:1: this [[outbox]] has no name; give it one of its own: name = \"...\"",
            "relay.toml:3: \"outbox.exchagne\" is no configuration key; did you mean \"outbox.exchange\"?",
            "relay.toml:4: [log] is for the whole process; write it outside of [[outbox]]",
            "relay.toml:6: \"leese\" is no section; did you mean \"[lease]\"?",
            "relay.toml:8: retry.floor = 3 has no unit; write a duration from 10ms to 1h, such as \"10s\" or \"250ms\"",
            "relay.toml:11: outbox.ordering = \"wild\" is not one of the choices; write strict, pipelined, none",
        ],
    );
    for (text, message) in [
        ("outbox = [1]", "relay.toml:1: \"outbox\" is no section; did you mean \"[outbox]\"?"),
        ("outbox = []", "relay.toml:1: \"outbox\" is no section; did you mean \"[outbox]\"?"),
    ] {
        assert_eq!(Deployment::new().toml(text).lines(), [message]);
    }
    let lines = Deployment::new().toml("[[outbox]]\nname = 'x'\nretry.floor = '2h'\n").lines();
    assert!(lines.len() == 1 && lines[0].starts_with("relay.toml:3: retry.floor = \"2h\""), "{lines:?}");
}

#[test]
fn outboxes_that_would_get_into_each_others_way_are_refused() {
    let refused = |other: &str, reason: &str| {
        let toml = format!("[[outbox]]\nname = 'a'\n[[outbox]]\n{other}\n");
        let deployment = Deployment::new()
            .toml(&toml)
            .env("DATABASE_URL", "postgres://localhost/app")
            .env("AMQP_URL", "amqp://localhost");
        let lines = deployment.lines();
        assert!(lines.len() == 1 && lines[0].contains(reason), "{lines:?}");
    };
    let apart = "database.schema = 'other'\ndead_letter = { exchange = 'x.dlx', queue = 'x.dlq' }";
    refused(&format!("name = 'a'\n{apart}"), "outboxes a and a: they have the same name; give each");
    refused("name = 'b'", "outboxes a and b: they are the same table");
    let other_user = "name = 'b'\ndatabase.url = 'postgres://other:pw@localhost:5432/app'";
    refused(other_user, "outboxes a and b: they are the same table");
    refused("name = 'b'\ndatabase.schema = 'other'", "outboxes a and b: they share dead letters");
    let other_user = "name = 'b'\ndatabase.schema = 'other'\namqp.url = 'amqp://other:pw@localhost:5672'";
    refused(other_user, "outboxes a and b: they share dead letters");
    let half = "name = 'b'\ndatabase.schema = 'other'\ndead_letter.queue = 'x.dlq'";
    refused(half, "outboxes a and b: they share dead letters");
    let alive = "name = 'b'\ndatabase.schema = 'other'\nexchange = 'b'\ndead_letter = { exchange = 'outbox.events', queue = 'x' }";
    refused(alive, "outboxes a and b: the dead letters of one would be published as if they were alive");
    refused(&format!("name = 'A'\n{apart}"), "the same variables in the environment");
}

#[test]
fn a_name_that_ends_like_a_section_is_refused_where_it_would_take_the_others_variables() {
    let toml = "[[outbox]]\nname = 'a'\n[[outbox]]\nname = 'a.dead_letter'\ndatabase.schema = 'other'\n\
                dead_letter = { exchange = 'x.dlx', queue = 'x.dlq' }\n";
    let lines = Deployment::new().toml(toml).lines();
    assert!(lines[0].contains("the same variables in the environment"), "{lines:?}");
}

#[test]
fn a_variable_of_no_outbox_is_refused() {
    let lines = two().env("RELAY_OUTBOX_BILLING_LEASE_DURATION", "1m").lines();
    assert!(lines[0].contains("did you mean \"RELAY_OUTBOX_BILLING_EU_LEASE_DURATION\"?"), "{lines:?}");
}

#[test]
fn a_mistake_and_a_warning_about_what_is_said_of_all_are_told_once() {
    let deployment = two().env("RELAY_AMQP_HEARTBEAT", "2s");
    let warnings: Vec<_> = deployment.outboxes().into_iter().flat_map(|loaded| loaded.warnings).collect();
    assert_eq!(
        warnings.iter().filter(|warning| warning.starts_with("amqp.heartbeat")).count(),
        1,
        "{warnings:?}"
    );
    assert_eq!(two().env("RELAY_AMQP_HEARTBEAT", "1500ms").lines().len(), 1);
}

#[test]
fn show_says_whose_a_value_is() {
    let outboxes = two().outboxes();
    let text = table(&outboxes);
    assert_eq!(text.lines().count(), 1 + 2 * KEYS.len());
    let line = |start: &str| {
        let fields = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        fields.filter(|line| line.starts_with(start)).collect::<Vec<_>>().join("; ")
    };
    assert!(line("OUTBOX").starts_with("OUTBOX KEY VALUE ORIGIN"));
    assert!(line("billing-eu lease.duration").starts_with("billing-eu lease.duration 1m"));
    assert!(line("shop lease.duration").starts_with("shop lease.duration 30s"));
    let shown = json(&outboxes);
    let of_shop = shown.as_array().unwrap().iter().filter(|entry| entry["outbox"] == "shop").count();
    assert_eq!(of_shop, KEYS.len());
}
