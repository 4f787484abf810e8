//! Logs, on stderr: text on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::{
    EnvFilter,
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};

/// Libraries whose errors reach relay anyway, which says them with what they mean.
const QUIET: &str = "lapin=off,async_rs=off";

/// Whether a line may ever be said. What would show payloads (returned messages, at WARN; frames, at TRACE) or credentials
/// (frames) may not, and no configuration switches it on, however closely it names the target.
fn may_be_said(target: &str, level: tracing::Level) -> bool {
    let of =
        |name: &str| target.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    if of("lapin::returned_messages") {
        return false;
    }
    level < tracing::Level::TRACE || !(of("lapin") || of("amq_protocol"))
}

/// Starts logging.
pub(crate) fn start(log: &Log) {
    let filter = EnvFilter::new(format!("{QUIET},{}", log.level));
    // Else the cap would ask for every line of every library, only to leave the choice to the filter.
    let loudest = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let cap = filter_fn(|line| may_be_said(line.target(), *line.level())).with_max_level_hint(loudest);
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter).with(cap);
    // A second start, in a test, keeps the first.
    let _ = if json {
        registry.with(layer.json().flatten_event(true).with_span_list(false)).try_init()
    } else {
        registry.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init()
    };
}
