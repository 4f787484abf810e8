//! What is unknown, missing or unreadable: all of it at once, with the cure.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use relay::config::{Config, ConfigError, Needs};

use crate::deployment::{Deployment, NEEDS_BOTH, SECRET};

#[test]
fn all_errors_are_reported_at_once_each_with_key_origin_value_and_cure() {
    let deployment = Deployment::new()
        .toml("[lease]\nduraton = '3s'\n[retry]\nfloor = 5\nmax_attempts = 'many'\n[outbox]\nordering = 'stict'\n")
        .env("RELAY_LEASE_DURATON", "3s")
        .env("RELAY_AMQP_PUBLISHERS", "65")
        .env("RELAY_AMQP_CONNECT_TIMEOUT", "10 parsecs")
        .env("DATABASE_URL", &format!("mysql://root:{SECRET}@localhost/app"))
        .flag("admin.listen", "localhost:9630")
        .needs(NEEDS_BOTH);
    assert_eq!(
        deployment.lines(),
        [
            r#"relay.toml:2: "lease.duraton" is no configuration key; did you mean "lease.duration"?"#,
            r#"environment variable RELAY_LEASE_DURATON: "RELAY_LEASE_DURATON" is no configuration key; did you mean "RELAY_LEASE_DURATION"?"#,
            "environment variable DATABASE_URL: database.url does not begin with postgres:// or postgresql://, nor is \
             it a list of key=value pairs; write a URL such as postgres://USER:PASSWORD@HOST:5432/DATABASE",
            "environment variable RELAY_AMQP_CONNECT_TIMEOUT: amqp.connect_timeout = \"10 parsecs\" is no duration: \
             unknown time unit \"parsecs\", supported units: ns, us/µs, ms, sec, min, hours, days, weeks, months, \
             years (and few variations); write a duration from 10ms to 1h, such as \"10s\" or \"250ms\"",
            "environment variable RELAY_AMQP_PUBLISHERS: amqp.publishers = \"65\" is out of range; \
             write a whole number from 1 to 64",
            "relay.toml:7: outbox.ordering = \"stict\" is not one of the choices; did you mean \"strict\"?; \
             write strict, pipelined, none",
            "relay.toml:5: retry.max_attempts = \"many\" is a string; write a whole number from 1 to 1000",
            "relay.toml:4: retry.floor = 5 has no unit; \
             write a duration from 10ms to 1h, such as \"10s\" or \"250ms\"",
            "flag --admin-listen: admin.listen = \"localhost:9630\" is no IP address with a port; \
             write an IP address and port, such as 127.0.0.1:9630 or [::]:9630",
            "amqp.url is not set; set AMQP_URL, or amqp.url in relay.toml",
        ]
    );
}

#[test]
fn a_command_reports_only_the_servers_it_needs_as_missing() {
    let missing = |needs| Deployment::new().needs(needs).load().err().map(|errors| errors.to_string());
    let database = "database.url is not set; set DATABASE_URL, or database.url in relay.toml";
    let amqp = "amqp.url is not set; set AMQP_URL, or amqp.url in relay.toml";
    assert_eq!(missing(Needs::default()), None);
    assert_eq!(missing(Needs { database: true, amqp: false }).as_deref(), Some(database));
    assert_eq!(missing(Needs { database: false, amqp: true }).as_deref(), Some(amqp));
    assert_eq!(missing(NEEDS_BOTH), Some(format!("{database}\n{amqp}")));
    assert!(matches!(Config::default().database_url(), Err(ConfigError::Missing { .. })));
}

#[test]
fn an_emptied_variable_unsets_an_optional_key_and_says_so_when_it_is_missed() {
    let deployment = Deployment::new()
        .toml("[database]\nurl = 'postgres://file/app'\nca_file = '/nonexistent'\n")
        .env("DATABASE_URL", "")
        .env("RELAY_DATABASE_CA_FILE", "");
    assert_eq!(deployment.loaded().config.database, Config::default().database);
    assert_eq!(
        deployment.needs(NEEDS_BOTH).env("AMQP_URL", "amqp://localhost").lines(),
        ["database.url is not set (environment variable DATABASE_URL is empty); \
          set DATABASE_URL, or database.url in relay.toml"]
    );
}

