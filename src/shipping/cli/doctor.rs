//! `shipments doctor`.

use std::time::Duration;

use clap::Args;

use super::{notify::NotifyArgs, servers::Database};
use crate::{
    cli::{Diagnosis, Exit, Failure, runtime},
    operator::finding::{Report, Verdict},
    postgres::{
        connect::{Connection, DatabaseError, connect},
        settings::DatabaseSettings,
    },
    shipping::{
        migrations::{HISTORY, SCHEMA},
        notify::{NotifySettings, reach},
        roles::Part,
        store::receivers,
    },
};

const DATABASE: &str = "shipping.database";
const MIGRATIONS: &str = "shipping.migrations";
/// Endpoints that are connected to at most.
const ENDPOINTS: i64 = 200;

/// Look whether shipping's tables are there, and whether parties can be told; `relay doctor` looks at the rest
///
/// It changes nothing, and sends neither mail nor webhook: it connects as they would.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all is well, 1 there are warnings (0 with --fail-on failure), 2 there are failures, 78 bad \
                        configuration."
)]
pub(super) struct Doctor {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    notify: NotifyArgs,
    #[command(flatten)]
    diagnosis: Diagnosis,
    /// How long all of it may take
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Doctor {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let database = self.database.of(Part::Notify)?;
        let notify = self.notify.settings(&database.schema)?;
        let mut report = Report::default();
        runtime()?.block_on(async {
            let examining = tokio::time::timeout(self.timeout, examine(&mut report, &database, &notify));
            if examining.await.is_err() {
                let what = format!("no answer yet after {:?}, the time for all of it", self.timeout);
                let cure = Some("shipments doctor --timeout 5m".to_owned());
                report.add(DATABASE, Verdict::Failure, what, cure);
            }
        });
        Ok(self.diagnosis.of(&report))
    }
}

async fn examine(report: &mut Report, database: &DatabaseSettings, notify: &NotifySettings) {
    reach::mail(report, notify).await;
    let connection = match connect(database, "shipments doctor").await {
        Ok(connection) => connection,
        Err(error) => {
            failed(report, DATABASE, &error);
            return skip(report, DATABASE);
        }
    };
    report.add(DATABASE, Verdict::Ok, database.server(), None);
    if !migrated(report, &connection).await {
        return skip(report, MIGRATIONS);
    }
    match connection.answer(receivers(&connection.client, ENDPOINTS)).await {
        Ok(receivers) => reach::webhooks(report, notify, receivers).await,
        Err(error) => failed(report, reach::WEBHOOKS, &error),
    }
}

async fn migrated(report: &mut Report, connection: &Connection) -> bool {
    match connection.answer(HISTORY.state(&connection.client, SCHEMA)).await {
        Ok(state) if state.pending.is_empty() => {
            report.add(MIGRATIONS, Verdict::Ok, format!("schema {SCHEMA} is up to date"), None);
            return true;
        }
        Ok(state) => {
            let what = format!("{} migrations are pending in schema {SCHEMA}", state.pending.len());
            report.add(MIGRATIONS, Verdict::Failure, what, Some("shipments migrate".to_owned()));
        }
        Err(error) => failed(report, MIGRATIONS, &error),
    }
    false
}

fn skip(report: &mut Report, needs: &str) {
    report.add(reach::WEBHOOKS, Verdict::Skipped, format!("needs {needs}"), None);
}

fn failed(report: &mut Report, check: &'static str, error: &DatabaseError) {
    report.add(check, Verdict::Failure, error.to_string(), error.cure().map(str::to_owned));
}
