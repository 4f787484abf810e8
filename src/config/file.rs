//! `relay.toml`: which value stands on which line.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::keys::{self, KEYS, Key};
use super::suggest::nearest;
use super::value::Raw;

/// Values by the keys' paths, with their lines.
pub(super) type Values = BTreeMap<String, (Raw, usize)>;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Values of known keys.
    pub(super) values: Values,
    /// Each `[[outbox]]`.
    pub(super) blocks: Vec<Block>,
    /// Mistakes that can be seen without knowing what a value should be.
    pub(super) errors: Vec<ConfigError>,
    /// The file is TOML; otherwise nothing is known of what it wanted to say.
    pub(super) sound: bool,
}

/// One `[[outbox]]`: what is said of this outbox alone.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Values of known keys, by their paths outside of a block (`outbox.exchange`).
    pub(super) values: Values,
}

impl Block {
    /// The variable that sets a key of this outbox alone, `RELAY_OUTBOX_SHOP_DATABASE_URL`, if there can be one.
    pub(super) fn variable(&self, key: &Key) -> Option<String> {
        let (Raw::String(name), _) = self.values.get(keys::OUTBOX_NAME)? else { return None };
        if key.of_process() || key.path() == keys::OUTBOX_NAME {
            return None;
        }
        let name = name.replace(|character: char| !character.is_ascii_alphanumeric(), "_");
        let key = key.path_in_block().replace('.', "_");
        Some(format!("RELAY_OUTBOX_{name}_{key}").to_ascii_uppercase())
    }
}

/// Reads a file's text. `path` is for messages.
pub(super) fn parse(path: &Path, text: &str) -> Contents {
    let place = Place { path, text };
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        let errors = syntax.iter().map(|error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| place.line(span.start)),
            message: error.message().to_owned(),
        });
        return Contents { errors: errors.collect(), ..Contents::default() };
    }
    let mut contents = Contents { sound: true, ..Contents::default() };
    let errors = &mut contents.errors;
    for (section, value) in document.get_ref() {
        let (name, start) = (section.get_ref().as_ref(), section.span().start);
        let known = KEYS.iter().any(|key| key.section == name);
        match value.get_ref() {
            DeValue::Table(table) if known => place.section(name, table, &mut contents.values, errors),
            DeValue::Array(items) if name == keys::OUTBOX && !items.is_empty() => {
                contents.blocks.extend(items.iter().map(|item| match item.get_ref() {
                    DeValue::Table(table) => place.block(item.span().start, table, errors),
                    _ => {
                        errors.push(place.unknown_section(name, item.span().start));
                        Block::default()
                    }
                }));
            }
            DeValue::Table(_) | DeValue::Array(_) => errors.push(place.unknown_section(name, start)),
            // A value outside any section: its key is the mistake.
            _ => errors.push(place.unknown_key(name, start)),
        }
    }
    contents.errors.sort_by_key(|error| match error {
        ConfigError::UnknownKey { origin: Origin::File { line, .. }, .. }
        | ConfigError::UnknownSection { origin: Origin::File { line, .. }, .. }
        | ConfigError::OfProcess { origin: Origin::File { line, .. }, .. }
        | ConfigError::Unnamed { origin: Origin::File { line, .. } } => *line,
        _ => 0,
    });
    contents
}

/// Where we are reading.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|b| *b == b'\n').count()
    }

    fn origin(&self, offset: usize) -> Origin {
        Origin::File { path: self.path.to_owned(), line: self.line(offset) }
    }

    fn section(&self, name: &str, table: &DeTable<'_>, values: &mut Values, errors: &mut Vec<ConfigError>) {
        for (key, value) in table {
            let path = format!("{name}.{}", key.get_ref());
            if keys::find(&path).is_some() {
                values.insert(path, (raw(value.get_ref()), self.line(value.span().start)));
            } else {
                errors.push(self.unknown_key(&path, key.span().start));
            }
        }
    }

    /// A `[[outbox]]`: keys of `[outbox]` by themselves, those of other sections in tables of their own.
    fn block(&self, start: usize, table: &DeTable<'_>, errors: &mut Vec<ConfigError>) -> Block {
        let mut block = Block::default();
        for (key, value) in table {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            let path = format!("{}.{name}", keys::OUTBOX);
            let section = KEYS.iter().find(|key| key.section == name && name != keys::OUTBOX);
            match (value.get_ref(), section) {
                (DeValue::Table(_), Some(key)) if key.of_process() => {
                    errors.push(ConfigError::OfProcess { section: name.to_owned(), origin: self.origin(at) });
                }
                (DeValue::Table(table), Some(_)) => self.section(name, table, &mut block.values, errors),
                (value, _) if keys::find(&path).is_some() => {
                    block.values.insert(path, (raw(value), self.line(at)));
                }
                (DeValue::Table(_), None) => errors.push(self.unknown_section(name, at)),
                _ => errors.push(self.unknown_key(&path, at)),
            }
        }
        if !block.values.contains_key(keys::OUTBOX_NAME) {
            errors.push(ConfigError::Unnamed { origin: self.origin(start) });
        }
        block
    }

    fn unknown_section(&self, name: &str, offset: usize) -> ConfigError {
        let sections = KEYS.iter().map(|key| key.section);
        let suggestion = nearest(name, sections).map(|name| format!("[{name}]"));
        ConfigError::UnknownSection { section: name.to_owned(), origin: self.origin(offset), suggestion }
    }

    fn unknown_key(&self, name: &str, offset: usize) -> ConfigError {
        let suggestion = suggest_key(name);
        ConfigError::UnknownKey { name: name.to_owned(), origin: self.origin(offset), suggestion }
    }
}

