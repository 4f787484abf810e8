//! The broker: whether it is there, takes messages, and has what relay publishes to.

use std::time::Duration;

use super::{
    Check, Checkup,
    database::millis,
    dead_letters, human,
    routes::{self, Route, Seen},
};
use crate::{
    amqp::{
        AmqpError, Session, Topology,
        probe::{self, Declared, Trip},
        topology::exists,
        version,
    },
    cause::chain,
    daemon::OutboxSettings,
};

/// The oldest version that relay is tested with.
const OLDEST: (u32, u32) = (3, 10);
/// Beside a row's own headers a frame holds relay's, and the other properties.
const BESIDE_HEADERS: usize = 8 * 1024;
/// Below this RabbitMQ's documentation warns of false positives.
const SAFE_HEARTBEAT: Duration = Duration::from_secs(5);
/// Destinations that are tried, each on a channel of its own.
const TRIED: usize = 50;
/// When nothing was published yet: a routing key to try.
pub(super) const ANY_KEY: &str = "relay.doctor";

const REST: [Check; 8] = [
    Check::Version,
    Check::Tuning,
    Check::RoundTrip,
    Check::Exchange,
    Check::DeadLetterExchange,
    Check::DeadLetterQueue,
    Check::DeadLetterBinding,
    Check::Routes,
];

/// What the examination needs to know.
pub(super) struct Ward<'a> {
    pub(super) session: Session,
    pub(super) settings: &'a OutboxSettings,
    pub(super) topology: &'a Topology,
    /// The number before the first dot of its version, if it tells.
    pub(super) major: Option<u32>,
    /// Whether it takes messages: what is published while it doesn't is not answered.
    takes: bool,
}

pub(super) async fn examine(checkup: &mut Checkup, settings: &OutboxSettings, seen: Option<Seen>) {
    let begun = tokio::time::Instant::now();
    let Some(connected) =
        checkup.in_time(Check::Broker, Box::pin(Session::connect(&settings.amqp, "relay doctor"))).await
    else {
        return checkup.skip_all(&REST, Check::Broker);
    };
    let session = match connected {
        Ok(session) => session,
        Err(error) => {
            checkup.fail(Check::Broker, chain(&error), cure(&error, settings));
            return checkup.skip_all(&REST, Check::Broker);
        }
    };
    let encrypted = if settings.amqp.uri.is_tls() { "encrypted and verified" } else { "in plaintext" };
    checkup.ok(Check::Broker, format!("{} in {}, {encrypted}", settings.amqp.uri, millis(begun.elapsed())));
    let major = told_version(checkup, settings).await;
    tuning(checkup, settings, &session);
    let mut ward = Ward { session, settings, topology: &settings.topology, major, takes: true };
    round_trip(checkup, &mut ward).await;
    exchange(checkup, &ward, seen.as_ref()).await;
    dead_letters::examine(checkup, &ward, seen.as_ref().map(|seen| &seen.letters)).await;
    match seen {
        Some(seen) => destinations(checkup, &ward, &seen).await,
        // Unless it was found to be slow.
        None if checkup.report.findings.iter().any(|finding| finding.check == Check::Routes.as_str()) => {}
        None => checkup.skip(Check::Routes, format!("needs {}", Check::Backlog)),
    }
    ward.session.close(Duration::from_secs(1)).await;
}

/// Says which version it is; returns the first number of it.
async fn told_version(checkup: &mut Checkup, settings: &OutboxSettings) -> Option<u32> {
    let asked = checkup.in_time(Check::Version, version::server(&settings.amqp)).await?;
    let major = asked.as_ref().ok().and_then(Option::as_ref).and_then(|version| numbers(version).next());
    match asked {
        Ok(Some(version)) if is_old(&version) => {
            let (major, minor) = OLDEST;
            let what = format!("RabbitMQ {version}: relay is tested with {major}.{minor} and newer");
            checkup.warn(Check::Version, what, format!("upgrade it to {major}.{minor} or newer"));
        }
        Ok(Some(version)) => checkup.ok(Check::Version, format!("RabbitMQ {version}")),
        Ok(None) => checkup.skip(Check::Version, "the broker does not tell"),
        Err(error) => checkup.broker_failed(Check::Version, &error),
    }
    major
}

/// The numbers of a version.
fn numbers(version: &str) -> impl Iterator<Item = u32> {
    version.split('.').map_while(|number| number.parse().ok())
}

fn is_old(version: &str) -> bool {
    let mut numbers = numbers(version);
    numbers.next().zip(numbers.next()).is_some_and(|version| version < OLDEST)
}

