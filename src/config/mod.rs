//! Configuration: flags over environment over `relay.toml` over defaults, from one table of keys.
//!
//! [`KEYS`] is the only list of keys there is. Parsing, messages, `config show`, the reference in the
//! documentation and the JSON Schema are all read from it, so none of them can forget a key.
//!
//! Every mistake is reported at once: whoever fixes a deployment wants the whole list, not its first line.
//! The environment is an argument ([`Env`]), so tests never touch the process's own.

mod check;
mod env;
mod error;
mod file;
mod keys;
mod kind;
mod load;
mod outboxes;
mod schema;
mod secret;
mod settings;
mod show;
mod suggest;
mod url;
mod value;

pub use env::Env;
pub use error::{ConfigError, ConfigErrors, Origin};
pub use keys::{KEYS, Key};
pub use kind::{Invalid, Kind};
pub use load::{DEFAULT_FILE, Loaded, Needs, Setting, load, load_in};
pub use schema::{reference, schema};
pub use secret::{REDACTED, Secret};
pub use settings::{
    Admin, Amqp, Config, Database, DeadLetter, Keep, Lease, Limits, Listen, Log, LogFormat, OnDead, Ordering,
    Outbox, Page, Retention, Retry, Shutdown, Tls,
};
pub use show::{json, table};
pub use url::UrlProblem;
pub use value::Value;
