//! The configuration as an operator meets it: sources, precedence, and everything that can be wrong at once.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that cannot go on should say where.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use relay::config::{
    Config, ConfigError, ConfigErrors, Env, KEYS, Key, Kind, Loaded, Needs, Origin, json, load_in, table,
};

const NEEDS_BOTH: Needs = Needs { database: true, amqp: true };
const SECRET: &str = "hunter2";

/// A deployment: a directory of its own, and everything that may say something about a key.
struct Deployment {
    directory: PathBuf,
    flags: BTreeMap<&'static str, String>,
    config: Option<PathBuf>,
    env: BTreeMap<String, OsString>,
    needs: Needs,
}

impl Deployment {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("config-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let (flags, env) = (BTreeMap::new(), BTreeMap::new());
        Self { directory, flags, config: None, env, needs: Needs::default() }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    fn flag(mut self, path: &'static str, value: &str) -> Self {
        self.flags.insert(path, value.to_owned());
        self
    }

    /// `relay.toml` in the working directory.
    fn toml(self, text: &str) -> Self {
        self.write("relay.toml", text);
        self
    }

    fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        let env: Env = self.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        load_in(&self.directory, &self.flags, self.config.as_deref(), &env, self.needs)
    }

    #[track_caller]
    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[track_caller]
    fn errors(&self) -> ConfigErrors {
        self.load().expect_err("this configuration should be refused")
    }

