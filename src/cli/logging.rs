//! Logs, on stderr: text on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// Targets that would log payloads (returned messages, at WARN) or credentials (frames, at TRACE). No configuration
/// switches them on.
const NEVER: [&str; 2] = ["lapin::returned_messages=off", "amq_protocol=info"];

/// Libraries whose errors reach relay anyway, which says them with what they mean.
const QUIET: &str = "lapin=off,async_rs=off";

/// Starts logging.
pub(crate) fn start(log: &Log) {
    let mut filter = EnvFilter::new(format!("{QUIET},{}", log.level));
    for directive in NEVER {
        if let Ok(directive) = directive.parse() {
            filter = filter.add_directive(directive);
        }
    }
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    // A second start, in a test, keeps the first.
    let _ = if json {
        registry.with(layer.json().flatten_event(true).with_current_span(false)).try_init()
    } else {
        registry.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init()
    };
}