#[test]
fn unknown_variables_are_refused_with_a_suggestion_but_only_relays_own() {
    for (name, meant) in [
        ("RELAY_LEASE__DURATION", Some("RELAY_LEASE_DURATION")),
        ("RELAY_POLL_INTERVAL", Some("RELAY_OUTBOX_POLL_INTERVAL")),
        ("RELAY_LOG", Some("RELAY_LOG_LEVEL")),
        ("RELAY_AMQP_URI", Some("RELAY_AMQP_URL")),
        ("RELAY_DATABASE_URL_FIL", Some("RELAY_DATABASE_URL_FILE")),
        ("RELAY_LEASE_DURATION_FILE", Some("RELAY_LEASE_DURATION")),
        ("RELAY_ADMIN_PORT", None),
        ("RELAY_ZEBRA", None),
    ] {
        let errors = Deployment::new().env(name, "1").errors();
        let [ConfigError::UnknownKey { suggestion, .. }] = errors.errors() else { panic!("{errors}") };
        if meant.is_some() {
            assert_eq!(suggestion.as_deref(), meant, "{name}");
        }
    }
    for name in ["RELAY_CONFIG", "RELAY_DEV_SEED", "RELAYED", "relay_lease", "PATH", "SHIPMENTS_RELAY_URL"] {
        Deployment::new().env(name, "").loaded();
    }
}

#[test]
fn what_kubernetes_says_about_a_service_named_relay_is_ignored() {
    let deployment = Deployment::new()
        .env("RELAY_SERVICE_HOST", "10.0.0.1")
        .env("RELAY_SERVICE_PORT", "9630")
        .env("RELAY_SERVICE_PORT_METRICS", "9630")
        .env("RELAY_PORT", "tcp://10.0.0.1:9630")
        .env("RELAY_PORT_9630_TCP", "tcp://10.0.0.1:9630")
        .env("RELAY_PORT_9630_TCP_PROTO", "tcp")
        .env("RELAY_PORT_9630_TCP_PORT", "9630")
        .env("RELAY_PORT_9630_TCP_ADDR", "10.0.0.1")
        .env("RELAY_METRICS_SERVICE_HOST", "10.0.0.2");
    assert_eq!(deployment.loaded().config, Config::default());
}

#[test]
fn unknown_flags_are_refused_with_a_suggestion() {
    assert_eq!(
        Deployment::new().flag("lease.duratoin", "1s").lines(),
        [
            r#"flag --lease-duratoin: "lease.duratoin" is no configuration key; did you mean "lease.duration"?"#
        ]
    );
}

#[test]
fn a_variable_that_is_not_text_is_an_error_only_if_it_is_ours() {
    let bytes = OsString::from_vec(vec![0xff, b'x']);
    let mut deployment = Deployment::new();
    deployment.env.insert("SOMEBODY_ELSES".into(), bytes.clone());
    deployment.loaded();
    deployment.env.insert("RELAY_OUTBOX_NAME".into(), bytes);
    assert_eq!(
        deployment.lines(),
        ["environment variable RELAY_OUTBOX_NAME: outbox.name is not UTF-8; write a name of 1 to 255 bytes"]
    );
}

#[test]
fn a_file_that_is_no_toml_does_not_make_what_it_sets_seem_missing() {
    let deployment = Deployment::new()
        .toml(&format!("[database]\nurl = postgres://app:{SECRET}@localhost/app\n"))
        .env("RELAY_AMQP_PUBLISHERS", "0")
        .needs(NEEDS_BOTH);
    let text = deployment.lines().join("\n");
    assert!(text.contains("relay.toml:2: ") && text.contains("amqp.publishers"), "{text}");
    assert!(!text.contains("is not set") && !text.contains(SECRET), "{text}");
}
