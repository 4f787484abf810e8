//! `relay doctor`.

use std::{fmt::Write as _, time::Duration};

use clap::{Args, ValueEnum};
use futures_util::future::join_all;

use super::{
    Exit, Failure, Sources,
    config_command::Output,
    exit::{print, runtime},
    render,
};
use crate::{
    app,
    config::{Config, ConfigError, Needs},
    daemon::OutboxSettings,
    operator::{
        doctor::{Operators, examine},
        finding::{Report, Verdict},
    },
};

/// Look whether all that `relay run` needs is there and as it should be; say what to do where it isn't.
///
/// It changes nothing on either server, and does not stop at the first trouble.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all is well, 1 there are warnings (0 with --fail-on failure), 2 there are failures, 78 \
                        bad configuration. A failure: relay does not publish, or breaks a promise, until it is mended. A \
                        warning: it works, but slower, or with less certainty."
)]
pub(super) struct DoctorCommand {
    #[command(flatten)]
    diagnosis: Diagnosis,
    /// How long all of it may take.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl DoctorCommand {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        let outboxes = sources.load_all(Needs { database: true, amqp: true })?;
        let settings =
            outboxes.iter().map(|loaded| settings(&loaded.config)).collect::<Result<Vec<_>, _>>()?;
        let examining = outboxes.iter().zip(&settings).map(|(loaded, (settings, operators))| {
            examine(settings, operators.as_ref(), &loaded.warnings, self.timeout)
        });
        // Side by side: a server that hangs costs the others no time.
        let reports = runtime()?.block_on(join_all(examining));
        let mut report = Report::default();
        for (loaded, found) in outboxes.iter().zip(reports) {
            report.add_of(&loaded.config.outbox.name, found);
        }
        Ok(self.diagnosis.of(&report))
    }
}

fn settings(config: &Config) -> Result<(OutboxSettings, Option<Operators>), Failure> {
    let failed = |error: ConfigError| Failure::Failed(error.to_string());
    let (database, amqp) = (config.database_url().map_err(failed)?, config.amqp_url().map_err(failed)?);
    let outbox = app::outbox(config, database, amqp)?;
    let operators = app::operators(config, &outbox)?;
    Ok((outbox, operators))
}

/// Flags of commands that end in a diagnosis.
#[derive(Debug, Args)]
pub(crate) struct Diagnosis {
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// What makes the exit code other than 0: warnings as well, or failures alone
    #[arg(long, value_enum, value_name = "VERDICT", default_value = "warning")]
    fail_on: FailOn,
}

/// From which verdict on an exit code tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Warnings and failures.
    Warning,
    /// Failures alone.
    Failure,
}

impl Diagnosis {
    /// Prints what was found; returns what it comes to.
    pub(crate) fn of(&self, report: &Report) -> Exit {
        print(&match self.output {
            Output::Table => table(report),
            Output::Json => format!("{:#}", report.to_json()),
        });
        match (report.verdict(), self.fail_on) {
            (Verdict::Failure, _) => Exit::Critical,
            (Verdict::Warning, FailOn::Warning) => Exit::Warning,
            (Verdict::Warning, FailOn::Failure) | (Verdict::Ok | Verdict::Skipped, _) => Exit::Ok,
        }
    }
}

/// A line for each finding, and one for its cure below; those of several outboxes under their names.
fn table(report: &Report) -> String {
    // Writing to a string cannot fail.
    let mut text = String::new();
    let width = report.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0) + 2;
    let first = report.findings.first().map(|finding| &finding.outbox);
    let several = report.findings.iter().any(|finding| Some(&finding.outbox) != first);
    let mut told = None;
    for finding in &report.findings {
        if several && told.replace(&finding.outbox) != Some(&finding.outbox) {
            let name = finding.outbox.as_deref().unwrap_or_default();
            let _ = writeln!(text, "{}outbox {name}", if text.is_empty() { "" } else { "\n" });
        }
        let verdict = match finding.verdict {
            Verdict::Ok | Verdict::Skipped => finding.verdict.as_str().to_owned(),
            Verdict::Warning | Verdict::Failure => finding.verdict.as_str().to_uppercase(),
        };
        let _ = writeln!(text, "{verdict:<9}{:<width$}{}", finding.check, render::plain(&finding.what));
        if let Some(cure) = &finding.cure {
            let _ = writeln!(text, "{:<1$}do: {2}", "", width + 9, render::plain(cure));
        }
    }
    let count = |verdict| report.count(verdict);
    let (well, skipped) = (count(Verdict::Ok), count(Verdict::Skipped));
    let (warnings, failures) = (count(Verdict::Warning), count(Verdict::Failure));
    let _ = write!(text, "\nok: {well}, skipped: {skipped}, warnings: {warnings}, failures: {failures}");
    text
}