    /// The lines of the report, without the directory.
    #[track_caller]
    fn lines(&self) -> Vec<String> {
        let directory = format!("{}/", self.directory.display());
        self.errors().to_string().replace(&directory, "").lines().map(str::to_owned).collect()
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A valid value that is not the default: as text, and as TOML.
fn sample(key: &Key) -> (String, String) {
    let text = match key.kind {
        Kind::Duration { .. } if key.name == "cap" => "6m".to_owned(),
        Kind::Duration { .. } => "7s".to_owned(),
        Kind::Integer { .. } if key.name == "in_flight_rows" => "5000".to_owned(),
        Kind::Integer { .. } => "3".to_owned(),
        Kind::Size { .. } if key.name == "in_flight_bytes" => "128MiB".to_owned(),
        Kind::Size { .. } => "2048".to_owned(),
        Kind::Boolean => (key.default == Some("false")).to_string(),
        Kind::Exchanges => "a,b".to_owned(),
        Kind::Choice(names) => (*names.iter().find(|name| Some(**name) != key.default).unwrap()).to_owned(),
        Kind::PostgresUrl => format!("postgres://app:{SECRET}@localhost/app"),
        Kind::AmqpUrl => format!("amqp://app:{SECRET}@localhost/"),
        Kind::Path => "/dev/null".to_owned(),
        Kind::Address => "127.0.0.1:0".to_owned(),
        Kind::Filter => "debug".to_owned(),
        Kind::Name | Kind::Exchange | Kind::Identifier | Kind::Template => "other".to_owned(),
    };
    let toml = match key.kind {
        Kind::Integer { .. } | Kind::Boolean => text.clone(),
        Kind::Size { .. } if text.parse::<u64>().is_ok() => text.clone(),
        Kind::Exchanges => "[\"a\", \"b\"]".to_owned(),
        _ => format!("\"{text}\""),
    };
    (text, toml)
}

/// Everything but `key` is as by default.
#[track_caller]
fn assert_only(key: &Key, loaded: &Loaded, origin: &Origin) {
    for setting in &loaded.settings {
        if setting.key == key {
            assert_eq!(&setting.origin, origin, "{key:?}");
        } else {
            assert_eq!(setting.origin, Origin::Default, "{key:?} {:?}", setting.key);
        }
    }
    assert_ne!(loaded.config, Config::default(), "{key:?} changed nothing");
}

#[test]
fn without_any_source_the_defaults_hold() {
    let loaded = Deployment::new().loaded();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.settings.len(), KEYS.len());
    assert!(loaded.settings.iter().all(|setting| setting.origin == Origin::Default));
    assert_eq!((loaded.warnings, loaded.file), (Vec::<String>::new(), None));
}

#[test]
fn every_key_can_be_set_by_a_variable_a_line_of_the_file_and_a_flag_to_the_same_effect() {
    for key in KEYS {
        let (text, toml) = sample(key);
        let by_env = Deployment::new().env(&key.variable(), &text).loaded();
        assert_only(key, &by_env, &Origin::Env { variable: key.variable() });

        let deployment = Deployment::new().toml(&format!("[{}]\n{} = {toml}\n", key.section, key.name));
        let by_file = deployment.loaded();
        let path = deployment.directory.join("relay.toml");
        assert_only(key, &by_file, &Origin::File { path, line: 2 });

        let path: &'static str = key.path().leak();
        let by_flag = Deployment::new().flag(path, &text).loaded();
        assert_only(key, &by_flag, &Origin::Flag { flag: key.flag() });

        assert_eq!(by_env.config, by_file.config, "{key:?}");
        assert_eq!(by_env.config, by_flag.config, "{key:?}");
    }
}

#[test]
fn flags_prevail_over_the_environment_over_the_file_over_defaults() {
    let file = || Deployment::new().toml("[lease]\nduration = '3s'\n");
    let duration = |deployment: Deployment| deployment.loaded().config.lease.duration;
    assert_eq!(duration(Deployment::new()), Duration::from_secs(10));
    assert_eq!(duration(file()), Duration::from_secs(3));
    let env = || file().env("RELAY_LEASE_DURATION", "4s");
    assert_eq!(duration(env()), Duration::from_secs(4));
    assert_eq!(duration(env().flag("lease.duration", "5s")), Duration::from_secs(5));
}

#[test]
fn a_flag_gets_past_a_bad_variable_and_a_bad_line() {
    let deployment = Deployment::new()
        .toml("[lease]\nduration = 3\n")
        .env("RELAY_LEASE_DURATION", "soon")
        .flag("lease.duration", "5s");
    assert_eq!(deployment.loaded().config.lease.duration, Duration::from_secs(5));
}

#[test]
fn the_common_variables_stand_between_relays_own_and_the_file() {
    let url = |host: &str| format!("postgres://{host}/app");
    let chosen = |deployment: &Deployment| {
        let loaded = deployment.loaded();
        loaded.config.database_url().unwrap().expose().to_owned()
    };
    let deployment = Deployment::new().toml("[database]\nurl = 'postgres://file/app'\n");
    assert_eq!(chosen(&deployment), url("file"));
    let deployment = deployment.env("DATABASE_URL", &url("common"));
    assert_eq!(chosen(&deployment), url("common"));
    let deployment = deployment.env("RELAY_DATABASE_URL", &url("own"));
    assert_eq!(chosen(&deployment), url("own"));

    let deployment = Deployment::new().env("AMQP_URL", "amqp://localhost");
    let loaded = deployment.loaded();
    assert_eq!(loaded.config.amqp_url().unwrap().expose(), "amqp://localhost");
    assert_eq!(loaded.origin("amqp.url"), Some(&Origin::Env { variable: "AMQP_URL".into() }));
}

#[test]
fn every_secret_can_come_from_a_file_without_its_trailing_newline() {
    let variables = [
        "RELAY_DATABASE_URL_FILE",
        "DATABASE_URL_FILE",
        "RELAY_DATABASE_LISTEN_URL_FILE",
        "RELAY_AMQP_URL_FILE",
        "AMQP_URL_FILE",
    ];
    for variable in variables {
        let deployment = Deployment::new();
        let url = if variable.contains("AMQP") { "amqp://localhost" } else { "postgres://localhost/app" };
        let path = deployment.write("secret", &format!("{url}\r\n"));
        let loaded = deployment.env(variable, &path).loaded();
        let config = &loaded.config;
        let found = [&config.database.url, &config.database.listen_url, &config.amqp.url];
        let found: Vec<&str> = found.into_iter().flatten().map(|secret| secret.expose()).collect();
        assert_eq!(found, [url], "{variable}");
        let origin = Origin::SecretFile { variable: variable.to_owned(), path: path.into() };
        assert!(loaded.settings.iter().any(|setting| setting.origin == origin), "{variable}");
    }
}

#[test]
fn a_secret_file_that_is_missing_or_empty_is_an_error_naming_variable_and_path() {
    let deployment = Deployment::new();
    let empty = deployment.write("empty", "\n");
    let deployment =
        deployment.env("RELAY_DATABASE_URL_FILE", "/nonexistent/url").env("AMQP_URL_FILE", &empty);
    assert_eq!(
        deployment.lines(),
        [
            "environment variable RELAY_DATABASE_URL_FILE: database.url names /nonexistent/url, which cannot be read: \
             No such file or directory (os error 2); write the secret into it, or unset the variable",
            "environment variable AMQP_URL_FILE: amqp.url names empty, which is empty; \
             write the secret into it, or unset the variable",
        ]
    );
}

#[test]
fn a_secret_given_twice_at_one_level_is_ambiguous() {
    let deployment =
        Deployment::new().env("DATABASE_URL", "postgres://a/b").env("DATABASE_URL_FILE", "/run/secret");
    assert_eq!(
        deployment.lines(),
        [
            "environment variables DATABASE_URL and DATABASE_URL_FILE: both set database.url; unset one of them"
        ]
    );
    let deployment = deployment.env("RELAY_DATABASE_URL", "postgres://own/app");
    assert_eq!(deployment.loaded().config.database_url().unwrap().expose(), "postgres://own/app");
}

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
fn a_named_file_must_exist_and_prevails_over_the_default_one() {
    let mut deployment = Deployment::new().toml("[lease]\nduration = '3s'\n");
    let named = deployment.write("named.toml", "[lease]\nduration = '4s'\n");
    assert_eq!(deployment.loaded().config.lease.duration, Duration::from_secs(3));
    deployment.env.insert("RELAY_CONFIG".into(), named.clone().into());
    let loaded = deployment.loaded();
    assert_eq!(loaded.config.lease.duration, Duration::from_secs(4));
    assert_eq!(loaded.file, Some(PathBuf::from(&named)));

    deployment.config = Some("/nonexistent/relay.toml".into());
    assert_eq!(
        deployment.lines(),
        ["/nonexistent/relay.toml: the configuration file (named by flag --config) cannot be read: \
          No such file or directory (os error 2); name a readable file, or none"]
    );
    deployment.config = Some(named.into());
    deployment.env.insert("RELAY_CONFIG".into(), "/nonexistent".into());
    assert_eq!(deployment.loaded().config.lease.duration, Duration::from_secs(4));
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
    about(&[("RELAY_LIMITS_PAYLOAD_BYTES", "17MiB")], "limits.payload_bytes = 17MiB");
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

#[test]
fn secrets_are_redacted_in_debug_show_and_errors() {
    let deployment = Deployment::new()
        .env("DATABASE_URL", &format!("postgres://app:{SECRET}@localhost/app"))
        .env("RELAY_DATABASE_LISTEN_URL", &format!("host=localhost password={SECRET}"))
        .toml(&format!("[amqp]\nurl = 'amqp://app:{SECRET}@localhost'\n"));
    let loaded = deployment.loaded();
    assert!(loaded.config.database_url().unwrap().expose().contains(SECRET));
    for text in [format!("{loaded:?}"), format!("{loaded:#?}"), table(&loaded), json(&loaded).to_string()] {
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
    let text = table(&loaded);
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    let fields = |key: &str| line(key).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(text.lines().count(), KEYS.len() + 1);
    let file = deployment.directory.join("relay.toml");
    assert_eq!(fields("lease.duration"), ["lease.duration", "1m", "30s", &format!("{}:2", file.display())]);
    assert_eq!(fields("database.url"), ["database.url", "-", "default"]);
    assert_eq!(fields("limits.in_flight_bytes"), ["limits.in_flight_bytes", "64MiB", "default"]);

    let shown = json(&loaded);
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
