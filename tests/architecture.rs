//! Imports point downward only (DESIGN section 6), and a few rules that no lint can express.
//!
//! It reads the source as text: what a line names is what it depends on. Comments and the tests inside a module do not
//! count.

#![allow(clippy::expect_used, reason = "a test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Files below `within` (a file or a folder of `src`) name none of `never`.
struct Rule {
    why: &'static str,
    within: &'static [&'static str],
    except: &'static [&'static str],
    never: &'static [&'static str],
}

/// Decides without doing: no runtime, client library, clock or I/O.
const PURE: &[&str] = &[
    "message.rs",
    "named.rs",
    "row.rs",
    "reason.rs",
    "retry.rs",
    "breaker.rs",
    "publisher.rs",
    "envelope.rs",
    "letter.rs",
    "consumer/delivery.rs",
    "consumer/failure.rs",
    "consumer/letter.rs",
    "relay/engine",
    "relay/engine.rs",
    "relay/input.rs",
    "relay/keys.rs",
    "relay/pace.rs",
    "relay/writes.rs",
    "relay/stragglers.rs",
    "relay/flood.rs",
    "daemon/storm.rs",
    "http/retry_after.rs",
    "shipping/api/bucket.rs",
    "shipping/api/check.rs",
    "shipping/api/conditional.rs",
    "shipping/api/key.rs",
    "shipping/api/order_input.rs",
    "shipping/api/shipment_input.rs",
    "shipping/api/trace.rs",
    "shipping/api/whole.rs",
    "shipping/carrier/error_codes.rs",
    "shipping/carrier/event.rs",
    "shipping/carrier/lookup.rs",
    "shipping/carrier/shipment.rs",
    "shipping/carrier/tracking.rs",
    "shipping/carrier/verdict.rs",
    "shipping/carrier/wire.rs",
    "shipping/carrier_sim/book.rs",
    "shipping/decision.rs",
    "shipping/entry.rs",
    "shipping/event.rs",
    "shipping/money.rs",
    "shipping/saga",
    "shipping/notify/attempt.rs",
    "shipping/notify/message.rs",
    "shipping/notify/schedule.rs",
    "shipping/notify/server.rs",
    "shipping/notify/signing.rs",
    "shipping/notify/ssrf.rs",
    "shipping/saga.rs",
    "shipping/shipment.rs",
    "shipping/step.rs",
    "shipping/worker/attempt.rs",
    "shipping/worker/postal.rs",
];

