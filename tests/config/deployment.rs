//! A configuration under test, and values to put into it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use relay::config::{ConfigErrors, Env, Key, Kind, Loaded, Needs, load_in};

pub(crate) const NEEDS_BOTH: Needs = Needs { database: true, amqp: true };
pub(crate) const SECRET: &str = "hunter2";

/// A deployment: a directory of its own, and everything that may say something about a key.
pub(crate) struct Deployment {
    pub(crate) directory: PathBuf,
    flags: BTreeMap<&'static str, String>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) env: BTreeMap<String, OsString>,
    needs: Needs,
    outbox: Option<String>,
}

impl Deployment {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("config-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let (flags, env) = (BTreeMap::new(), BTreeMap::new());
        Self { directory, flags, config: None, env, needs: Needs::default(), outbox: None }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn flag(mut self, path: &'static str, value: &str) -> Self {
        self.flags.insert(path, value.to_owned());
        self
    }

    /// `relay.toml` in the working directory.
    pub(crate) fn toml(self, text: &str) -> Self {
        self.write("relay.toml", text);
        self
    }

    pub(crate) fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// With `--outbox`.
    pub(crate) fn only(mut self, name: &str) -> Self {
        self.outbox = Some(name.to_owned());
        self
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn load(&self) -> Result<Vec<Loaded>, ConfigErrors> {
        let env: Env = self.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let only = self.outbox.as_deref();
        load_in(&self.directory, &self.flags, self.config.as_deref(), &env, self.needs, only)
    }

    #[track_caller]
    pub(crate) fn outboxes(&self) -> Vec<Loaded> {
        self.load().unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The configuration of the only outbox.
    #[track_caller]
    pub(crate) fn loaded(&self) -> Loaded {
        let mut outboxes = self.outboxes();
        assert_eq!(outboxes.len(), 1);
        outboxes.remove(0)
    }

    #[track_caller]
    pub(crate) fn errors(&self) -> ConfigErrors {
        self.load().expect_err("this configuration should be refused")
    }

    /// The lines of the report, without the directory.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<String> {
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
pub(crate) fn sample(key: &Key) -> (String, String) {
    let text = match key.kind {
        Kind::Duration { .. } if key.name == "cap" => "6m".to_owned(),
        Kind::Duration { .. } => "7s".to_owned(),
        Kind::Age { .. } => "off".to_owned(),
        Kind::Integer { .. } if key.name == "in_flight_rows" => "5000".to_owned(),
        Kind::Integer { .. } => "3".to_owned(),
        Kind::Size { .. } if key.name == "in_flight_bytes" => "128MiB".to_owned(),
        Kind::Size { .. } => "2048".to_owned(),
        Kind::Boolean => (key.default == Some("false")).to_string(),
        Kind::Exchanges => "a,b".to_owned(),
        Kind::Choice(names) => (*names.iter().find(|name| Some(**name) != key.default).unwrap()).to_owned(),
        Kind::PostgresUrl => format!("postgres://app:{SECRET}@localhost/app"),
        Kind::AmqpUrl => format!("amqp://app:{SECRET}@localhost/"),
        // Two of them must differ.
        Kind::Token => format!("{SECRET}-{}-0123456789", key.name),
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
