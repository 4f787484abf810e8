//! The documentation names only what is there: metrics, commands, flags, variables, keys, queries and files. It needs no
//! server.

#![allow(clippy::expect_used, reason = "a test")]

mod links;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use relay::{
    config::KEYS,
    operator::doctor::Check,
    shipping::{
        entry::TRANSITIONS,
        event::{Fact, OrderFact},
        shipment::STANDINGS,
        step::Step,
    },
};

/// Commands that the documentation may mention as missing. One that was built must be taken off.
const NOT_YET: &[&str] = &[];

/// Files that name the metrics: the daemon's, those of what it traces, and those of `relay status -o prometheus`.
const METRICS: &str = "src/metrics.rs";
const SPAN_METRICS: &str = "src/metrics/spans.rs";
const STATUS_METRICS: &str = "src/operator/status.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder with this extension, by its path from the root.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).expect("it is below").display().to_string());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} holds no .{extension} file: nothing would be tested");
    found
}

/// README.md and everything in docs, by path.
fn documents() -> Vec<(String, String)> {
    let mut paths = files("docs", "md");
    paths.push("README.md".to_owned());
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// A document in its parts: fenced blocks with their language, and code spans. Line numbers are left to `grep`.
struct Parts {
    blocks: Vec<(String, String)>,
    spans: Vec<String>,
}

fn parts(text: &str) -> Parts {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut block: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), block.take()) {
            (Some(language), None) => block = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(done)) => blocks.push(done),
            (None, Some((language, mut lines))) => {
                lines.push_str(line);
                lines.push('\n');
                block = Some((language, lines));
            }
            (None, None) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    assert!(block.is_none(), "a fenced block is never closed");
    let mut spans = Vec::new();
    for paragraph in prose.split("\n\n") {
        let pieces: Vec<&str> = paragraph.split('`').collect();
        assert!(pieces.len() % 2 == 1, "a code span is never closed in: {paragraph}");
        spans
            .extend(pieces.iter().skip(1).step_by(2).map(|span| span.replace('\n', " ").replace("\\|", "|")));
    }
    Parts { blocks, spans }
}

/// Whole words of the text that begin so, of letters, digits and underscores.
fn words<'a>(text: &'a str, beginning: &str) -> BTreeSet<&'a str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with(beginning) && word.len() > beginning.len())
        .collect()
}

/// Names of metrics that a source file spells out as string literals.
fn metrics(path: &str) -> BTreeSet<String> {
    let text = read(path);
    let literals = text.split('"').filter(|piece| {
        piece.starts_with("relay_")
            && piece.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
    });
    let found: BTreeSet<String> = literals.map(str::to_owned).collect();
    assert!(!found.is_empty(), "{path} names no metric: nothing would be tested");
    found
}

/// The commands of a script: words of each, split at pipes and the like, without comments and variables set in front.
fn script(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let mut commands = Vec::new();
    for line in text.lines() {
        let (mut command, mut word, mut started) = (Vec::new(), String::new(), false);
        let mut quote: Option<char> = None;
        for letter in line.chars() {
            match (quote, letter) {
                (Some(open), _) if letter == open => quote = None,
                (Some(_), _) => word.push(letter),
                (None, '\'' | '"') => (quote, started) = (Some(letter), true),
                (None, '#') if !started => break,
                (None, '|' | '&' | ';') => {
                    if started {
                        command.push(std::mem::take(&mut word));
                        started = false;
                    }
                    commands.push(std::mem::take(&mut command));
                }
                (None, space) if space.is_whitespace() => {
                    if started {
                        command.push(std::mem::take(&mut word));
                        started = false;
                    }
                }
                (None, _) => {
                    word.push(letter);
                    started = true;
                }
            }
        }
        if started {
            command.push(word);
        }
        commands.push(command);
    }
    for command in &mut commands {
        let set = |word: &String| {
            word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            })
        };
        let variables = command.iter().take_while(|word| set(word)).count();
        command.drain(..variables);
    }
    commands.retain(|command| !command.is_empty());
    commands
}

