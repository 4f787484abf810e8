//! The task that scans.

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

pub(super) async fn run(shared: Shared, mut requests: mpsc::UnboundedReceiver<ScanRequest>) {
    let mut scanner = None;
    let mut reconnect = Reconnect::default();
    while let Some(request) = requests.recv().await {
        let result = match &scanner {
            Some(scanner) => Scanner::scan(scanner, &request).await,
            None => match connect(&shared).await {
                Ok(connected) => scanner.insert(connected).scan(&request).await,
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(found) => {
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
pub(super) fn pause(reconnect: &mut Reconnect, error: &DatabaseError) -> std::time::Duration {
    match error.kind() {
        Trouble::NeedsOperator => reconnect.refused(),
        Trouble::Unreachable | Trouble::Statement => reconnect.failed(),
    }
}
