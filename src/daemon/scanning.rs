//! The task that scans.

use std::time::Duration;

use tokio::sync::mpsc;

use super::Shared;
use crate::{
    health::Part,
    outbox::scanner::Scanner,
    postgres::connect::{DatabaseError, Trouble},
    reconnect::Reconnect,
    relay::input::{Input, Scan, ScanRequest},
};

const USE: &str = "scanning";
/// How long to wait for a scan that proves the database works, before connecting to find out.
const UNASKED: Duration = Duration::from_secs(1);

pub(super) async fn run(shared: Shared, mut requests: mpsc::UnboundedReceiver<ScanRequest>) {
    let mut scanner = None;
    let mut reconnect = Reconnect::default();
    // After a failure: when to connect although nobody asks.
    let mut mend: Option<Duration> = None;
    loop {
        let request = tokio::select! {
            biased;
            request = requests.recv() => request,
            () = tokio::time::sleep(mend.unwrap_or(UNASKED)), if mend.is_some() => {
                // A relay that stands by scans nothing, and would call itself unready for ever.
                mend = match connect(&shared).await {
                    Ok(connected) => {
                        scanner = Some(connected);
                        shared.health.up(Part::Database, USE);
                        None
                    }
                    Err(error) => {
                        shared.health.down(Part::Database, USE, &error.with_cure());
                        Some(UNASKED.max(pause(&mut reconnect, &error)))
                    }
                };
                continue;
            }
        };
        let Some(request) = request else { return };
        let result = match &scanner {
            Some(scanner) => Scanner::scan(scanner, &request).await,
            None => match connect(&shared).await {
                Ok(connected) => scanner.insert(connected).scan(&request).await,
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(found) => {
                mend = None;
                if matches!(request.scan, Scan::Ready { until: None, .. }) {
                    shared.metrics.wakeups.with_label_values(&["poll"]).inc();
                }
                reconnect.succeeded();
                shared.health.up(Part::Database, USE);
                shared.progressed();
                shared.tell(Input::Scanned(found));
            }
            Err(error) => {
                scanner = None;
                shared.health.down(Part::Database, USE, &error.with_cure());
                let retry = pause(&mut reconnect, &error);
                mend = Some(UNASKED.max(retry * 2));
                shared.tell(Input::ScanFailed { retry });
            }
        }
    }
}

async fn connect(shared: &Shared) -> Result<Scanner, DatabaseError> {
    let settings = &shared.settings;
    Scanner::connect(&settings.database, "relay scan", settings.policy.clone()).await
}

/// How long to wait after a database error.
pub(super) fn pause(reconnect: &mut Reconnect, error: &DatabaseError) -> Duration {
    match error.kind() {
        Trouble::NeedsOperator => reconnect.refused(),
        Trouble::Unreachable | Trouble::Statement => reconnect.failed(),
    }
}