/// What is wrong with the words of a command; the first one is the program.
fn problem(whole: &clap::Command, words: &[String]) -> Option<String> {
    let mut command = whole;
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        let argument = if let Some(long) = word.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            if ["", "help", "version"].contains(&name) {
                continue;
            }
            let found = command.get_arguments().find(|argument| argument.get_long() == Some(name));
            match found {
                Some(argument) => (argument, value.is_some()),
                None => return Some(format!("`{}` has no flag --{name}", command.get_name())),
            }
        } else if let Some(short) = word.strip_prefix('-').and_then(|short| short.chars().next()) {
            match command.get_arguments().find(|argument| argument.get_short() == Some(short)) {
                Some(argument) => (argument, word.len() > 2),
                None if ['h', 'V'].contains(&short) => continue,
                None => return Some(format!("`{}` has no flag -{short}", command.get_name())),
            }
        } else if command.has_subcommands() {
            // `list|show` names several.
            let mut named = None;
            for name in word.split('|') {
                if NOT_YET.contains(&name) {
                    return None;
                }
                match command.find_subcommand(name) {
                    Some(found) => named = named.or(Some(found)),
                    None => return Some(format!("`{}` has no command {name}", command.get_name())),
                }
            }
            command = named?;
            continue;
        } else if command.get_positionals().next().is_some() {
            continue;
        } else {
            return Some(format!("`{}` takes no argument such as {word}", command.get_name()));
        };
        let (argument, has_value) = argument;
        if argument.get_action().takes_values() && !has_value {
            words.next();
        }
    }
    None
}

/// relay's command line, with its global flags passed down to every command.
fn command() -> clap::Command {
    let mut command = relay::cli::command();
    command.build();
    command
}