const RULES: &[Rule] = &[
    Rule {
        why: "the vocabulary and the cores are pure: time and randomness are arguments",
        within: PURE,
        except: &[],
        never: &[
            "tokio",
            "tracing",
            "prometheus",
            "lapin",
            "tokio_postgres",
            "axum",
            "Instant::now",
            "SystemTime::now",
            "std::env",
            "std::fs",
            "std::net",
            "std::thread",
            "rand::random",
            "rand::rng",
            "async",
            "crate::postgres",
            "crate::amqp",
            "crate::outbox",
            "crate::daemon",
            "crate::config",
            "crate::cli",
            "crate::app",
            "crate::metrics",
            "crate::health",
        ],
    },
    Rule {
        why: "the relay's core knows its ports, not what is behind them",
        within: &["relay"],
        except: &[],
        never: &[
            "crate::daemon",
            "crate::amqp",
            "crate::postgres",
            "crate::outbox",
            "crate::config",
            "crate::cli",
            "crate::app",
        ],
    },
    Rule {
        why: "the relay never imports who consumes from it",
        within: &["relay", "outbox", "postgres", "amqp", "daemon", "operator"],
        except: &[],
        never: &["crate::shipping"],
    },
    Rule {
        why: "adapters do not know who composes them",
        within: &["outbox", "outbox.rs", "postgres", "postgres.rs", "amqp", "amqp.rs"],
        except: &[],
        never: &["crate::daemon", "crate::config", "crate::cli", "crate::app"],
    },
    Rule {
        why: "the store knows the saga and the database, nothing above them",
        within: &["shipping/store", "shipping/store.rs", "shipping/migrations.rs", "shipping/roles.rs"],
        except: &[],
        never: &["crate::amqp", "lapin", "crate::daemon", "crate::config", "crate::cli", "crate::app"],
    },
    Rule {
        why: "the database and the broker are two worlds",
        within: &["outbox", "outbox.rs", "postgres", "postgres.rs"],
        except: &[],
        never: &["crate::amqp", "lapin"],
    },
    Rule {
        why: "the database and the broker are two worlds",
        within: &["amqp", "amqp.rs"],
        except: &[],
        never: &["crate::postgres", "crate::outbox", "tokio_postgres"],
    },
    Rule {
        why: "a consumer is given its settings, and knows the relay by its messages alone",
        within: &["consumer", "consumer.rs"],
        except: &[],
        never: &[
            "crate::daemon",
            "crate::relay",
            "crate::operator",
            "crate::config",
            "crate::cli",
            "crate::app",
        ],
    },
    Rule {
        why: "the relay works without consumers",
        within: &[
            "relay",
            "daemon",
            "daemon.rs",
            "outbox",
            "outbox.rs",
            "postgres",
            "postgres.rs",
            "amqp",
            "amqp.rs",
        ],
        except: &[],
        never: &["crate::consumer"],
    },
    Rule {
        why: "the daemon is given its settings; it does not know where they were written",
        within: &["daemon", "daemon.rs"],
        except: &[],
        never: &["crate::config", "crate::cli", "crate::app"],
    },
    Rule {
        why: "the configuration knows no part that it configures",
        within: &["config"],
        except: &[],
        never: &[
            "crate::daemon",
            "crate::amqp",
            "crate::postgres",
            "crate::outbox",
            "crate::relay",
            "crate::cli",
            "crate::app",
        ],
    },
    Rule {
        why: "one library for AMQP, in one place",
        within: &["."],
        except: &[
            "amqp",
            "amqp.rs",
            "config/url.rs",  // checks a URL with the parser that will be given it
            "cli/logging.rs", // names lapin's log targets, in text
        ],
        never: &["lapin", "amq_protocol"],
    },
    Rule {
        why: "one library for Postgres, in few places",
        within: &["."],
        except: &[
            "postgres",
            "postgres.rs",
            "outbox",
            "outbox.rs",
            "operator",
            "operator.rs",
            "consumer", // its handlers are given a transaction
            "consumer.rs",
            "shipping/store",
            "shipping/store.rs",
            "shipping/roles.rs",
            "shipping/worker",           // its handlers are given a transaction
            "shipping/cli/operators.rs", // runs one of its own
            "shipping/notify/rows.rs",
            "shipping/notify/handler.rs", // it is given a transaction
            "config/url.rs",              // checks a URL with the parser that will be given it
        ],
        never: &["tokio_postgres"],
    },
    Rule {
        why: "accepting needs the database alone, by way of the store",
        within: &["shipping/api", "shipping/api.rs"],
        except: &[],
        never: &[
            "tokio_postgres",
            "lapin",
            "crate::amqp",
            "crate::consumer",
            "crate::daemon",
            "crate::operator",
            "crate::config",
            "crate::cli",
            "crate::app",
            "crate::http",
            "crate::shipping::carrier_sim",
            "crate::shipping::cli",
        ],
    },
    Rule {
        why: "the HTTP client knows nobody who uses it",
        within: &["http", "http.rs"],
        except: &[],
        never: &[
            "crate::shipping",
            "crate::daemon",
            "crate::postgres",
            "crate::amqp",
            "crate::config",
            "crate::cli",
            "crate::app",
        ],
    },
    Rule {
        why: "one library for HTTP, in few places",
        within: &["."],
        except: &[
            "http",
            "http.rs",
            "shipping/api/server.rs",
            "shipping/carrier_sim",
            "shipping/carrier_sim.rs",
        ],
        never: &["hyper", "hyper_util", "http_body_util"],
    },
    Rule {
        why: "the carrier's adapter knows neither its callers nor where things are kept",
        within: &["shipping/carrier", "shipping/carrier.rs"],
        except: &[],
        never: &[
            "crate::shipping::carrier_sim",
            "crate::shipping::cli",
            "crate::daemon",
            "crate::postgres",
            "crate::amqp",
            "crate::cli",
            "crate::app",
            "tokio_postgres",
        ],
    },
    Rule {
        why: "what the carrier's answers and webhooks mean does not depend on a clock: time is an argument",
        within: &["shipping/carrier"],
        except: &[],
        never: &["Instant::now", "SystemTime::now"],
    },
    Rule {
        why: "the simulator and the adapter share no code: they would share mistakes about the protocol",
        within: &["shipping/carrier_sim", "shipping/carrier_sim.rs"],
        except: &[],
        never: &["crate::shipping::carrier", "crate::postgres", "crate::amqp", "crate::cli", "crate::app"],
    },
    Rule {
        why: "the store and the workers are given their settings; they know neither the API nor the simulator",
        within: &["shipping/store", "shipping/store.rs", "shipping/worker", "shipping/worker.rs"],
        except: &[],
        never: &[
            "crate::shipping::cli",
            "crate::shipping::carrier_sim",
            "crate::config",
            "crate::cli",
            "crate::app",
            "crate::daemon",
            "crate::operator",
            "std::env",
        ],
    },
    Rule {
        why: "the admin listener is given what it answers",
        within: &["admin.rs"],
        except: &[],
        never: &[
            "crate::daemon",
            "crate::shipping",
            "crate::consumer",
            "crate::config",
            "crate::cli",
            "crate::app",
        ],
    },
    Rule {
        why: "who tells parties knows neither the carrier nor who runs it",
        within: &["shipping/notify", "shipping/notify.rs"],
        except: &[],
        never: &[
            "crate::shipping::carrier",
            "crate::shipping::carrier_sim",
            "crate::shipping::cli",
            "crate::amqp",
            "crate::daemon",
            "crate::cli",
            "crate::app",
        ],
    },
    Rule {
        why: "one library for mail, in one place",
        within: &["."],
        except: &["shipping/notify", "shipping/notify.rs", "shipping/cli/notify.rs"],
        never: &["lettre"],
    },
    Rule {
        why: "backoff is unmaintained: reconnecting alone, in one module (deny.toml)",
        within: &["."],
        except: &["reconnect.rs"],
        never: &["backoff"],
    },
    Rule {
        why: "names of metrics stand in one place",
        within: &["."],
        except: &["metrics.rs"],
        never: &["prometheus"],
    },
    Rule {
        why: "it panics above 255 bytes: use try_new",
        within: &["."],
        except: &[],
        never: &["ShortString::from"],
    },
];

