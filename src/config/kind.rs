//! What a key's value may be: one parser and one sentence for each kind.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::{SHORTEST_TOKEN, Secret, token};
use super::suggest::nearest;
use super::url::{self, UrlProblem};
use super::value::{Raw, Value, format_size, parse_size};

/// AMQP short strings (names of exchanges and queues, routing keys, `app_id`) have one byte for their length.
pub(super) const SHORT_STRING: usize = 255;

/// What switches something off that is a length of time otherwise.
pub(super) const OFF: &str = "off";

/// What a routing key's template may refer to.
const PLACEHOLDERS: &[&str] = &["aggregate_type", "aggregate_id", "event_type"];

/// The kind of a key's value, with its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A length of time, as in `10s` or `250ms`.
    Duration {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// A length of time, or `off` for ever.
    Age {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// A whole number.
    Integer {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// Bytes: a whole number, or one with a unit.
    Size {
        /// Smallest, in bytes.
        min: u64,
        /// Largest, in bytes.
        max: u64,
    },
    /// `true` or `false`.
    Boolean,
    /// A name that travels as an AMQP short string: 1 to 255 bytes.
    Name,
    /// The name of an exchange. Never "": the default exchange routes by queue name and reports nothing.
    Exchange,
    /// Names of exchanges: an array in the file, separated by commas elsewhere.
    Exchanges,
    /// A plain lower-case identifier of Postgres.
    Identifier,
    /// A routing key over `{aggregate_type}`, `{aggregate_id}` and `{event_type}`.
    Template,
    /// Directives of a tracing filter.
    Filter,
    /// One of these names.
    Choice(&'static [&'static str]),
    /// A connection string for Postgres.
    PostgresUrl,
    /// A URL for RabbitMQ.
    AmqpUrl,
    /// What a person or a program has to know to be let in.
    Token,
    /// A file's path.
    Path,
    /// An address to listen on.
    Address,
}

/// What is wrong with a value. Reads on after the value, and never repeats it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// A TOML value of another type.
    #[error("is {0}")]
    WrongType(&'static str),
    /// Not a duration.
    #[error("is no duration")]
    NotADuration(#[source] Box<humantime::DurationError>),
    /// A number without a unit, where a duration is wanted.
    #[error("has no unit")]
    NoUnit,
    /// Not a whole number.
    #[error("is no whole number")]
    NotAnInteger,
    /// Not a size.
    #[error("is no size")]
    NotASize,
    /// Neither `true` nor `false`.
    #[error("is neither true nor false")]
    NotABoolean,
    /// Beyond the key's bounds.
    #[error("is out of range")]
    OutOfRange,
    /// None of the names, with the one that was probably meant.
    #[error("is not one of the choices{}", did_you_mean(*.0))]
    NotAChoice(Option<&'static str>),
    /// Nothing, where something is needed.
    #[error("is empty")]
    Empty,
    /// The default exchange.
    #[error("is the default exchange, which relay never publishes to")]
    DefaultExchange,
    /// An item of a list is empty.
    #[error("has an empty entry")]
    EmptyEntry,
    /// More than an AMQP short string holds.
    #[error("has {0} bytes")]
    TooLong(usize),
    /// Invisible, and never meant.
    #[error("contains a control character")]
    ControlCharacter,
    /// Would need quoting in SQL.
    #[error("is no plain lower-case identifier")]
    NotAnIdentifier,
    /// Postgres keeps `pg_` for itself.
    #[error("begins with pg_, which Postgres reserves")]
    ReservedIdentifier,
    /// A placeholder that no row has.
    #[error("has an unknown placeholder")]
    UnknownPlaceholder,
    /// A brace without its counterpart.
    #[error("has a brace without its counterpart")]
    UnbalancedBrace,
    /// Not directives of a tracing filter.
    #[error("is no log filter")]
    NotAFilter,
    /// Not an address with a port.
    #[error("is no IP address with a port")]
    NotAnAddress,
    /// Short enough to be guessed.
    #[error("is shorter than {} characters", SHORTEST_TOKEN)]
    TooShort,
    /// It could not travel in a header as it is.
    #[error("holds something besides letters, digits and ASCII's signs")]
    NotVisible,
    /// A URL that its client could not use.
    #[error(transparent)]
    Url(#[from] UrlProblem),
    /// The table's kind and the field's type disagree: a bug in relay, which a test of the table excludes.
    #[error("does not fit its field, which is a bug in relay")]
    Unfit,
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default()
}

impl Kind {
    /// The value that was written, understood.
    pub(super) fn parse(&self, raw: &Raw) -> Result<Value, Invalid> {
        if let (Self::Exchanges, Raw::Array(items)) = (self, raw) {
            return exchanges(items.iter().map(String::as_str));
        }
        let text = self.text(raw)?;
        let text = text.as_ref();
        match *self {
            Self::Duration { min, max } => duration(text, min, max),
            Self::Age { .. } if text.trim() == OFF => Ok(Value::Choice(OFF)),
            Self::Age { min, max } => duration(text, min, max),
            Self::Integer { min, max } => {
                let number = text.trim().parse().map_err(|_| integer_problem(text))?;
                within(number, min, max).map(Value::Integer)
            }
            Self::Size { min, max } => {
                within(parse_size(text).ok_or(Invalid::NotASize)?, min, max).map(Value::Size)
            }
            Self::Boolean => match text.trim() {
                "true" => Ok(Value::Boolean(true)),
                "false" => Ok(Value::Boolean(false)),
                _ => Err(Invalid::NotABoolean),
            },
            Self::Name => short_string(text, Invalid::Empty).map(Value::Text),
            Self::Exchange => short_string(text, Invalid::DefaultExchange).map(Value::Text),
            Self::Exchanges if text.trim().is_empty() => Ok(Value::List(Vec::new())),
            Self::Exchanges => exchanges(text.split(',').map(str::trim)),
            Self::Identifier => identifier(text),
            Self::Template => template(text),
            Self::Filter => {
                if text.trim().is_empty() {
                    return Err(Invalid::Empty);
                }
                tracing_subscriber::EnvFilter::try_new(text).map_err(|_| Invalid::NotAFilter)?;
                Ok(Value::Text(text.to_owned()))
            }
            Self::Choice(names) => names
                .iter()
                .find(|name| **name == text.trim())
                .map(|name| Value::Choice(name))
                .ok_or_else(|| Invalid::NotAChoice(nearest(text, names.iter().copied()))),
            Self::PostgresUrl => {
                let secret = Secret::new(text);
                url::postgres(&secret)?;
                Ok(Value::Secret(secret))
            }
            Self::AmqpUrl => {
                let secret = Secret::new(text);
                url::amqp(&secret)?;
                Ok(Value::Secret(secret))
            }
            Self::Token => token(text).map(Value::Secret),
            Self::Path => Ok(Value::Path(PathBuf::from(text))),
            Self::Address => {
                text.trim().parse::<SocketAddr>().map(Value::Address).map_err(|_| Invalid::NotAnAddress)
            }
        }
    }

    /// A value's text, if it has the type that this kind has in a file.
    fn text<'a>(&self, raw: &'a Raw) -> Result<Cow<'a, str>, Invalid> {
        match (self, raw) {
            (_, Raw::Text(text)) => Ok(Cow::Borrowed(text)),
            (Self::Integer { .. } | Self::Size { .. }, Raw::Integer(digits)) => Ok(Cow::Borrowed(digits)),
            (Self::Duration { .. } | Self::Age { .. }, Raw::Integer(_)) => Err(Invalid::NoUnit),
            (Self::Boolean, Raw::Boolean(flag)) => Ok(Cow::Owned(flag.to_string())),
            (Self::Integer { .. } | Self::Boolean | Self::Exchanges, Raw::String(_)) => {
                Err(Invalid::WrongType(raw.type_name()))
            }
            (_, Raw::String(text)) => Ok(Cow::Borrowed(text)),
            _ => Err(Invalid::WrongType(raw.type_name())),
        }
    }
}

impl fmt::Display for Kind {
    /// What to write, after "write" or "expected".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |duration: Duration| humantime::format_duration(duration);
        match *self {
            Self::Duration { min, max } => {
                write!(f, "a duration from {} to {}, such as \"10s\" or \"250ms\"", time(min), time(max))
            }
            Self::Age { min, max } => {
                write!(
                    f,
                    "a duration from {} to {}, such as \"7d\" or \"12h\", or \"{OFF}\"",
                    time(min),
                    time(max)
                )
            }
            Self::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Size { min, max } => {
                write!(
                    f,
                    "a size from {} to {}, such as 65536 or \"64MiB\"",
                    format_size(min),
                    format_size(max)
                )
            }
            Self::Boolean => f.write_str("true or false"),
            Self::Name => write!(f, "a name of 1 to {SHORT_STRING} bytes"),
            Self::Exchange => write!(f, "an exchange's name of 1 to {SHORT_STRING} bytes"),
            Self::Exchanges => f.write_str(
                "names of exchanges: an array of strings in the file, separated by commas elsewhere",
            ),
            Self::Identifier => f.write_str("1 to 56 of a-z, 0-9 and _, not beginning with a digit"),
            Self::Template => {
                write!(f, "at most {SHORT_STRING} bytes with no braces but those of")?;
                PLACEHOLDERS.iter().try_for_each(|name| write!(f, " {{{name}}}"))
            }
            Self::Filter => f.write_str("tracing directives, such as \"info\" or \"info,relay=debug\""),
            Self::Choice(names) => f.write_str(&names.join(", ")),
            Self::PostgresUrl => f.write_str("a URL such as postgres://USER:PASSWORD@HOST:5432/DATABASE"),
            Self::AmqpUrl => f.write_str("a URL such as amqps://USER:PASSWORD@HOST:5671/VHOST"),
            Self::Token => {
                write!(
                    f,
                    "{SHORTEST_TOKEN} to {SHORT_STRING} characters that nobody guesses, as of `openssl rand -hex 32`"
                )
            }
            Self::Path => f.write_str("the path of a readable file"),
            Self::Address => f.write_str("an IP address and port, such as 127.0.0.1:9630 or [::]:9630"),
        }
    }
}

fn within(number: u64, min: u64, max: u64) -> Result<u64, Invalid> {
    if (min..=max).contains(&number) { Ok(number) } else { Err(Invalid::OutOfRange) }
}

/// A number that is merely negative or enormous is out of range; anything else is none.
fn integer_problem(text: &str) -> Invalid {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        Invalid::OutOfRange
    } else {
        Invalid::NotAnInteger
    }
}

