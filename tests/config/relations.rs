//! Values that are understood and still not to be had: bounds, contradictions, doubtful choices.

use relay::config::ConfigError;

use crate::deployment::{Deployment, SECRET};

/// Asserts that these variables are refused for one relation, led by `key`.
#[track_caller]
fn assert_conflict(variables: &[(&str, &str)], key: &str, line: &str) {
    let deployment =
        variables.iter().fold(Deployment::new(), |deployment, (name, value)| deployment.env(name, value));
    let errors = deployment.errors();
    let keys: Vec<_> = errors.errors().iter().filter_map(ConfigError::key).collect();
    assert_eq!(keys, [key], "{errors}");
    assert_eq!(errors.to_string(), line);
}

#[test]
fn values_that_are_fine_alone_are_refused_together() {
    assert_conflict(
        &[("RELAY_LEASE_DURATION", "2s")],
        "lease.duration",
        "lease.duration = 2s (environment variable RELAY_LEASE_DURATION): a lease of 2s or less is lost to any hiccup \
         of the database; make it longer than 2s; 10s is the default",
    );
    assert_conflict(
        &[("RELAY_RETRY_FLOOR", "10m")],
        "retry.floor",
        "retry.floor = 10m (environment variable RELAY_RETRY_FLOOR) and retry.cap = 5m (default): the shortest delay is \
         longer than the longest; lower retry.floor or raise retry.cap",
    );
    assert_conflict(
        &[("RELAY_AMQP_HEARTBEAT", "2500ms")],
        "amqp.heartbeat",
        "amqp.heartbeat = 2s 500ms (environment variable RELAY_AMQP_HEARTBEAT): AMQP negotiates heartbeats in whole \
         seconds; round it to a whole number of seconds",
    );
    assert_conflict(
        &[("RELAY_DEAD_LETTER_EXCHANGE", "outbox.events")],
        "dead_letter.exchange",
        "dead_letter.exchange = outbox.events (environment variable RELAY_DEAD_LETTER_EXCHANGE) and outbox.exchange = \
         outbox.events (default): dead letters would be published as if they were alive; give dead letters an \
         exchange of their own",
    );
    assert_conflict(
        &[("RELAY_OUTBOX_ALLOWED_EXCHANGES", "audit,outbox.dlx")],
        "dead_letter.exchange",
        "dead_letter.exchange = outbox.dlx (default) and outbox.allowed_exchanges = audit,outbox.dlx (environment \
         variable RELAY_OUTBOX_ALLOWED_EXCHANGES): rows could pose as dead letters; give dead letters an exchange of \
         their own",
    );
    assert_conflict(
        &[("RELAY_LIMITS_IN_FLIGHT_BYTES", "8 MiB")],
        "limits.payload_bytes",
        "limits.payload_bytes = 16MiB (default) and limits.in_flight_bytes = 8MiB (environment variable \
         RELAY_LIMITS_IN_FLIGHT_BYTES): a row of the largest payload would never fit into what may be in flight; \
         lower limits.payload_bytes or raise limits.in_flight_bytes",
    );
    assert_conflict(
        &[("RELAY_LIMITS_IN_FLIGHT_ROWS", "999")],
        "limits.scan_rows",
        "limits.scan_rows = 1000 (default) and limits.in_flight_rows = 999 (environment variable \
         RELAY_LIMITS_IN_FLIGHT_ROWS): a scan would fetch more rows than may be in flight; lower limits.scan_rows or \
         raise limits.in_flight_rows",
    );
    assert_conflict(
        &[("RELAY_LIMITS_HEADER_BYTES", "131072")],
        "limits.header_bytes",
        "limits.header_bytes = 128KiB (environment variable RELAY_LIMITS_HEADER_BYTES): headers travel in one AMQP \
         frame of 131072 bytes, and a larger one closes the connection; lower it to 120000 or less",
    );
    assert_conflict(
        &[("RELAY_AMQP_CA_FILE", "/nonexistent.pem")],
        "amqp.ca_file",
        "environment variable RELAY_AMQP_CA_FILE: amqp.ca_file names /nonexistent.pem, which cannot be read: \
         No such file or directory (os error 2); name a readable PEM file, or none",
    );
}

