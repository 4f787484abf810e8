//! Values: as somebody wrote them ([`Raw`]) and as they were understood ([`Value`]).

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// From a flag, the environment or the table of defaults, which know no types.
    Text(String),
    /// A TOML string.
    String(String),
    /// A TOML integer, in decimal.
    Integer(String),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML array of strings.
    Array(Vec<String>),
    /// Any other TOML value, with a name for it.
    Other(&'static str),
}

impl Raw {
    /// The type, as a message would name it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::Array(_) => "an array",
            Self::Other(name) => name,
        }
    }

    /// Whether nothing was written, which unsets an optional key.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) | Self::String(text) if text.is_empty())
    }
}

impl fmt::Display for Raw {
    /// As a message would quote it: on one line, and no longer than a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 80;
        let shown = match self {
            Self::Text(text) | Self::String(text) => format!("{text:?}"),
            Self::Integer(digits) => digits.clone(),
            Self::Boolean(flag) => flag.to_string(),
            Self::Array(items) => format!("{items:?}"),
            Self::Other(name) => return f.write_str(name),
        };
        match shown.char_indices().nth(LONGEST) {
            Some((end, _)) => write!(f, "{}...", &shown[..end]),
            None => f.write_str(&shown),
        }
    }
}

/// A value of a key, understood and within its key's bounds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An optional key without a value.
    Unset,
    /// A length of time.
    Duration(Duration),
    /// A count.
    Integer(u64),
    /// Bytes.
    Size(u64),
    /// A switch.
    Boolean(bool),
    /// A string.
    Text(String),
    /// Strings.
    List(Vec<String>),
    /// One of a closed set of names.
    Choice(&'static str),
    /// A string that nobody should see.
    Secret(Secret),
    /// A file's path.
    Path(PathBuf),
    /// An address to listen on.
    Address(SocketAddr),
}

impl Value {
    /// As JSON: counts and sizes as numbers, durations as text, secrets redacted.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Unset => serde_json::Value::Null,
            Self::Integer(number) | Self::Size(number) => (*number).into(),
            Self::Boolean(flag) => (*flag).into(),
            Self::List(items) => items.clone().into(),
            other => other.to_string().into(),
        }
    }
}

impl fmt::Display for Value {
    /// As it could be written in the environment; secrets redacted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => Ok(()),
            Self::Duration(duration) => write!(f, "{}", humantime::format_duration(*duration)),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Size(bytes) => f.write_str(&format_size(*bytes)),
            Self::Boolean(flag) => write!(f, "{flag}"),
            Self::Text(text) => f.write_str(text),
            Self::List(items) => f.write_str(&items.join(",")),
            Self::Choice(name) => f.write_str(name),
            Self::Secret(secret) => write!(f, "{secret}"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// Units of size. Decimal and binary ones are both offered because both are in use; bare `K`, `M` and `G` mean
/// either, depending on whom one asks, and are refused.
const UNITS: &[(&str, u64)] = &[
    ("b", 1),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];

/// Reads `65536`, `64MiB` or `64 MB`; `None` for anything else, and for more than 64 bits hold.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start().to_ascii_lowercase();
    if unit.is_empty() {
        return Some(number);
    }
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// Writes a size in the largest binary unit that divides it.
pub(super) fn format_size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        let count = bytes >> shift;
        if count > 0 && count << shift == bytes {
            return format!("{count}{unit}");
        }
    }
    bytes.to_string()
}

/// A field's type, as far as it can be made of a [`Value`]; `None` if the table gives the key another kind.
pub(super) trait FromValue: Sized {
    /// The field's value.
    fn from_value(value: Value) -> Option<Self>;
}

/// Puts a value into a field of a fitting type.
pub(super) fn put<T: FromValue>(field: &mut T, value: Value) -> Option<()> {
    *field = T::from_value(value)?;
    Some(())
}

macro_rules! from_value {
    ($($type:ty: $pattern:pat => $result:expr),+ $(,)?) => {
        $(impl FromValue for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    $pattern => $result,
                    _ => None,
                }
            }
        })+
    };
}

from_value!(
    Duration: Value::Duration(duration) => Some(duration),
    u32: Value::Integer(number) => number.try_into().ok(),
    usize: Value::Integer(number) | Value::Size(number) => number.try_into().ok(),
    bool: Value::Boolean(flag) => Some(flag),
    String: Value::Text(text) => Some(text),
    Vec<String>: Value::List(items) => Some(items),
    Secret: Value::Secret(secret) => Some(secret),
    PathBuf: Value::Path(path) => Some(path),
    SocketAddr: Value::Address(address) => Some(address),
);

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Unset => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_plain_numbers_or_carry_a_unit_that_says_which_kilo_it_means() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("64 MB", 64_000_000),
            ("1kb", 1_000),
            ("1KiB", 1_024),
            ("2 GiB", 2 << 30),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in
            ["", "MiB", "64M", "64 megs", "-1", "1.5MiB", "1 2", "99999999999GiB", "18446744073709551616"]
        {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn a_size_is_written_so_that_it_reads_back() {
        for bytes in [0, 1, 1023, 1024, 65_536, 120_000, 64 << 20, 3 << 30, u64::MAX] {
            assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
        assert_eq!(format_size(64 << 20), "64MiB");
    }

    #[test]
    fn a_quoted_value_stays_on_its_line_and_within_it() {
        assert_eq!(Raw::Text("a\nb".into()).to_string(), r#""a\nb""#);
        let long = Raw::Text("é".repeat(500)).to_string();
        assert!(long.ends_with("...") && long.chars().count() == 83, "{long}");
    }
}
