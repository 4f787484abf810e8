//! The person at the terminal, if there is one: who it is, what they consent to, and what they see of the progress.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Failure, exit::say};
use crate::operator::{audit::Signed, rate::Rate};

/// How often progress is told where there is no terminal to draw on.
const TELL: Duration = Duration::from_secs(5);

/// Flags of commands whose one act is undone by another.
#[derive(Debug, Args)]
pub(super) struct Signature {
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Who does it, for the audit (default: `$USER@host`)
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
}

impl Signature {
    /// Who does it, and why.
    pub(super) fn signed(&self) -> Signed {
        Signed { actor: self.actor.clone().unwrap_or_else(whoever), note: self.note.clone() }
    }
}

/// Flags of commands whose one act can't be undone.
#[derive(Debug, Args)]
pub(super) struct Sure {
    /// Change nothing; say what would be done.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    pub(super) signature: Signature,
}

impl Sure {
    /// Refuses what nobody can be asked about.
    pub(super) fn check(&self, what: &str) -> Result<(), Failure> {
        may_ask(self.dry_run || self.yes, what)
    }

    /// Asks, unless told not to.
    pub(super) fn ask(&self, question: &str) -> Result<bool, Failure> {
        if self.yes { Ok(true) } else { ask(question) }
    }
}

/// Refuses what nobody can be asked about, unless there is no need to ask.
fn may_ask(no_need: bool, what: &str) -> Result<(), Failure> {
    if no_need || is_interactive() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{what} needs --yes where there is no terminal to ask on; --dry-run shows what it would do"
    )))
}

/// Flags of every command that changes many things.
#[derive(Debug, Args)]
pub(super) struct Consent {
    /// Change nothing; say what would be done.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub(super) yes: bool,
    /// At most so many, the oldest first.
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u64>,
    /// Not faster than this: 50/s, 600/m.
    #[arg(long, value_name = "N/s")]
    pub(super) rate: Option<Rate>,
    /// Who does it, for the audit (default: `$USER@host`)
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
}

impl Consent {
    /// Refuses what nobody can be asked about.
    pub(super) fn check(&self, what: &str) -> Result<(), Failure> {
        may_ask(self.dry_run || self.yes, what)
    }

    /// Asks, unless told not to.
    pub(super) fn ask(&self, question: &str) -> Result<bool, Failure> {
        if self.yes { Ok(true) } else { ask(question) }
    }

    /// Who does it.
    pub(super) fn actor(&self) -> String {
        self.actor.clone().unwrap_or_else(whoever)
    }
}

/// Asks the person at the terminal.
pub(crate) fn ask(question: &str) -> Result<bool, Failure> {
    let failed = |source| Failure::Io { what: "cannot ask".to_owned(), source };
    let mut stderr = std::io::stderr();
    write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()).map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Who runs this, as far as the machine knows.
pub(crate) fn whoever() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.as_deref().map_or("localhost", str::trim);
    format!("{}@{host}", user.as_deref().unwrap_or("unknown"))
}

/// Whether somebody can be asked.
pub(crate) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Becomes true with SIGINT or SIGTERM. What is under way then ends within the time limit of one statement or confirm.
pub(super) fn stop() -> Result<watch::Receiver<bool>, Failure> {
    let failed = |source| Failure::Io { what: "cannot wait for signals".to_owned(), source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        say("stopping after this batch");
        // Kept until the end: a sender that is gone would look like no more news.
        stop.send_replace(true);
        stop.closed().await;
    });
    Ok(stopped)
}

/// Progress on stderr: a bar on a terminal, a line every few seconds elsewhere.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    verb: &'static str,
    total: Option<u64>,
    told: Instant,
}

impl Progress {
    /// Towards `total`.
    pub(super) fn new(verb: &'static str, total: u64) -> Self {
        Self::towards(verb, Some(total))
    }

    /// Towards `total`, if that is known.
    pub(super) fn towards(verb: &'static str, total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let (bar, template) = match total {
                Some(total) => (ProgressBar::new(total), "{msg} {wide_bar} {pos}/{len} {per_sec} {eta}"),
                None => (ProgressBar::no_length(), "{msg} {pos} {per_sec}"),
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(verb);
            bar
        });
        Self { bar, verb, total, told: Instant::now() }
    }

    /// So many are done.
    pub(super) fn done(&mut self, done: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.told.elapsed() >= TELL => {
                self.told = Instant::now();
                match self.total {
                    Some(total) => say(&format!("{} {done} of {total}", self.verb)),
                    None => say(&format!("{} {done}", self.verb)),
                }
            }
            None => {}
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
