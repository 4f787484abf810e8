//! Loading: who says what about each key, and who prevails.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::check;
use super::env::{Env, NotUnicode};
use super::error::{ConfigError, ConfigErrors, Origin};
use super::file::{self, Block, Contents, suggest_key};
use super::keys::{self, KEYS, Key};
use super::outboxes;
use super::settings::Config;
use super::suggest::nearest;
use super::value::{Raw, Value};

/// The file that is read when nobody names one, if it exists.
pub const DEFAULT_FILE: &str = "relay.toml";

/// The variable that names the configuration file.
const CONFIG: &str = "RELAY_CONFIG";

/// Variables with these beginnings are somebody else's: scripts and tools around relay.
const FOREIGN: &[&str] = &["RELAY_DEV_"];

/// Which servers a command cannot do without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// `database.url` must be set.
    pub database: bool,
    /// `amqp.url` must be set.
    pub amqp: bool,
}

/// One key's value and where it came from. A secret's value redacts itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key.
    pub key: &'static Key,
    /// Its value.
    pub value: Value,
    /// Who said so.
    pub origin: Origin,
}

/// The configuration of one outbox, and of the process, that is valid, with its history.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every key, in the table's order, with its value and origin.
    pub settings: Vec<Setting>,
    /// What is allowed and probably not meant: one line each, to be logged once. What several outboxes have in common the
    /// first one says.
    pub warnings: Vec<String>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
}

impl Loaded {
    /// Where the value of `path` (`lease.duration`) came from; `None` if there is no such key.
    pub fn origin(&self, path: &str) -> Option<&Origin> {
        let key = keys::find(path)?;
        self.settings.iter().find(|setting| setting.key == key).map(|setting| &setting.origin)
    }
}

/// Loads the configuration of a process that runs in the current directory: of each outbox in the order of the file, or of
/// the one of this name alone. Without any `[[outbox]]` there is one.
///
/// `flags` maps paths (`lease.duration`) to the text given for them; `config` is `--config`. Precedence: flags, what is
/// said of this outbox (`RELAY_OUTBOX_NAME_SECTION_KEY`, its `[[outbox]]`), `RELAY_SECTION_KEY`, its alias
/// (`DATABASE_URL`), the file, the default. A secret's variable has a twin with `_FILE`, which names a file that holds it.
///
/// Reads files; looks at no process environment and connects nowhere.
///
/// # Errors
/// All mistakes at once. An unknown name is one wherever it stands; a value is checked only where it prevails, so
/// a flag can get past a bad variable.
pub fn load(
    flags: &BTreeMap<&str, String>,
    config: Option<&Path>,
    env: &Env,
    needs: Needs,
    only: Option<&str>,
) -> Result<Vec<Loaded>, ConfigErrors> {
    load_in(Path::new(""), flags, config, env, needs, only)
}

/// [`load`], with [`DEFAULT_FILE`] looked for in another directory.
///
/// # Errors
/// As for [`load`].
pub fn load_in(
    directory: &Path,
    flags: &BTreeMap<&str, String>,
    config: Option<&Path>,
    env: &Env,
    needs: Needs,
    only: Option<&str>,
) -> Result<Vec<Loaded>, ConfigErrors> {
    let (path, mut file) = read_file(directory, config, env);
    let mut errors = std::mem::take(&mut file.errors);
    errors.extend(unknown_flags(flags));
    errors.extend(unknown_variables(env, &file.blocks));

    let blocks: Vec<_> = match file.blocks.as_slice() {
        [] => vec![None],
        blocks => blocks.iter().map(Some).collect(),
    };
    let mut outboxes = Vec::with_capacity(blocks.len());
    let mut parsed = file.sound;
    for block in blocks {
        let sources = Sources { flags, env, file: &file, block, path: path.as_deref() };
        let (config, settings, wrong) = sources.outbox();
        parsed &= wrong.is_empty();
        errors.extend(wrong);
        outboxes.push(Loaded { config, settings, warnings: Vec::new(), file: path.clone() });
    }
    if parsed {
        outboxes::apart(&outboxes, &file.blocks, &mut errors);
    }
    if let (Some(name), true) = (only, parsed) {
        let names: Vec<_> = outboxes.iter().map(|loaded| loaded.config.outbox.name.clone()).collect();
        outboxes.retain(|loaded| loaded.config.outbox.name == name);
        if outboxes.is_empty() {
            errors.push(ConfigError::UnknownOutbox { name: name.to_owned(), known: names });
        }
    }
    let mut said = BTreeSet::new();
    for loaded in &mut outboxes {
        // A file that could not be read may well have set what now seems to be missing.
        if file.sound {
            errors.extend(missing(&loaded.settings, needs));
        }
        // Relations between values mean something only when every value is what was meant.
        if parsed {
            check::relations(&loaded.config, &loaded.settings, &mut errors, &mut loaded.warnings);
            loaded.warnings.retain(|warning| said.insert(warning.clone()));
        }
    }
    ConfigErrors::none_of(errors)?;
    Ok(outboxes)
}

