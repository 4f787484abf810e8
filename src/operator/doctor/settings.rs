//! Settings that are each allowed, and together not meant. What can't be is refused when the configuration is read.

use std::time::Duration;

use super::{Check, Checkup, human};
use crate::daemon::OutboxSettings;

/// Messages that a busy broker needs unconfirmed: 64 cost a third of the throughput.
const WINDOW: usize = 1024;
/// Shorter, and what is merely slow is taken for broken.
const SHORTEST: Duration = Duration::from_secs(1);

pub(super) fn examine(checkup: &mut Checkup, settings: &OutboxSettings, warnings: &[String]) {
    match warnings {
        [] => checkup.ok(Check::Settings, "nothing to remark"),
        warnings => warnings.iter().for_each(|warning| {
            // `key = value (origin): what, and what to do`.
            let key = warning.split(" = ").next().unwrap_or_default();
            checkup.warn(
                Check::Settings,
                warning,
                format!("change {key}; relay config show says where it is set"),
            );
        }),
    }
    let times = times(settings);
    report(checkup, Check::Times, times);
    let limits = limits(settings);
    report(checkup, Check::Limits, limits);
}

fn report(checkup: &mut Checkup, check: Check, found: Vec<(String, String)>) {
    if found.is_empty() {
        checkup.ok(check, "they fit each other");
    }
    for (what, cure) in found {
        checkup.warn(check, what, cure);
    }
}

/// What does not fit, each with its cure.
fn times(settings: &OutboxSettings) -> Vec<(String, String)> {
    let (lease, poll) = (settings.lease, settings.engine.poll);
    let (connect, statement) = (settings.database.connect_timeout, settings.database.statement_timeout);
    let (confirm, heartbeat) = (settings.amqp.confirm_timeout, settings.amqp.heartbeat);
    let mut found = Vec::new();
    let mut find = |wrong: bool, what: String, cure: String| {
        if wrong {
            found.push((what, cure));
        }
    };
    find(
        connect > lease,
        format!(
            "database.connect_timeout is {}, and lease.duration {}: one slow connect gives all lanes away",
            human(connect),
            human(lease)
        ),
        format!("database.connect_timeout = {:?}", human(lease)),
    );
    find(
        statement < SHORTEST,
        format!("database.statement_timeout is {}: what is merely busy is cut off", human(statement)),
        "database.statement_timeout = \"30s\"".to_owned(),
    );
    find(
        settings.listen.is_some() && poll > lease,
        format!(
            "outbox.poll_interval is {}, and lease.duration {}: that notifications fail is noticed only after a lease, \
             and a row that missed its own waits for the poll",
            human(poll),
            human(lease)
        ),
        "outbox.poll_interval = \"1s\"".to_owned(),
    );
    find(
        confirm < heartbeat,
        format!(
            "amqp.confirm_timeout is {}, and amqp.heartbeat {}: a broker that lives and is slow is given up, and what was \
             in flight sent twice",
            human(confirm),
            human(heartbeat)
        ),
        format!("amqp.confirm_timeout = {:?}, or more", human(heartbeat * 3)),
    );
    find(
        settings.grace < SHORTEST,
        format!(
            "shutdown.grace is {}: confirms have no time, so each restart sends rows twice",
            human(settings.grace)
        ),
        "shutdown.grace = \"20s\"".to_owned(),
    );
    found
}

/// Likewise. Of bytes the configuration itself warns.
fn limits(settings: &OutboxSettings) -> Vec<(String, String)> {
    let rows = settings.engine.max_rows;
    if rows >= WINDOW {
        return Vec::new();
    }
    let what = format!(
        "limits.in_flight_rows is {rows}, and a broker that is to be kept busy needs {WINDOW} unconfirmed messages"
    );
    vec![(what, format!("limits.in_flight_rows = {}", WINDOW * 4))]
}
