//! What an examination found, each with what to do about it.

use serde_json::{Value, json};

use crate::named::named;

named! {
    /// How it is.
    Verdict, "verdict" {
        /// As it should be.
        Ok = "ok",
        /// Not looked at, for a reason that is told.
        Skipped = "skipped",
        /// It works, but slower, or with less certainty, than it is meant to.
        Warning = "warning",
        /// It does not work, or breaks a promise, until it is mended.
        Failure = "failure",
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The outbox that it is about, where that is told.
    pub outbox: Option<String>,
    /// What was looked at: one of a closed set of names.
    pub check: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub what: String,
    /// What to do: a command, a statement or a setting.
    pub cure: Option<String>,
}

/// Everything that was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// In the order in which it was looked at.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Adds a finding.
    pub fn add(
        &mut self,
        check: &'static str,
        verdict: Verdict,
        what: impl Into<String>,
        cure: Option<String>,
    ) {
        self.findings.push(Finding { outbox: None, check, verdict, what: what.into(), cure });
    }

    /// Adds what was found about an outbox.
    pub fn add_of(&mut self, outbox: &str, report: Self) {
        let of = |finding| Finding { outbox: Some(outbox.to_owned()), ..finding };
        self.findings.extend(report.findings.into_iter().map(of));
    }

    /// The worst of it. What was skipped is told by what it was skipped for.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let worst = self.findings.iter().map(|finding| finding.verdict).max();
        worst.filter(|verdict| *verdict != Verdict::Skipped).unwrap_or(Verdict::Ok)
    }

    /// How many of a kind there are.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "verdict": self.verdict().as_str(),
            "findings": self.findings.iter().map(|finding| json!({
                "outbox": finding.outbox,
                "check": finding.check,
                "verdict": finding.verdict.as_str(),
                "what": finding.what,
                "cure": finding.cure,
            })).collect::<Vec<_>>(),
        })
    }
}