/// The path that was probably meant: the same name in another section, or a similar path.
pub(super) fn suggest_key(path: &str) -> Option<String> {
    let name = path.rsplit('.').next().unwrap_or(path);
    let mut namesakes = KEYS.iter().filter(|key| key.name == name);
    if let (Some(key), None) = (namesakes.next(), namesakes.next()) {
        return Some(key.path());
    }
    let paths: Vec<String> = KEYS.iter().map(Key::path).collect();
    nearest(path, paths.iter().map(String::as_str)).map(str::to_owned)
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::String(text.clone().into_owned()),
        // Hexadecimal, octal and binary ones too; what does not fit is out of any key's range anyway.
        DeValue::Integer(number) if number.radix() == 10 => Raw::Integer(number.as_str().to_owned()),
        DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number.to_string()),
            Err(_) => Raw::Integer(u128::MAX.to_string()),
        },
        DeValue::Boolean(flag) => Raw::Boolean(*flag),
        DeValue::Array(items) => {
            let strings = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            strings
                .collect::<Option<_>>()
                .map_or(Raw::Other("an array of other things than strings"), Raw::Array)
        }
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date or time"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Contents {
        parse(Path::new("relay.toml"), text)
    }

    fn lines(contents: &Contents) -> Vec<String> {
        contents.errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_type_is_read_with_its_line() {
        let contents = of(
            "[amqp]\npublishers = 0x10\ninsecure = true\n\n[outbox]\nallowed_exchanges = [\n 'a', 'b']\nname = 'n'\n\
             declare = 1.5\napp_id = {}\npoll_interval = 1_000\nexchange = [1]\nordering = 2026-01-01\n",
        );
        assert!(contents.sound && contents.errors.is_empty(), "{contents:?}");
        let value = |path: &str| contents.values.get(path).cloned();
        assert_eq!(value("amqp.publishers"), Some((Raw::Integer("16".into()), 2)));
        assert_eq!(value("amqp.insecure"), Some((Raw::Boolean(true), 3)));
        assert_eq!(value("outbox.allowed_exchanges"), Some((Raw::Array(vec!["a".into(), "b".into()]), 6)));
        assert_eq!(value("outbox.name"), Some((Raw::String("n".into()), 8)));
        assert_eq!(value("outbox.declare"), Some((Raw::Other("a number with a fraction"), 9)));
        assert_eq!(value("outbox.app_id"), Some((Raw::Other("a table"), 10)));
        assert_eq!(value("outbox.poll_interval"), Some((Raw::Integer("1000".into()), 11)));
        assert_eq!(value("outbox.exchange"), Some((Raw::Other("an array of other things than strings"), 12)));
        assert_eq!(value("outbox.ordering"), Some((Raw::Other("a date or time"), 13)));
    }

    #[test]
    fn dotted_keys_and_inline_tables_are_sections_too() {
        let contents = of("lease.duration = '9s'\nretry = { floor = '2s' }\n");
        assert_eq!(contents.values.keys().collect::<Vec<_>>(), ["lease.duration", "retry.floor"]);
    }

    #[test]
    fn unknown_sections_and_keys_are_reported_in_order_with_what_was_meant() {
        let contents =
            of("poll_interval = '1s'\n[leese]\nduration = '1s'\n[lease]\nduraton = '1s'\n[retry]\n\
                           publishers = 3\n[zebra]\n[[admin]]\n");
        assert_eq!(
            lines(&contents),
            [
                r#"relay.toml:1: "poll_interval" is no configuration key; did you mean "outbox.poll_interval"?"#,
                r#"relay.toml:2: "leese" is no section; did you mean "[lease]"?"#,
                r#"relay.toml:5: "lease.duraton" is no configuration key; did you mean "lease.duration"?"#,
                r#"relay.toml:7: "retry.publishers" is no configuration key; did you mean "amqp.publishers"?"#,
                r#"relay.toml:8: "zebra" is no section; remove it, or see `relay config show` for all keys"#,
                r#"relay.toml:9: "admin" is no section; did you mean "[admin]"?"#,
            ]
        );
    }

    #[test]
    fn all_syntax_errors_are_reported_and_none_quotes_the_file() {
        let contents = of("[database]\nurl = postgres://u:hunter2@h/d\n[lease]\nduration = '10s\n");
        assert!(!contents.sound && contents.values.is_empty());
        assert!(contents.errors.len() >= 2, "{contents:?}");
        let text = format!("{contents:?} {:?}", lines(&contents));
        assert!(
            !text.contains("hunter2") && text.contains("relay.toml:2") && text.contains("relay.toml:4"),
            "{text}"
        );
    }
}