#[test]
fn single_values_out_of_bounds_are_refused() {
    for (variable, value) in [
        ("RELAY_RETRY_FLOOR", "9ms"),
        ("RELAY_RETRY_MAX_ATTEMPTS", "0"),
        ("RELAY_SHUTDOWN_GRACE", "0s"),
        ("RELAY_AMQP_HEARTBEAT", "0s"),
        ("RELAY_AMQP_HEARTBEAT", "11m"),
        ("RELAY_OUTBOX_EXCHANGE", ""),
        ("RELAY_OUTBOX_ALLOWED_EXCHANGES", "a,,b"),
        ("RELAY_DATABASE_SCHEMA", "Relay"),
        ("RELAY_OUTBOX_ROUTING_KEY", "{tenant}.{event_type}"),
        ("RELAY_LIMITS_SCAN_ROWS", "0"),
    ] {
        let errors = Deployment::new().env(variable, value).errors();
        assert!(matches!(errors.errors(), [ConfigError::Invalid { .. }]), "{variable}: {errors}");
    }
}

#[test]
fn relations_are_judged_only_once_every_value_is_understood() {
    let deployment = Deployment::new().env("RELAY_RETRY_FLOOR", "10m").env("RELAY_RETRY_CAP", "an hour");
    let errors = deployment.errors();
    assert!(matches!(errors.errors(), [ConfigError::Invalid { .. }]), "{errors}");
    // An unknown name does not keep them from being judged.
    let deployment = Deployment::new().env("RELAY_RETRY_FLOOR", "10m").env("RELAY_RETRY_CAPP", "1h");
    assert_eq!(deployment.errors().errors().len(), 2);
}

#[test]
fn what_is_allowed_and_probably_not_meant_is_warned_of() {
    let warnings = |variables: &[(&str, &str)]| {
        let deployment =
            variables.iter().fold(Deployment::new(), |deployment, (name, value)| deployment.env(name, value));
        deployment.loaded().warnings
    };
    let about = |variables: &[(&str, &str)], key: &str| {
        let warnings = warnings(variables);
        assert!(warnings.len() == 1 && warnings[0].starts_with(key), "{warnings:?}");
        assert!(!warnings[0].contains(SECRET), "{warnings:?}");
    };
    about(&[("RELAY_AMQP_HEARTBEAT", "4s")], "amqp.heartbeat = 4s");
    about(
        &[("RELAY_LIMITS_PAYLOAD_BYTES", "17MiB"), ("RELAY_LIMITS_IN_FLIGHT_BYTES", "68MiB")],
        "limits.payload_bytes = 17MiB (environment variable RELAY_LIMITS_PAYLOAD_BYTES): RabbitMQ 4",
    );
    about(
        &[("RELAY_LIMITS_IN_FLIGHT_BYTES", "63MiB")],
        "limits.payload_bytes = 16MiB (default): above a quarter of limits.in_flight_bytes (63MiB)",
    );
    about(
        &[("RELAY_LIMITS_IN_FLIGHT_ROWS", "23"), ("RELAY_LIMITS_SCAN_ROWS", "23")],
        "limits.in_flight_rows = 23",
    );
    assert!(warnings(&[("RELAY_LIMITS_IN_FLIGHT_ROWS", "24"), ("RELAY_LIMITS_SCAN_ROWS", "24")]).is_empty());
    about(&[("AMQP_URL", "amqp://app:hunter2@mq")], "amqp.url = [redacted] (environment variable AMQP_URL)");
    about(
        &[("DATABASE_URL", "postgres://db/app"), ("RELAY_DATABASE_TLS", "disable")],
        "database.tls = disable",
    );
    about(&[("DATABASE_URL", "postgres://app:hunter2@db/app?sslmode=disable")], "database.url = [redacted]");
    assert!(warnings(&[("AMQP_URL", "amqp://mq"), ("RELAY_AMQP_INSECURE", "true")]).is_empty());
    assert!(warnings(&[("AMQP_URL", "amqps://mq"), ("DATABASE_URL", "postgres://db/app")]).is_empty());
    assert!(warnings(&[("AMQP_URL", "amqp://localhost"), ("RELAY_DATABASE_TLS", "disable")]).is_empty());

    let warnings = Deployment::new().flag("amqp.url", "amqps://app:hunter2@mq").loaded().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("command line"), "{warnings:?}");
}