fn duration(text: &str, min: Duration, max: Duration) -> Result<Value, Invalid> {
    let text = text.trim();
    if !text.is_empty() && text != "0" && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Invalid::NoUnit);
    }
    let duration = humantime::parse_duration(text).map_err(|cause| Invalid::NotADuration(Box::new(cause)))?;
    if (min..=max).contains(&duration) { Ok(Value::Duration(duration)) } else { Err(Invalid::OutOfRange) }
}

fn short_string(text: &str, if_empty: Invalid) -> Result<String, Invalid> {
    if text.is_empty() {
        Err(if_empty)
    } else if text.len() > SHORT_STRING {
        Err(Invalid::TooLong(text.len()))
    } else if text.contains(char::is_control) {
        Err(Invalid::ControlCharacter)
    } else {
        Ok(text.to_owned())
    }
}

fn exchanges<'a>(items: impl Iterator<Item = &'a str>) -> Result<Value, Invalid> {
    items.map(|item| short_string(item, Invalid::EmptyEntry)).collect::<Result<_, _>>().map(Value::List)
}

/// Postgres' 63 bytes for a name, less `.outbox`: the schema is part of the name of the channel that wakes relay.
const IDENTIFIER: usize = 56;

fn identifier(text: &str) -> Result<Value, Invalid> {
    let fits = |(i, b): (usize, u8)| b == b'_' || b.is_ascii_lowercase() || (i > 0 && b.is_ascii_digit());
    if text.is_empty() || text.len() > IDENTIFIER || !text.bytes().enumerate().all(fits) {
        Err(Invalid::NotAnIdentifier)
    } else if text.starts_with("pg_") {
        Err(Invalid::ReservedIdentifier)
    } else {
        Ok(Value::Text(text.to_owned()))
    }
}