/// No file is longer than this, but for these.
const LONGEST: usize = 500;
const LONGER: &[(&str, &str)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder of the repository with this extension, with its path relative to the folder.
fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                walk(&path, extension, found);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    let base = root().join(folder);
    let mut found = Vec::new();
    walk(&base, extension, &mut found);
    found.sort();
    assert!(!found.is_empty(), "{folder} holds no .{extension} file: nothing would be tested");
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is text");
            let name = path.strip_prefix(&base).expect("it is below").display().to_string();
            (name, text)
        })
        .collect()
}

/// The code: without the module's tests, comments and use of a name in a string is let be.
fn code(text: &str) -> Vec<(usize, String)> {
    let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default().to_owned()))
        .collect()
}

/// `use crate::{a, b::c}` names `crate::a` and `crate::b::c`, as far as the first segment goes.
fn spelled_out(text: &str) -> Vec<(usize, String)> {
    let lines = code(text);
    let mut named = lines.clone();
    let mut depth: Option<i32> = None;
    for (number, line) in lines {
        let trimmed = line.trim();
        let rest = match depth {
            None if trimmed.contains("use crate::{") => {
                depth = Some(0);
                trimmed.split_once("use crate::{").map_or("", |(_, rest)| rest)
            }
            None => continue,
            Some(_) => trimmed,
        };
        let mut level = depth.unwrap_or(0);
        let mut word = String::new();
        for letter in rest.chars() {
            match letter {
                '{' => level += 1,
                '}' => level -= 1,
                _ => {}
            }
            if level < 0 {
                break;
            }
            if level == 0 && (letter.is_alphanumeric() || letter == '_' || letter == ':') {
                word.push(letter);
            } else if !word.is_empty() {
                named.push((number, format!("crate::{}", std::mem::take(&mut word))));
            }
        }
        if !word.is_empty() {
            named.push((number, format!("crate::{word}")));
        }
        depth = (level >= 0).then_some(level);
    }
    named
}