fn tuning(checkup: &mut Checkup, settings: &OutboxSettings, session: &Session) {
    let (heartbeat, frame) = (session.heartbeat(), session.frame_max());
    let (channels, needed) = (session.channel_max(), settings.engine.publishers + 2);
    let room = usize::try_from(frame).unwrap_or(usize::MAX).saturating_sub(BESIDE_HEADERS);
    if heartbeat < SAFE_HEARTBEAT && heartbeat < settings.amqp.heartbeat {
        checkup.warn(
            Check::Tuning,
            format!(
                "the broker asks for a heartbeat of {}: a busy network is mistaken for a dead one",
                human(heartbeat)
            ),
            "heartbeat = 60 in rabbitmq.conf",
        );
    } else if frame > 0 && settings.policy.header_bytes > room {
        checkup.warn(
            Check::Tuning,
            format!(
                "the broker takes frames of {frame} bytes, and limits.header_bytes is {}: a row with as many closes the \
                 connection",
                settings.policy.header_bytes
            ),
            format!("limits.header_bytes = {}, or frame_max = 131072 in rabbitmq.conf", room.max(1024)),
        );
    } else if channels > 0 && usize::from(channels) < needed {
        checkup.warn(
            Check::Tuning,
            format!("the broker allows {channels} channels, and relay needs {needed}"),
            "channel_max = 2047 in rabbitmq.conf, or fewer amqp.publishers",
        );
    } else {
        checkup.ok(Check::Tuning, format!("a heartbeat each {}, frames of {frame} bytes", human(heartbeat)));
    }
}

async fn round_trip(checkup: &mut Checkup, ward: &mut Ward<'_>) {
    let Some(trip) = checkup.in_time(Check::RoundTrip, Box::pin(probe::round_trip(&ward.session))).await
    else {
        return;
    };
    match trip {
        Ok(Trip::Took(took)) => checkup.ok(Check::RoundTrip, format!("confirmed in {}", millis(took))),
        Ok(Trip::Blocked(reason)) => {
            ward.takes = false;
            checkup.fail(
                Check::RoundTrip,
                format!("the broker takes no messages: {reason}"),
                "rabbitmq-diagnostics alarms, on the broker: give it memory or disk",
            );
            // This connection is blocked: whatever is sent on it is not read.
            match checkup
                .in_time(Check::RoundTrip, Session::connect(&ward.settings.amqp, "relay doctor"))
                .await
            {
                Some(Ok(session)) => ward.session = session,
                Some(Err(error)) => checkup.broker_failed(Check::RoundTrip, &error),
                None => {}
            }
        }
        Ok(Trip::Astray(how)) => checkup.fail(
            Check::RoundTrip,
            format!("a message to a queue of its own went astray: {how}"),
            "rabbitmq-diagnostics check_running, check_local_alarms, and the broker's log",
        ),
        // Relay itself needs no such queue.
        Err(AmqpError::Denied { text, .. }) => {
            checkup.skip(Check::RoundTrip, format!("this user may have no queue of its own: {text}"));
        }
        Err(error) => {
            ward.takes = false;
            let cure = cure(&error, ward.settings);
            checkup.fail(Check::RoundTrip, chain(&error), cure);
        }
    }
}

/// The exchange of rows that name none.
async fn exchange(checkup: &mut Checkup, ward: &Ward<'_>, seen: Option<&Seen>) {
    let name = &ward.topology.exchange;
    let used = seen.and_then(|seen| seen.routes.keys().find(|route| route.exchange == *name));
    let key = used.map_or(ANY_KEY, |route| &route.routing_key);
    object(checkup, ward, Check::Exchange, name, key).await;
}

/// One of relay's exchanges.
pub(super) async fn object(checkup: &mut Checkup, ward: &Ward<'_>, check: Check, name: &str, key: &str) {
    let Some(found) = look(checkup, ward, check, name).await else { return };
    let writes = if found == Declared::Alike && ward.takes {
        checkup.in_time(check, probe::accepts(&ward.session, name, key)).await
    } else {
        Some(Ok(()))
    };
    match (found, writes) {
        (_, None) => {}
        (Declared::Absent, _) => checkup.ok(check, format!("{name}: relay run declares it")),
        (Declared::Other(text), _) => checkup.fail(
            check,
            format!("{name} is not the durable topic exchange that relay declares: {text}"),
            format!(
                "rabbitmqadmin delete exchange name={name}, once nothing needs it; or name another; or \
                 outbox.declare = false, if it is meant"
            ),
        ),
        // A right on single topics says nothing of those that are published.
        (_, Some(Err(AmqpError::Denied { text, .. }))) if key == ANY_KEY && text.contains("topic") => {
            checkup.ok(check, format!("{name} is there; what may be published to it is told by topic"));
        }
        (_, Some(Err(error))) => checkup.fail(check, chain(&error), cure(&error, ward.settings)),
        (_, Some(Ok(()))) if ward.takes => checkup.ok(check, format!("{name} takes messages of this user")),
        _ => checkup.ok(check, format!("{name} is there")),
    }
}

/// Looks at an exchange: with `outbox.declare` as relay would declare it, else only whether it is there.
async fn look(checkup: &mut Checkup, ward: &Ward<'_>, check: Check, name: &str) -> Option<Declared> {
    let looking = async {
        if ward.settings.declare {
            return probe::exchange(&ward.session, name).await;
        }
        exists(&ward.session, name).await.map(|()| Declared::Alike)
    };
    match checkup.in_time(check, looking).await? {
        Ok(found) => Some(found),
        Err(error) => {
            let cure = match &error {
                AmqpError::Missing { .. } => {
                    format!(
                        "outbox.declare = true, or rabbitmqadmin declare exchange name={name} type=topic durable=true"
                    )
                }
                other => cure(other, ward.settings),
            };
            checkup.fail(check, chain(&error), cure);
            None
        }
    }
}