fn template(text: &str) -> Result<Value, Invalid> {
    // Empty is fine: a fanout exchange asks for no routing key.
    if !text.is_empty() {
        short_string(text, Invalid::Empty)?;
    }
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let inside = rest[at..].strip_prefix('{').ok_or(Invalid::UnbalancedBrace)?;
        let (name, after) = inside.split_once('}').ok_or(Invalid::UnbalancedBrace)?;
        if name.contains('{') {
            return Err(Invalid::UnbalancedBrace);
        }
        if !PLACEHOLDERS.contains(&name) {
            return Err(Invalid::UnknownPlaceholder);
        }
        rest = after;
    }
    Ok(Value::Text(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, text: &str) -> Result<Value, Invalid> {
        kind.parse(&Raw::Text(text.to_owned()))
    }

    fn problem(kind: Kind, text: &str) -> String {
        parse(kind, text).err().map(|problem| problem.to_string()).unwrap_or_default()
    }

    const TIME: Kind = Kind::Duration { min: Duration::from_millis(10), max: Duration::from_secs(3600) };
    const COUNT: Kind = Kind::Integer { min: 1, max: 64 };

    #[test]
    fn durations_need_a_unit_and_keep_within_their_bounds() {
        assert_eq!(parse(TIME, "1m 30s"), Ok(Value::Duration(Duration::from_secs(90))));
        assert_eq!(parse(TIME, "250ms"), Ok(Value::Duration(Duration::from_millis(250))));
        assert_eq!(problem(TIME, "10"), "has no unit");
        assert_eq!(problem(TIME, "10 parsecs"), "is no duration");
        assert_eq!(problem(TIME, ""), "is no duration");
        for text in ["0", "0s", "9ms", "61m", "1000years"] {
            assert_eq!(problem(TIME, text), "is out of range", "{text}");
        }
        assert_eq!(TIME.parse(&Raw::Integer("10".into())), Err(Invalid::NoUnit));
    }

    #[test]
    fn an_age_is_a_duration_or_off() {
        let age = Kind::Age { min: Duration::from_secs(60), max: Duration::from_secs(3600) };
        assert_eq!(parse(age, "5m"), Ok(Value::Duration(Duration::from_secs(300))));
        assert_eq!(parse(age, " off"), Ok(Value::Choice(OFF)));
        assert_eq!(problem(age, "5"), "has no unit");
        assert_eq!(problem(age, "never"), "is no duration");
        assert_eq!(problem(age, "5s"), "is out of range");
        assert_eq!(age.parse(&Raw::Boolean(false)), Err(Invalid::WrongType("a boolean")));
        assert!(age.to_string().ends_with("or \"off\""), "{age}");
    }

    #[test]
    fn integers_keep_within_their_bounds() {
        assert_eq!(parse(COUNT, " 64 "), Ok(Value::Integer(64)));
        for text in ["0", "65", "-1", "99999999999999999999"] {
            assert_eq!(problem(COUNT, text), "is out of range", "{text}");
        }
        for text in ["", "four", "1.5", "-"] {
            assert_eq!(problem(COUNT, text), "is no whole number", "{text}");
        }
    }

    #[test]
    fn types_in_the_file_are_not_guessed() {
        assert_eq!(COUNT.parse(&Raw::String("4".into())), Err(Invalid::WrongType("a string")));
        assert_eq!(Kind::Boolean.parse(&Raw::String("true".into())), Err(Invalid::WrongType("a string")));
        assert_eq!(Kind::Boolean.parse(&Raw::Boolean(true)), Ok(Value::Boolean(true)));
        assert_eq!(Kind::Name.parse(&Raw::Integer("1".into())), Err(Invalid::WrongType("an integer")));
        assert_eq!(Kind::Exchanges.parse(&Raw::String("a,b".into())), Err(Invalid::WrongType("a string")));
        let size = Kind::Size { min: 1, max: 1 << 30 };
        assert_eq!(size.parse(&Raw::Integer("7".into())), Ok(Value::Size(7)));
        assert_eq!(size.parse(&Raw::String("1KiB".into())), Ok(Value::Size(1024)));
    }

    #[test]
    fn names_fit_an_amqp_short_string() {
        assert!(parse(Kind::Name, &"x".repeat(255)).is_ok());
        assert_eq!(problem(Kind::Name, &"é".repeat(128)), "has 256 bytes");
        assert_eq!(problem(Kind::Name, ""), "is empty");
        assert_eq!(problem(Kind::Name, "a\nb"), "contains a control character");
        assert_eq!(problem(Kind::Exchange, ""), "is the default exchange, which relay never publishes to");
    }

    #[test]
    fn lists_come_as_arrays_or_between_commas_and_have_no_empty_entries() {
        let list = |items: &[&str]| Ok(Value::List(items.iter().map(|item| (*item).to_owned()).collect()));
        assert_eq!(parse(Kind::Exchanges, ""), list(&[]));
        assert_eq!(parse(Kind::Exchanges, "a, b"), list(&["a", "b"]));
        assert_eq!(Kind::Exchanges.parse(&Raw::Array(vec!["a,b".into()])), list(&["a,b"]));
        assert_eq!(parse(Kind::Exchanges, "a,,b"), Err(Invalid::EmptyEntry));
        assert_eq!(Kind::Exchanges.parse(&Raw::Array(vec![String::new()])), Err(Invalid::EmptyEntry));
    }

    #[test]
    fn a_schema_is_an_identifier_that_needs_no_quoting() {
        for text in ["relay", "_r1", &"a".repeat(56)] {
            assert!(parse(Kind::Identifier, text).is_ok(), "{text}");
        }
        for text in ["", "Relay", "1relay", "re lay", "relay;drop", "é", &"a".repeat(64)] {
            assert_eq!(parse(Kind::Identifier, text), Err(Invalid::NotAnIdentifier), "{text}");
        }
        assert_eq!(parse(Kind::Identifier, "pg_relay"), Err(Invalid::ReservedIdentifier));
    }

    #[test]
    fn a_template_refers_only_to_what_a_row_has() {
        for text in ["", "fixed.key", "{aggregate_type}.{event_type}", "x{aggregate_id}y"] {
            assert!(parse(Kind::Template, text).is_ok(), "{text}");
        }
        for text in ["{tenant}", "{}", "{ event_type }"] {
            assert_eq!(parse(Kind::Template, text), Err(Invalid::UnknownPlaceholder), "{text}");
        }
        for text in ["{event_type", "event_type}", "{{event_type}}", "}{"] {
            assert_eq!(parse(Kind::Template, text), Err(Invalid::UnbalancedBrace), "{text}");
        }
    }

    #[test]
    fn a_mistyped_choice_is_recognised() {
        let kind = Kind::Choice(&["strict", "pipelined", "none"]);
        assert_eq!(parse(kind, "pipelined"), Ok(Value::Choice("pipelined")));
        assert_eq!(problem(kind, "pipeline"), "is not one of the choices; did you mean \"pipelined\"?");
        assert_eq!(problem(kind, "zebra"), "is not one of the choices");
    }

    #[test]
    fn filters_and_addresses_are_checked_by_who_will_read_them() {
        assert!(parse(Kind::Filter, "info,relay=debug").is_ok());
        assert_eq!(parse(Kind::Filter, "relay=loud"), Err(Invalid::NotAFilter));
        assert_eq!(parse(Kind::Filter, " "), Err(Invalid::Empty));
        assert!(parse(Kind::Address, "[::]:0").is_ok());
        for text in ["", ":9630", "localhost:9630", "127.0.0.1", "127.0.0.1:99999"] {
            assert_eq!(parse(Kind::Address, text), Err(Invalid::NotAnAddress), "{text}");
        }
    }
}
