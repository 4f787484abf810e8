//! The task that scans.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{Shared, ability::Duty};
use crate::{
    outbox::scanner::Scanner,
    postgres::connect::{DatabaseError, Trouble},
    reconnect::Reconnect,
    relay::input::{Input, Scan, ScanRequest},
    row::Seq,
};

/// How long to wait for a scan that proves the database works, before trying one to find out.
const UNASKED: Duration = Duration::from_secs(1);

pub(super) async fn run(shared: Shared, mut requests: mpsc::UnboundedReceiver<ScanRequest>) {
    let mut scanner = None;
    let mut warned = false;
    let mut reconnect = Reconnect::default();
    // After a failure: when to try all kinds of scans although nobody asks. That one of them succeeds says nothing of the rest.
    let mut mend: Option<Duration> = None;
    loop {
        let request = tokio::select! {
            biased;
            request = requests.recv() => request,
            () = tokio::time::sleep(mend.unwrap_or(UNASKED)), if mend.is_some() => {
                // A relay that stands by scans nothing, and would call itself unready, and unable, for ever.
                mend = prove(&shared, &mut scanner, &mut warned, &mut reconnect).await;
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
                if matches!(request.scan, Scan::Ready { until: None, .. }) {
                    shared.metrics.wakeups.with_label_values(&["poll"]).inc();
                }
                reconnect.succeeded();
                shared.works(Duty::Scanning);
                shared.works(kind(&request.scan));
                shared.progressed();
                shared.tell(Input::Scanned(found));
            }
            Err(error) => {
                // What the server says of a statement concerns its kind; without a connection there is none of any.
                let refused = scanner.take().is_some() && error.kind() != Trouble::Unreachable;
                let (what, retry) = if refused {
                    shared.works(Duty::Scanning);
                    (kind(&request.scan), UNASKED)
                } else {
                    (Duty::Scanning, pause(&mut reconnect, &error))
                };
                shared.fails(what, &error);
                mend = Some(UNASKED.max(retry * 2));
                shared.tell(Input::ScanFailed { retry, all: !refused });
            }
        }
    }
}

fn kind(scan: &Scan) -> Duty {
    match scan {
        Scan::Ready { .. } => Duty::NewRows,
        Scan::Due { .. } => Duty::DueRows,
        Scan::Released { .. } => Duty::ReleasedRows,
    }
}

/// Tries every kind of scan, on a connection that is there or a new one. Returns when to do so again, if any of it fails.
async fn prove(
    shared: &Shared,
    scanner: &mut Option<Scanner>,
    warned: &mut bool,
    reconnect: &mut Reconnect,
) -> Option<Duration> {
    let proven = match scanner.take() {
        Some(scanner) => scanner,
        None => match connect(shared, warned).await {
            Ok(connected) => connected,
            Err(error) => {
                shared.fails(Duty::Scanning, &error);
                return Some(UNASKED.max(pause(reconnect, &error)));
            }
        },
    };
    shared.works(Duty::Scanning);
    let mut mend = None;
    for request in probes() {
        match proven.scan(&request).await {
            Ok(_) => shared.works(kind(&request.scan)),
            Err(error) => {
                shared.fails(kind(&request.scan), &error);
                mend = Some(UNASKED.max(pause(reconnect, &error)));
            }
        }
    }
    if mend.is_none() {
        reconnect.succeeded();
        *scanner = Some(proven);
    }
    mend
}

/// Every kind of scan, of no lane and for no row. It takes the same rights, and costs next to nothing.
fn probes() -> [ScanRequest; 3] {
    [
        Scan::Ready { after: Seq::MAX, until: None, keys_held: true, unless_at: None },
        Scan::Due { within: None },
        Scan::Released { whole: true },
    ]
    .map(|scan| ScanRequest {
        scan,
        mask: 0,
        exclude: Vec::new(),
        behind: Vec::new(),
        queued: Vec::new(),
        rows: 0,
        bytes: 0,
    })
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