/// Tries what rows are published to, and tells what became of them there.
async fn destinations(checkup: &mut Checkup, ward: &Ward<'_>, seen: &Seen) {
    let policy = &ward.settings.policy;
    let main = &ward.topology.exchange;
    let allowed =
        |route: &&Route| route.exchange == *main || policy.allowed_exchanges.contains(&route.exchange);
    // Of the main exchange it is known already when it is missing.
    let there = |route: &&Route| route.exchange != *main || checkup.went_well(Check::Exchange);
    let tried: Vec<&Route> = seen.routes.keys().filter(allowed).filter(there).take(TRIED).collect();
    let mut missing: Option<&str> = None;
    for Route { exchange, routing_key } in tried {
        if !ward.takes || missing == Some(exchange) {
            continue;
        }
        let Some(tried) =
            checkup.in_time(Check::Routes, probe::accepts(&ward.session, exchange, routing_key)).await
        else {
            return;
        };
        match tried {
            Ok(()) => {}
            // It would die as invalid, which is told by its reason.
            Err(AmqpError::Name { .. }) => {}
            Err(AmqpError::Missing { .. }) if exchange == main => missing = Some(exchange),
            Err(error) => {
                if matches!(error, AmqpError::Missing { .. }) {
                    missing = Some(exchange);
                }
                let (what, cure) = match &error {
                    AmqpError::Missing { .. } => (
                        "it does not exist, and relay declares outbox.exchange alone".to_owned(),
                        format!("rabbitmqadmin declare exchange name={exchange} type=topic durable=true"),
                    ),
                    other => (chain(other), cure(other, ward.settings)),
                };
                checkup.fail(
                    Check::Routes,
                    format!("rows go to {exchange:?} by {routing_key:?}: {what}"),
                    cure,
                );
            }
        }
    }
    routes::told(checkup, seen, policy);
}

/// What to do about an error of the broker's.
pub(super) fn cure(error: &AmqpError, settings: &OutboxSettings) -> String {
    let (uri, topology) = (&settings.amqp.uri, &settings.topology);
    match error {
        AmqpError::Unreachable { host, port, .. } => {
            format!(
                "check host and port in amqp.url ({host}:{port}); on the broker: rabbitmq-diagnostics listeners"
            )
        }
        AmqpError::Tls { .. } => {
            "amqp.ca_file names authorities to trust besides the system's; the host in amqp.url must \
                                  be one that the certificate is for, and the port one that speaks TLS (5671)"
                .to_owned()
        }
        AmqpError::HandshakeTimeout { .. } | AmqpError::Handshake { .. } => {
            "check that amqp.url names a port that speaks AMQP: 5672, or 5671 for amqps://; if it does, the broker \
             hangs: rabbitmqctl status on its machine, and restart it"
                .to_owned()
        }
        AmqpError::LoginRefused { user, .. } => {
            format!(
                "check user and password in amqp.url; on the broker: rabbitmqctl authenticate_user {user}"
            )
        }
        AmqpError::VhostRefused { vhost, user, text } if text.contains("not found") => {
            format!("rabbitmqctl add_vhost {vhost}; {}", permissions(vhost, user, topology, settings))
        }
        AmqpError::VhostRefused { vhost, user, .. } => permissions(vhost, user, topology, settings),
        AmqpError::Denied { user, .. } => permissions(uri.vhost(), user, topology, settings),
        AmqpError::Unanswered { .. } => {
            "rabbitmq-diagnostics alarms, and check_running, on the broker".to_owned()
        }
        _ => "the broker's log says more".to_owned(),
    }
}

/// The rights that relay needs, as a command. It says all that a user has in a virtual host.
fn permissions(vhost: &str, user: &str, topology: &Topology, settings: &OutboxSettings) -> String {
    let Topology { exchange, dead_letter_exchange, dead_letter_queue } = topology;
    let any = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| name.replace('.', "\\.")).collect();
        format!("'^({})$'", names.join("|"))
    };
    let mut written = vec![exchange.as_str(), dead_letter_exchange];
    let (configured, read) = if settings.declare {
        written.push(dead_letter_queue);
        (any(&written), any(&[dead_letter_exchange, dead_letter_queue]))
    } else {
        ("'^$'".to_owned(), any(&[dead_letter_queue]))
    };
    written.extend(settings.policy.allowed_exchanges.iter().map(String::as_str));
    let written = any(&written);
    format!("rabbitmqctl set_permissions -p {vhost} {user} {configured} {written} {read}, beside what it has")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(is_old("3.9.13") && is_old("2.8.0"));
        assert!(!is_old("3.10.0") && !is_old("3.13.7") && !is_old("4.1.0") && !is_old("dev"));
    }
}
