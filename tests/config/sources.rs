//! Where values come from, and which one prevails.

use std::{path::PathBuf, time::Duration};

use relay::config::{Config, KEYS, Key, Loaded, Origin};

use crate::deployment::{Deployment, sample};

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
        "RELAY_DATABASE_OPERATOR_URL_FILE",
        "RELAY_AMQP_URL_FILE",
        "AMQP_URL_FILE",
    ];
    for variable in variables {
        let deployment = Deployment::new();
        let url = if variable.contains("AMQP") { "amqp://localhost" } else { "postgres://localhost/app" };
        let path = deployment.write("secret", &format!("{url}\r\n"));
        let loaded = deployment.env(variable, &path).loaded();
        let config = &loaded.config;
        let database = &config.database;
        let found = [&database.url, &database.listen_url, &database.operator_url, &config.amqp.url];
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