fn assert_none(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_metric_that_is_named_exists() {
    let known: BTreeSet<String> =
        [METRICS, SPAN_METRICS, STATUS_METRICS].into_iter().flat_map(metrics).collect();
    let exists = |name: &str| {
        let series = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        known.contains(name) || series.is_some_and(|histogram| known.contains(histogram))
    };
    let mut broken = Vec::new();
    for (path, text) in documents() {
        for name in words(&text, "relay_") {
            if !exists(name) && !ROLES.contains(&name) {
                broken.push(format!("{path} names the metric {name}, which {METRICS} has not"));
            }
        }
    }
    assert_none(&broken);
}

/// Names in examples that look like metrics.
const ROLES: &[&str] = &["relay_daemon"];

#[test]
fn every_metric_is_explained_to_operators() {
    let manual = read("docs/operations.md");
    let missing: Vec<String> = [METRICS, SPAN_METRICS]
        .into_iter()
        .flat_map(metrics)
        .filter(|name| !manual.contains(&format!("| `{name}` |")))
        .map(|name| format!("docs/operations.md has no row for {name}"))
        .collect();
    assert_none(&missing);
}

#[test]
fn every_check_of_the_doctor_is_explained_to_operators() {
    let manual = read("docs/operations.md");
    let missing: Vec<String> = Check::ALL
        .iter()
        .filter(|check| !manual.contains(&format!("| `{check}` |")))
        .map(|check| format!("docs/operations.md has no row for {check}"))
        .collect();
    assert_none(&missing);
}

#[test]
fn every_check_of_the_doctor_that_is_named_exists() {
    let known: BTreeSet<String> = Check::ALL.iter().map(ToString::to_string).collect();
    let groups: BTreeSet<&str> = known.iter().filter_map(|check| Some(check.split_once('.')?.0)).collect();
    let (mut broken, mut named) = (Vec::new(), 0);
    for (path, text) in documents() {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || ['_', '.'].contains(&letter);
        for word in text.split(|letter: char| !is_name(letter)) {
            let word = word.trim_end_matches('.');
            let Some((group, name)) = word.split_once('.') else { continue };
            let file = ["conf", "json", "md", "py", "rs", "sql", "toml", "yaml"].contains(&name);
            if groups.contains(group) && !file {
                named += 1;
                if !known.contains(word) {
                    broken.push(format!("{path} names the check {word}, which the doctor has not"));
                }
            }
        }
    }
    assert!(named > 40, "only {named} checks were found: the search is broken");
    assert_none(&broken);
}

#[test]
fn every_command_and_flag_in_an_example_exists() {
    let mut shipments = relay::shipping::cli::command();
    shipments.build();
    let commands = [("relay", command()), ("shipments", shipments)];
    let (mut broken, mut tried) = (Vec::new(), [0, 0]);
    for (path, text) in documents() {
        let parts = parts(&text);
        let blocks = parts.blocks.iter().filter(|(language, _)| language == "sh");
        let mut examples: Vec<Vec<String>> = blocks.flat_map(|(_, block)| script(block)).collect();
        examples.extend(
            parts.spans.iter().map(|span| span.split_whitespace().map(str::to_owned).collect::<Vec<_>>()),
        );
        for ((name, command), tried) in commands.iter().zip(&mut tried) {
            for words in examples.iter().filter(|words| words.first().is_some_and(|word| word == name)) {
                *tried += 1;
                if let Some(problem) = problem(command, words) {
                    broken.push(format!("{path}: {}: {problem}", words.join(" ")));
                }
            }
        }
    }
    assert!(
        tried.iter().all(|tried| *tried > 20),
        "only {tried:?} examples were found: the search is broken"
    );
    assert_none(&broken);
}

#[test]
fn a_command_that_is_said_to_be_missing_is_missing() {
    let command = command();
    let built: Vec<String> = NOT_YET
        .iter()
        .filter(|name| command.find_subcommand(name).is_some())
        .map(|name| format!("relay {name} exists now: say so in the documentation"))
        .collect();
    assert_none(&built);
}

#[test]
fn every_variable_that_is_named_is_one_of_a_key() {
    let known = |name: &str| {
        name == "RELAY_CONFIG"
            || name.starts_with("RELAY_DEV_")
            || KEYS.iter().any(|key| {
                let variable = key.variable();
                let own = format!("_{}", key.path_in_block().replace('.', "_").to_uppercase());
                let of_an_outbox =
                    name.strip_prefix("RELAY_OUTBOX_").is_some_and(|rest| rest.ends_with(&own));
                name == variable
                    || (key.secret() && name.strip_suffix("_FILE") == Some(variable.as_str()))
                    || (of_an_outbox && !key.of_process())
            })
    };
    let mut broken = Vec::new();
    for (path, text) in documents() {
        for name in words(&text, "RELAY_").into_iter().filter(|name| !known(name)) {
            broken.push(format!("{path} names the variable {name}, which no key has"));
        }
    }
    assert_none(&broken);
}

#[test]
fn every_key_that_is_named_exists() {
    let sections: BTreeSet<&str> = KEYS.iter().map(|key| key.section).collect();
    let mut broken = Vec::new();
    for (path, text) in documents() {
        for span in parts(&text).spans {
            // `lease.duration`, or `outbox.declare = false`. Exchanges are called `outbox.events` by default.
            let name = span.split(" = ").next().unwrap_or_default();
            let is_key = name.split_once('.').is_some_and(|(section, rest)| {
                sections.contains(section)
                    && rest.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
            });
            let known = KEYS.iter().any(|key| key.path() == name || key.default == Some(name));
            if is_key && !known {
                broken.push(format!("{path} names the key {name}, which does not exist"));
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn the_reference_of_the_configuration_has_every_key_with_its_variables_and_default() {
    let manual = read("docs/configuration.md");
    // What a key means may be said better there.
    let rows: BTreeSet<String> = manual.lines().map(first_columns).collect();
    let reference = relay::config::reference();
    let missing: Vec<String> = reference
        .lines()
        .filter(|line| !line.is_empty())
        .filter(|line| !rows.contains(&first_columns(line)))
        .map(|line| format!("docs/configuration.md lacks: {line}"))
        .collect();
    assert_none(&missing);
}

/// Key, variables and default of a row.
fn first_columns(line: &str) -> String {
    line.split(" | ").take(3).collect::<Vec<_>>().join(" | ")
}

#[test]
fn every_query_that_is_named_exists() {
    let queries = files("sql", "sql");
    let mut broken = Vec::new();
    for (path, text) in documents() {
        for span in parts(&text).spans.iter().filter(|span| span.ends_with(".sql")) {
            if !queries.iter().any(|query| query.ends_with(&format!("/{span}"))) {
                broken.push(format!("{path} names {span}, which is nowhere in sql"));
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn the_example_of_a_consumer_is_the_one_that_is_compiled_and_tested() {
    let parts = parts(&read("docs/consumers.md"));
    let shown: Vec<&String> =
        parts.blocks.iter().filter(|(language, _)| language == "rust").map(|(_, block)| block).collect();
    assert_eq!(shown, [&read("dev/consumer/main.rs")], "copy dev/consumer/main.rs into docs/consumers.md");
}

/// The two state diagrams of shipping, as its tables say them.
fn diagrams() -> [String; 2] {
    let steps = TRANSITIONS.iter().map(|(from, change, to)| format!("    {from} --> {to}: {change}\n"));
    let steps: String = steps.collect();
    let shipments: String = STANDINGS.iter().map(|(from, to)| format!("    {from} --> {to}\n")).collect();
    [("pending", steps), ("accepted", shipments)]
        .map(|(first, rows)| format!("stateDiagram-v2\n    [*] --> {first}\n{rows}"))
}

#[test]
fn the_state_diagrams_of_shipping_are_what_the_code_does() {
    let drawn = parts(&read("docs/shipping.md")).blocks;
    let drawn: Vec<&String> =
        drawn.iter().filter(|(language, _)| language == "mermaid").map(|(_, block)| block).collect();
    for diagram in diagrams() {
        assert!(drawn.contains(&&diagram), "docs/shipping.md lacks:\n```mermaid\n{diagram}```");
    }
}

#[test]
fn every_event_and_step_of_shipping_is_explained() {
    let manual = read("docs/shipping.md");
    let shipment = Fact::ALL.iter().map(|fact| format!("shipment.{fact}"));
    let order = OrderFact::ALL.iter().map(|fact| format!("order.{fact}"));
    let work = Step::ALL.iter().map(|step| format!("shipment.{step}"));
    let missing: Vec<String> =
        shipment.chain(order).chain(work).filter(|key| !manual.contains(&format!("| `{key}` |"))).collect();
    assert!(missing.is_empty(), "docs/shipping.md has no row for {missing:?}");
}

#[test]
fn the_search_would_notice_what_is_wrong() {
    let command = command();
    let words = |text: &str| -> Vec<String> { script(text).remove(0) };
    for wrong in [
        "relay launch",
        "relay dlq lst",
        "relay dlq list|shw",
        "relay status --worn 1m",
        "relay run --lease-duratoin 10s",
        "relay migrate now",
    ] {
        let split: Vec<String> = wrong.split_whitespace().map(str::to_owned).collect();
        assert!(problem(&command, &split).is_some(), "nothing is wrong with {wrong}");
    }
    for right in [
        "RELAY_LOG_LEVEL=debug relay run --lease-duration 10s  # a comment",
        "relay status -o json --warn=1m | jq .",
        "relay enqueue --payload '{\"a\": \"--b\"}' --event-type x --help",
        "relay replay-dlq --limit 10 --yes",
    ] {
        assert_eq!(problem(&command, &words(right)), None, "{right}");
    }
    let parts = parts("a `b\nc` d\n\n```sh\nrelay run\n```\n");
    assert_eq!(parts.spans, ["b c"]);
    assert_eq!(parts.blocks, [("sh".to_owned(), "relay run\n".to_owned())]);
}