/// The file that counts, and what it says; an empty one if there is none.
fn read_file(directory: &Path, flag: Option<&Path>, env: &Env) -> (Option<PathBuf>, Contents) {
    let variable = env.get(CONFIG).and_then(Result::ok).filter(|path| !path.is_empty());
    let (path, named_by) = match (flag, variable) {
        (Some(path), _) => (path.to_owned(), Some("flag --config")),
        (None, Some(path)) => (PathBuf::from(path), Some("environment variable RELAY_CONFIG")),
        (None, None) => (directory.join(DEFAULT_FILE), None),
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let contents = file::parse(&path, &text);
            (Some(path), contents)
        }
        Err(cause) if named_by.is_none() && cause.kind() == io::ErrorKind::NotFound => {
            (None, Contents { sound: true, ..Contents::default() })
        }
        Err(cause) => {
            let named_by = named_by.map(str::to_owned);
            let error = ConfigError::File { path, named_by, cause };
            (None, Contents { errors: vec![error], ..Contents::default() })
        }
    }
}

fn unknown_flags(flags: &BTreeMap<&str, String>) -> impl Iterator<Item = ConfigError> {
    let unknown = flags.keys().filter(|path| keys::find(path).is_none());
    unknown.map(|path| ConfigError::UnknownKey {
        name: (*path).to_owned(),
        origin: Origin::Flag { flag: path.replace(['.', '_'], "-") },
        suggestion: suggest_key(path),
    })
}

fn unknown_variables(env: &Env, blocks: &[Block]) -> Vec<ConfigError> {
    let mut known = vec![CONFIG.to_owned()];
    for key in KEYS {
        let own = blocks.iter().filter_map(|block| block.variable(key));
        for variable in std::iter::once(key.variable()).chain(own) {
            if key.secret() {
                known.push(format!("{variable}_FILE"));
            }
            known.push(variable);
        }
    }
    let ours = env.names().filter(|name| name.starts_with("RELAY_"));
    let unknown = ours.filter(|name| {
        !known.iter().any(|known| known == name)
            && !FOREIGN.iter().any(|prefix| name.starts_with(prefix))
            && !is_service_link(name, env.get(name).and_then(Result::ok).unwrap_or_default())
    });
    unknown
        .map(|name| ConfigError::UnknownKey {
            name: name.to_owned(),
            origin: Origin::Env { variable: name.to_owned() },
            suggestion: nearest_variable(name, &known),
        })
        .collect()
}

fn nearest_variable(name: &str, known: &[String]) -> Option<String> {
    // Compared without what all have in common, which would make all alike.
    let bare = |name: &'static str| move |text: &str| text.strip_prefix(name).unwrap_or(text).to_owned();
    let bare = bare("RELAY_");
    let known: Vec<String> = known.iter().map(|name| bare(name)).collect();
    nearest(&bare(name), known.iter().map(String::as_str)).map(|name| format!("RELAY_{name}"))
}

