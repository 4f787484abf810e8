//! Mistakes in the configuration, and where they were made.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::keys::{self, Key};
use super::kind::Invalid;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The table of keys.
    Default,
    /// A line of the configuration file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Env {
        /// Its name.
        variable: String,
    },
    /// A file that an environment variable names.
    SecretFile {
        /// The variable's name.
        variable: String,
        /// The file, as the variable names it.
        path: PathBuf,
    },
    /// A flag of the command line.
    Flag {
        /// Its name, without the dashes.
        flag: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env { variable } => write!(f, "environment variable {variable}"),
            Self::SecretFile { variable, path } => {
                write!(f, "file {} (environment variable {variable})", path.display())
            }
            Self::Flag { flag } => write!(f, "flag --{flag}"),
        }
    }
}

/// One mistake. `Display` is the whole of it on one line, with its causes and its cure, because a list of lines
/// is what an operator gets; hence there is no `source` to print besides.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("{}: the configuration file{} cannot be read: {cause}; name a readable file, or none", .path.display(), because_of(.named_by))]
    File {
        /// The file.
        path: PathBuf,
        /// The flag or variable that names it; `None` for the default file.
        named_by: Option<String>,
        /// Why not.
        cause: io::Error,
    },
    /// The configuration file is no TOML.
    #[error("{}:{line}: {message}; correct the TOML", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The parser's description, which quotes nothing of the file.
        message: String,
    },
    /// A section that does not exist, or something else where a section belongs.
    #[error("{origin}: {section:?} is no section{}", meant(.suggestion, "remove it"))]
    UnknownSection {
        /// What it is called.
        section: String,
        /// Where it stands.
        origin: Origin,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// A key, variable or flag that does not exist.
    #[error("{origin}: {name:?} is no configuration key{}", meant(.suggestion, "remove it"))]
    UnknownKey {
        /// What it is called.
        name: String,
        /// Where it stands.
        origin: Origin,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// A section for the whole process in the block of one outbox.
    #[error("{origin}: [{section}] is for the whole process; write it outside of [[outbox]]")]
    OfProcess {
        /// What it is called.
        section: String,
        /// Where it stands.
        origin: Origin,
    },
    /// An `[[outbox]]` that nothing can refer to.
    #[error("{origin}: this [[outbox]] has no name; give it one of its own: name = \"...\"")]
    Unnamed {
        /// Where it stands.
        origin: Origin,
    },
    /// `--outbox` names none.
    #[error("there is no outbox {name:?}; name one of these: {}", .known.join(", "))]
    UnknownOutbox {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Two outboxes that would get into each other's way.
    #[error("outboxes {} and {}: {reason}; {cure}", .names[0], .names[1])]
    Entangled {
        /// Their names.
        names: [String; 2],
        /// What they share.
        reason: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// A value that its key cannot take.
    #[error("{origin}: {}{} {problem}{}; write {}", .key.path(), equals(.given), causes(.problem), .key.kind)]
    Invalid {
        /// The key.
        key: &'static Key,
        /// Where the value comes from.
        origin: Origin,
        /// The value, quoted; `None` for a secret.
        given: Option<String>,
        /// What is wrong with it.
        problem: Invalid,
    },
    /// A variable that is set to something besides text.
    #[error("environment variable {variable}: {} is not UTF-8; write {}", .key.path(), .key.kind)]
    NotUnicode {
        /// The key.
        key: &'static Key,
        /// The variable.
        variable: String,
    },
    /// A secret given both as itself and as a file.
    #[error("environment variables {variable} and {variable}_FILE: both set {}; unset one of them", .key.path())]
    Ambiguous {
        /// The key.
        key: &'static Key,
        /// The variable that holds the secret.
        variable: String,
    },
    /// A file that does not hold what it should.
    #[error("{origin}: {} names {}, which {}; {cure}", .key.path(), .path.display(), unusable(.cause.as_ref()))]
    UnusableFile {
        /// The key.
        key: &'static Key,
        /// Where the path comes from.
        origin: Origin,
        /// The file.
        path: PathBuf,
        /// Why it cannot be read; `None` if it can, but is empty.
        cause: Option<io::Error>,
        /// What to do.
        cure: &'static str,
    },
    /// A value that the command needs and nobody gave.
    #[error("{} is not set{}; set {}, or {} in relay.toml", .key.path(), emptied(.origin), .key.alias.map_or_else(|| .key.variable(), str::to_owned), .key.path())]
    Missing {
        /// The key.
        key: &'static Key,
        /// Who set it to nothing, if anybody did.
        origin: Origin,
    },
    /// Values that are fine alone and not together.
    #[error("{stated}: {reason}; {cure}")]
    Conflict {
        /// The keys, the one to change first.
        keys: Vec<&'static str>,
        /// The keys with their values and origins.
        stated: String,
        /// Why they do not go together.
        reason: String,
        /// What to do.
        cure: String,
    },
}

impl ConfigError {
    /// [`ConfigError::Missing`] for a key that nobody mentioned.
    pub(super) fn missing(path: &'static str) -> Self {
        // The paths asked for are constants of the table.
        let key = keys::find(path).unwrap_or(&keys::KEYS[0]);
        Self::Missing { key, origin: Origin::Default }
    }

    /// The path of the key at fault, `lease.duration`, if it is one key.
    pub fn key(&self) -> Option<String> {
        match self {
            Self::Invalid { key, .. }
            | Self::NotUnicode { key, .. }
            | Self::Ambiguous { key, .. }
            | Self::UnusableFile { key, .. }
            | Self::Missing { key, .. } => Some(key.path()),
            Self::Conflict { keys, .. } => keys.first().map(|key| (*key).to_owned()),
            Self::File { .. }
            | Self::Syntax { .. }
            | Self::UnknownSection { .. }
            | Self::UnknownKey { .. }
            | Self::OfProcess { .. }
            | Self::Unnamed { .. }
            | Self::UnknownOutbox { .. }
            | Self::Entangled { .. } => None,
        }
    }
}

fn because_of(name: &Option<String>) -> String {
    name.as_ref().map(|name| format!(" (named by {name})")).unwrap_or_default()
}

fn meant(suggestion: &Option<String>, otherwise: &str) -> String {
    match suggestion {
        Some(name) => format!("; did you mean {name:?}?"),
        None => format!("; {otherwise}, or see `relay config show` for all keys"),
    }
}

fn equals(value: &Option<String>) -> String {
    value.as_ref().map(|value| format!(" = {value}")).unwrap_or_default()
}

fn causes(problem: &Invalid) -> String {
    let mut text = String::new();
    let mut cause = problem.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn unusable(cause: Option<&io::Error>) -> String {
    cause.map_or_else(|| "is empty".to_owned(), |cause| format!("cannot be read: {cause}"))
}

fn emptied(origin: &Origin) -> String {
    match origin {
        Origin::Default => String::new(),
        origin => format!(" ({origin} is empty)"),
    }
}

/// Every mistake there is, once, in the order of their sources: file, then unknown names, then keys, then relations.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `Err` if there is any. What concerns several outboxes was found in each.
    pub(super) fn none_of(mut errors: Vec<ConfigError>) -> Result<(), Self> {
        let mut said = BTreeSet::new();
        errors.retain(|error| said.insert(error.to_string()));
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// The mistakes, at least one.
    pub fn errors(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl Error for ConfigErrors {}

/// Opens a file to see whether it can be: some file systems answer `stat` for what they will not open.
pub(super) fn readable(path: &Path) -> io::Result<()> {
    let file = std::fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(())
}
