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
/// The kinds of scans. One that fails stays down until it succeeds, whatever the others do.
const KINDS: [&str; 3] = ["scanning for new rows", "scanning for due rows", "scanning for released rows"];
/// How long to wait for a scan that proves the database works, before connecting to find out.
const UNASKED: Duration = Duration::from_secs(1);

pub(super) async fn run(shared: Shared, mut requests: mpsc::UnboundedReceiver<ScanRequest>) {
    let mut scanner = None;
    let mut warned = false;
    let mut reconnect = Reconnect::default();
    // After a failure: when to connect although nobody asks.
    let mut mend: Option<Duration> = None;
    loop {
        let request = tokio::select! {
            biased;
            request = requests.recv() => request,
            () = tokio::time::sleep(mend.unwrap_or(UNASKED)), if mend.is_some() => {
                // A relay that stands by scans nothing, and would call itself unready for ever.
                mend = match connect(&shared, &mut warned).await {
                    Ok(connected) => {
                        scanner = Some(connected);
                        for what in KINDS.into_iter().chain([USE]) {
                            shared.health.up(Part::Database, what);
                        }
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
            None => match connect(&shared, &mut warned).await {
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
                shared.health.up(Part::Database, kind(&request.scan));
                shared.progressed();
                shared.tell(Input::Scanned(found));
            }
            Err(error) => {
                // What the server says of a statement concerns its kind; without a connection there is none of any.
                let refused = scanner.take().is_some() && error.kind() != Trouble::Unreachable;
                let (what, retry) = if refused {
                    shared.health.up(Part::Database, USE);
                    (kind(&request.scan), UNASKED)
                } else {
                    (USE, pause(&mut reconnect, &error))
                };
                shared.health.down(Part::Database, what, &error.with_cure());
                mend = Some(UNASKED.max(retry * 2));
                shared.tell(Input::ScanFailed { retry, all: !refused });
            }
        }
    }
}

fn kind(scan: &Scan) -> &'static str {
    KINDS[match scan {
        Scan::Ready { .. } => 0,
        Scan::Due => 1,
        Scan::Released => 2,
    }]
}

/// Connects, and says once what is wrong with the sequence.
async fn connect(shared: &Shared, warned: &mut bool) -> Result<Scanner, DatabaseError> {
    let settings = &shared.settings;
    let scanner = Scanner::connect(&settings.database, "relay scan", settings.policy.clone()).await?;
    if let Some(trouble) = scanner.sequence_trouble().filter(|_| !std::mem::replace(warned, true)) {
        tracing::warn!("{trouble}");
    }
    Ok(scanner)
}

/// How long to wait after a database error.
pub(super) fn pause(reconnect: &mut Reconnect, error: &DatabaseError) -> Duration {
    match error.kind() {
        Trouble::NeedsOperator => reconnect.refused(),
        Trouble::Unreachable | Trouble::Statement => reconnect.failed(),
    }
}