/// Kubernetes describes every service to every pod beside it in variables: a service named `relay`, or
/// `relay-metrics`, must not keep relay from starting.
fn is_service_link(name: &str, value: &str) -> bool {
    let protocols = ["tcp://", "udp://", "sctp://"];
    let is_url = protocols.iter().any(|protocol| value.starts_with(protocol));
    let has = |part: &str| name.contains(part);
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || has("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url)
        || (has("_PORT_") && (has("_TCP") || has("_UDP") || has("_SCTP")))
}

fn missing(settings: &[Setting], needs: Needs) -> impl Iterator<Item = ConfigError> {
    let unset = settings.iter().filter(|setting| setting.value == Value::Unset);
    unset.filter_map(move |setting| {
        let path = setting.key.path();
        let needed = (needs.database && path == keys::DATABASE_URL) || (needs.amqp && path == keys::AMQP_URL);
        needed.then(|| ConfigError::Missing { key: setting.key, origin: setting.origin.clone() })
    })
}

fn apply(config: &mut Config, setting: Setting) -> Result<Setting, ConfigError> {
    let Setting { key, value, origin } = setting;
    match key.apply(config, value.clone()) {
        Ok(()) => Ok(Setting { key, value, origin }),
        Err(problem) => Err(ConfigError::Invalid { key, origin, given: None, problem }),
    }
}

/// Everybody who may say something about a key.
struct Sources<'a> {
    flags: &'a BTreeMap<&'a str, String>,
    env: &'a Env,
    file: &'a Contents,
    /// The outbox's own block, if it has one.
    block: Option<&'a Block>,
    path: Option<&'a Path>,
}

impl Sources<'_> {
    /// Every key's value for this outbox, and what is wrong with it.
    fn outbox(&self) -> (Config, Vec<Setting>, Vec<ConfigError>) {
        let (mut config, mut settings, mut errors) =
            (Config::blank(), Vec::with_capacity(KEYS.len()), vec![]);
        for key in KEYS {
            match self.setting(key).and_then(|setting| apply(&mut config, setting)) {
                Ok(setting) => settings.push(setting),
                Err(error) => errors.push(error),
            }
        }
        (config, settings, errors)
    }

    /// The value that prevails.
    fn setting(&self, key: &'static Key) -> Result<Setting, ConfigError> {
        let (raw, origin) = self.find(key)?;
        match key.parse(&raw) {
            Ok(value) => Ok(Setting { key, value, origin }),
            Err(problem) => {
                let given = (!key.secret()).then(|| raw.to_string());
                Err(ConfigError::Invalid { key, origin, given, problem })
            }
        }
    }

    fn find(&self, key: &'static Key) -> Result<(Raw, Origin), ConfigError> {
        let path = key.path();
        if let Some(text) = self.flags.get(path.as_str()) {
            return Ok((Raw::Text(text.clone()), Origin::Flag { flag: key.flag() }));
        }
        // What is said of this outbox, then what is said of all.
        let own = self.block.and_then(|block| block.variable(key));
        let scopes = [
            (own.into_iter().collect(), self.block.map(|block| &block.values)),
            (key.variables().collect::<Vec<_>>(), Some(&self.file.values)),
        ];
        for (variables, values) in scopes {
            for variable in variables {
                if let Some(found) = self.variable(key, variable)? {
                    return Ok(found);
                }
            }
            if let (Some((raw, line)), Some(path)) = (values.and_then(|values| values.get(&path)), self.path)
            {
                return Ok((raw.clone(), Origin::File { path: path.to_owned(), line: *line }));
            }
        }
        Ok((Raw::Text(key.default.unwrap_or_default().to_owned()), Origin::Default))
    }

    /// What a variable, or its twin with `_FILE`, says.
    fn variable(&self, key: &'static Key, variable: String) -> Result<Option<(Raw, Origin)>, ConfigError> {
        let text = |variable: &str| match self.env.get(variable) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text.to_owned())),
            Some(Err(NotUnicode)) => Err(ConfigError::NotUnicode { key, variable: variable.to_owned() }),
        };
        let twin = format!("{variable}_FILE");
        match (text(&variable)?, if key.secret() { text(&twin)? } else { None }) {
            (Some(_), Some(_)) => Err(ConfigError::Ambiguous { key, variable }),
            (Some(text), None) => Ok(Some((Raw::Text(text), Origin::Env { variable }))),
            (None, Some(path)) => secret_file(key, twin, PathBuf::from(path)).map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn secret_file(key: &'static Key, variable: String, path: PathBuf) -> Result<(Raw, Origin), ConfigError> {
    let unusable = |cause, variable, path| {
        let cure = "write the secret into it, or unset the variable";
        Err(ConfigError::UnusableFile { key, origin: Origin::Env { variable }, path, cause, cure })
    };
    match std::fs::read_to_string(&path) {
        Err(cause) => unusable(Some(cause), variable, path),
        Ok(text) => match text.trim_end_matches(['\r', '\n']) {
            "" => unusable(None, variable, path),
            secret => Ok((Raw::Text(secret.to_owned()), Origin::SecretFile { variable, path })),
        },
    }
}
