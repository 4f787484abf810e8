//! `relay doctor`: whether all that `relay run` needs is there and as it should be; and where it isn't, what to do.
//!
//! It changes nothing on either server, and it does not stop at the first trouble: what depends on a check that failed is
//! skipped, and says on which. Every question is bounded in time, and so are all of them together.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::finding::{Report, Verdict};
use crate::{
    amqp::AmqpError,
    daemon::OutboxSettings,
    named::named,
    postgres::{
        connect::{Connection, DatabaseError, Trouble},
        settings::DatabaseSettings,
    },
};

mod broker;
mod database;
mod dead_letters;
mod operators;
mod routes;
mod schema;
mod settings;
mod state;

named! {
    /// What is looked at.
    Check, "check" {
        /// What the configuration allows and is probably not meant.
        Settings = "settings.warnings",
        /// Times that contradict each other.
        Times = "settings.times",
        /// Limits that contradict each other.
        Limits = "settings.limits",
        /// Postgres can be reached, and lets this role in.
        Database = "postgres.connection",
        /// Its version is one that relay works with, and commits survive a crash.
        Server = "postgres.server",
        /// It takes writes.
        Primary = "postgres.primary",
        /// Sessions are relay's own, or `database.pooled` is set.
        Pooler = "postgres.pooler",
        /// Notifications arrive where relay listens.
        Listen = "postgres.listen",
        /// There are connections left, and they last.
        Sessions = "postgres.sessions",
        /// Both clocks agree.
        Clock = "postgres.clock",
        /// What holds vacuum back.
        Cleanup = "postgres.cleanup",
        /// Nothing is to be migrated.
        Migrations = "schema.migrations",
        /// Tables, columns and functions are as the migrations made them.
        Tables = "schema.tables",
        /// So are the indexes, and they are used.
        Indexes = "schema.indexes",
        /// So is the trigger that wakes relay, and it fires.
        Trigger = "schema.trigger",
        /// This role may do what `relay run` does.
        Rights = "schema.rights",
        /// And remove old rows.
        Retention = "schema.retention",
        /// Numbers rise as they are drawn.
        Sequence = "schema.sequence",
        /// Vacuum comes by itself.
        Autovacuum = "schema.autovacuum",
        /// Nothing waits for long.
        Backlog = "rows.backlog",
        /// Somebody owns the lanes.
        Lanes = "rows.lanes",
        /// Nobody has to deal with dead rows.
        Dead = "rows.dead",
        /// Whoever operates by commands or the page may do so in the database.
        Operators = "operators.database",
        /// RabbitMQ can be reached, and lets this user in.
        Broker = "rabbitmq.connection",
        /// Its version is one that relay works with.
        Version = "rabbitmq.version",
        /// What client and server agreed on suits the settings.
        Tuning = "rabbitmq.tuning",
        /// It takes messages, and confirms them.
        RoundTrip = "rabbitmq.round_trip",
        /// The exchange exists, is of the right type, and may be published to.
        Exchange = "rabbitmq.exchange",
        /// So does the exchange of dead letters.
        DeadLetterExchange = "rabbitmq.dead_letter_exchange",
        /// So does their queue, it is replicated, and drops no letter that is looked at often.
        DeadLetterQueue = "rabbitmq.dead_letter_queue",
        /// It gets them.
        DeadLetterBinding = "rabbitmq.dead_letter_binding",
        /// What rows are published to takes them.
        Routes = "rabbitmq.routes",
    }
}

/// What operators do in the database, where there is a page or a role for it.
#[derive(Debug, Clone)]
pub struct Operators {
    /// By which connection.
    pub database: DatabaseSettings,
    /// Whether that is its own (`database.operator_url`), and not relay's.
    pub own: bool,
    /// Whether anybody may do more by it than look.
    pub acts: bool,
}

/// Looks at everything, within `limit`.
pub async fn examine(
    settings: &OutboxSettings,
    operators: Option<&Operators>,
    warnings: &[String],
    limit: Duration,
) -> Report {
    let mut checkup = Checkup::new(limit);
    settings::examine(&mut checkup, settings, warnings);
    let seen = database::examine(&mut checkup, settings).await;
    operators::examine(&mut checkup, settings, operators).await;
    broker::examine(&mut checkup, settings, seen).await;
    checkup.report
}

/// An examination under way.
#[derive(Debug)]
struct Checkup {
    report: Report,
    limit: Duration,
    deadline: Instant,
    /// Whether that is over.
    late: bool,
    /// The check in which the database was lost.
    lost: Option<Check>,
}