/// Whether a line names this, as a whole word.
fn names(line: &str, what: &str) -> bool {
    let inside =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    line.match_indices(what).any(|(at, _)| {
        !inside(line[..at].chars().next_back()) && !inside(line[at + what.len()..].chars().next())
    })
}

fn is_within(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| *place == "." || file == *place || file.starts_with(&format!("{place}/")))
}

#[test]
fn imports_point_downward_only() {
    let mut broken = Vec::new();
    for (file, text) in files("src", "rs") {
        let lines = spelled_out(&text);
        for rule in
            RULES.iter().filter(|rule| is_within(&file, rule.within) && !is_within(&file, rule.except))
        {
            for (number, line) in &lines {
                for word in rule.never.iter().filter(|word| names(line, word)) {
                    broken.push(format!("src/{file}:{number} names {word}; {}", rule.why));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn the_rules_would_notice_a_nested_import() {
    let text = "use std::fmt;\nuse crate::{\n    envelope::{cut, seal},\n    postgres::{\n        connect::connect,\n    },\n    row::Row,\n};\n";
    let named: Vec<String> = spelled_out(text).into_iter().map(|(_, line)| line).collect();
    for what in ["crate::envelope", "crate::postgres", "crate::row"] {
        assert!(named.iter().any(|line| names(line, what)), "{what} is not seen in {named:?}");
    }
    assert!(!named.iter().any(|line| names(line, "crate::connect")), "{named:?}");
    assert!(names("    let now = Instant::now();", "Instant::now"));
    assert!(!names("use tokio_postgres::Row;", "tokio"));
}

#[test]
fn every_place_in_the_rules_exists() {
    // A rule about a file that was renamed guards nothing. `engine` is a file or a folder; operator comes with the CLI.
    let optional = ["relay/engine", "relay/engine.rs", "operator", "operator.rs"];
    for place in RULES.iter().flat_map(|rule| rule.within.iter().chain(rule.except)) {
        assert!(optional.contains(place) || root().join("src").join(place).exists(), "src/{place} is gone");
    }
    assert!(["src/relay/engine.rs", "src/relay/engine"].iter().any(|place| root().join(place).exists()));
}

/// Where queries are.
const QUERIES: &[&str] = &["sql/queries", "sql/shipping/queries"];

#[test]
fn every_query_is_included_exactly_once() {
    let sources = files("src", "rs");
    for folder in QUERIES {
        for (query, _) in files(folder, "sql") {
            let included = format!("../{folder}/{query}\")");
            let count: usize = sources.iter().map(|(_, text)| text.matches(&included).count()).sum();
            assert_eq!(count, 1, "{folder}/{query} is included {count} times");
        }
    }
}

#[test]
fn every_query_is_one_statement_with_a_header() {
    for (query, text) in QUERIES.iter().flat_map(|folder| files(folder, "sql")) {
        assert!(text.starts_with("-- "), "{query} does not say what it is for");
        let header = text.lines().take_while(|line| line.starts_with("--")).collect::<Vec<_>>().join("\n");
        let statement: String =
            text.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
        assert!(!statement.trim().is_empty(), "{query} is empty");
        assert!(!statement.contains(';'), "{query} is more than one statement");
        for parameter in 1..20 {
            let name = format!("${parameter}");
            if names(&statement.replace('$', " $"), &name) {
                assert!(header.contains(&name), "{query} does not say what {name} is");
            }
        }
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    for (file, text) in files("src", "rs") {
        let lines = text.lines().count();
        match LONGER.iter().find(|(longer, _)| *longer == file) {
            Some((_, why)) => assert!(lines > LONGEST, "{file} ({why}) is short now: take it off the table"),
            None => assert!(lines <= LONGEST, "{file} has {lines} lines; split it, {LONGEST} are enough"),
        }
    }
}