impl Checkup {
    fn new(limit: Duration) -> Self {
        let deadline = Instant::now() + limit;
        Self { report: Report::default(), limit, deadline, late: false, lost: None }
    }

    fn add(&mut self, check: Check, verdict: Verdict, what: impl Into<String>, cure: Option<String>) {
        self.report.add(check.as_str(), verdict, what, cure);
    }

    fn ok(&mut self, check: Check, what: impl Into<String>) {
        self.add(check, Verdict::Ok, what, None);
    }

    fn warn(&mut self, check: Check, what: impl Into<String>, cure: impl Into<String>) {
        self.add(check, Verdict::Warning, what, Some(cure.into()));
    }

    fn fail(&mut self, check: Check, what: impl Into<String>, cure: impl Into<String>) {
        self.add(check, Verdict::Failure, what, Some(cure.into()));
    }

    fn skip(&mut self, check: Check, why: impl Into<String>) {
        self.add(check, Verdict::Skipped, why, None);
    }

    /// Skips what needs another check to have gone well.
    fn skip_all(&mut self, checks: &[Check], needs: Check) {
        for check in checks {
            self.skip(*check, format!("needs {needs}"));
        }
    }

    /// Whether nothing worse than a warning was found there, and something was looked at.
    fn went_well(&self, check: Check) -> bool {
        let mut found =
            self.report.findings.iter().filter(|finding| finding.check == check.as_str()).peekable();
        found.peek().is_some()
            && found.all(|finding| finding.verdict < Verdict::Failure && finding.verdict != Verdict::Skipped)
    }

    /// Puts a question to the database; none if there is no answer, which is then a finding.
    async fn ask<T>(
        &mut self,
        check: Check,
        connection: &Connection,
        work: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Option<T> {
        if let Some(lost) = self.lost {
            self.skip(check, format!("the database was lost in {lost}"));
            return None;
        }
        // On the heap, or each caller's future would hold it beside its own.
        let asked = Box::pin(connection.answer(work));
        match self.in_time(check, asked).await? {
            Ok(answer) => Some(answer),
            Err(error) => {
                if error.kind() == Trouble::Unreachable {
                    self.lost = Some(check);
                }
                self.database_failed(check, &error);
                None
            }
        }
    }

    /// Waits, but not beyond the time for everything.
    async fn in_time<T>(&mut self, check: Check, work: impl Future<Output = T>) -> Option<T> {
        if self.late {
            self.skip(check, "the time for all of it is over");
            return None;
        }
        let done = timeout_at(self.deadline, work).await.ok();
        if done.is_none() {
            self.late = true;
            let what = format!("no answer yet after {}, the time for all of it", human(self.limit));
            self.fail(check, what, "see what is above, or allow it more: `relay doctor --timeout 5m`");
        }
        done
    }

    fn database_failed(&mut self, check: Check, error: &DatabaseError) {
        self.add(check, Verdict::Failure, error.to_string(), error.cure().map(str::to_owned));
    }

    fn broker_failed(&mut self, check: Check, error: &AmqpError) {
        self.add(check, Verdict::Failure, crate::cause::chain(error), None);
    }
}

/// A duration as the configuration takes it.
fn human(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_verdict_and_what_was_skipped_is_none() {
        let mut checkup = Checkup::new(Duration::from_secs(1));
        assert_eq!(checkup.report.verdict(), Verdict::Ok);
        checkup.skip(Check::Listen, "off");
        checkup.ok(Check::Database, "there");
        assert_eq!(checkup.report.verdict(), Verdict::Ok);
        checkup.warn(Check::Clock, "late", "set it");
        assert_eq!(checkup.report.verdict(), Verdict::Warning);
        checkup.fail(Check::Primary, "a replica", "name the primary");
        assert_eq!(checkup.report.verdict(), Verdict::Failure);
        assert!(checkup.went_well(Check::Database) && checkup.went_well(Check::Clock));
        assert!(!checkup.went_well(Check::Primary) && !checkup.went_well(Check::Listen));
        assert!(!checkup.went_well(Check::Rights), "nobody looked");
        assert_eq!(checkup.report.to_json()["findings"][3]["cure"], "name the primary");
    }

    #[tokio::test]
    async fn nothing_outlasts_the_time_for_all() {
        let mut checkup = Checkup::new(Duration::from_millis(1));
        assert_eq!(checkup.in_time(Check::Broker, std::future::pending::<()>()).await, None);
        assert_eq!(checkup.in_time(Check::Routes, async {}).await, None);
        let verdicts: Vec<Verdict> = checkup.report.findings.iter().map(|finding| finding.verdict).collect();
        assert_eq!(verdicts, [Verdict::Failure, Verdict::Skipped]);
    }
}
