//! Where dead letters go: whether it is there, gets them, and keeps them.

use super::{
    Check, Checkup,
    broker::{ANY_KEY, Ward, cure, object},
    routes::Letters,
};
use crate::{
    amqp::{
        AmqpError, Topology,
        probe::{self, Declared},
        topology::{LIMIT_BY_DEFAULT_SINCE, depth},
    },
    cause::chain,
    envelope::timestamp,
    operator::finding::Verdict,
};

pub(super) async fn examine(checkup: &mut Checkup, ward: &Ward<'_>, letters: Option<&Letters>) {
    let topology = ward.topology;
    object(checkup, ward, Check::DeadLetterExchange, &topology.dead_letter_exchange, ANY_KEY).await;
    let keeps = queue(checkup, ward).await;
    let needed = [Check::DeadLetterExchange, Check::DeadLetterQueue];
    match needed.into_iter().find(|check| !checkup.went_well(*check)) {
        Some(needed) => checkup.skip_all(&[Check::DeadLetterBinding], needed),
        None => binding(checkup, ward, letters).await,
    }
    if keeps == Some(Keeping::Unknown) {
        let Topology { dead_letter_queue: name, .. } = topology;
        let what = format!(
            "{name} has no limit of deliveries of its own: RabbitMQ {LIMIT_BY_DEFAULT_SINCE} drops a letter after 20, unless \
             a policy lifts that, and no broker tells of policies"
        );
        let (vhost, pattern) = (ward.settings.amqp.uri.vhost(), name.replace('.', "\\."));
        let see = format!(
            "rabbitmqctl list_policies -p {vhost}; rabbitmqctl set_policy -p {vhost} --apply-to queues relay-letters \
             '^{pattern}$' '{{\"delivery-limit\": -1}}'"
        );
        checkup.add(Check::DeadLetterQueue, Verdict::Skipped, what, Some(see));
    }
}

/// Whether a queue keeps letters that are taken and given back, as `relay replay-dlq` does with those that it was not to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    /// As often as that happens.
    Ever,
    /// So many times.
    Times(i64),
    /// A policy decides.
    Unknown,
}

/// What a limit comes to, as the queue has it of its own, on a RabbitMQ of this major version.
fn keeping(limit: Option<i64>, major: Option<u32>) -> Keeping {
    let by_default = major.is_none_or(|major| major >= LIMIT_BY_DEFAULT_SINCE);
    match limit {
        // To RabbitMQ 3 a limit below 0 is one like any other, and exceeded at once.
        Some(..0) if by_default => Keeping::Ever,
        Some(limit) => Keeping::Times(limit.max(0)),
        None if by_default => Keeping::Unknown,
        None => Keeping::Ever,
    }
}

/// Looks at the queue; returns how long it keeps letters, if it is one that could keep them.
async fn queue(checkup: &mut Checkup, ward: &Ward<'_>) -> Option<Keeping> {
    let (check, name) = (Check::DeadLetterQueue, &ward.topology.dead_letter_queue);
    let looking = async {
        let letters = match depth(&ward.session, name).await {
            Ok(letters) => Some(letters),
            Err(AmqpError::Missing { .. }) if ward.settings.declare => None,
            Err(error) => return Err(error),
        };
        Ok((letters, probe::queue(&ward.session, name).await))
    };
    let (letters, found) = match checkup.in_time(check, looking).await? {
        Ok(looked) => looked,
        Err(error) => {
            let cure = match &error {
                AmqpError::Missing { .. } => format!(
                    "outbox.declare = true, or rabbitmqadmin declare queue name={name} durable=true queue_type=quorum"
                ),
                other => cure(other, ward.settings),
            };
            checkup.fail(check, chain(&error), cure);
            return None;
        }
    };
    let count = letters.unwrap_or(0);
    match found {
        Ok((Declared::Absent, _)) => checkup.ok(check, format!("{name}: relay run declares it")),
        Ok((Declared::Alike, limit)) => {
            let keeps = keeping(limit, ward.major);
            match keeps {
                Keeping::Times(times) => drops(checkup, ward, times),
                Keeping::Ever | Keeping::Unknown => {
                    checkup.ok(check, format!("{name}, a quorum queue with {count} letters"));
                }
            }
            return Some(keeps);
        }
        Ok((Declared::Other(text), _)) => {
            let what = format!("{name} is not the durable quorum queue that relay declares: {text}");
            let cure = format!("name another in dead_letter.queue; or {}", deletion(ward));
            if ward.settings.declare {
                checkup.fail(check, what, cure);
            } else {
                checkup.warn(check, format!("{what}: with its node go its letters"), cure);
            }
        }
        Err(AmqpError::Denied { .. }) if !ward.settings.declare => {
            checkup.ok(
                check,
                format!("{name}, with {count} letters; of what type only those see who may configure it"),
            );
        }
        Err(error) => checkup.fail(check, chain(&error), cure(&error, ward.settings)),
    }
    None
}

/// How the queue is removed. It is nothing to `--if-empty`: quorum queues refuse that.
fn deletion(ward: &Ward<'_>) -> String {
    let (vhost, name) = (ward.settings.amqp.uri.vhost(), &ward.topology.dead_letter_queue);
    format!("rabbitmqctl delete_queue -p {vhost} {name}, once it is empty")
}

/// Says that letters go when they were given back so many times.
fn drops(checkup: &mut Checkup, ward: &Ward<'_>, times: i64) {
    let (check, name) = (Check::DeadLetterQueue, &ward.topology.dead_letter_queue);
    let what = format!("{name} drops a letter that was delivered and given back more than {times} times");
    let anew = deletion(ward);
    if ward.settings.declare {
        let what = format!("{what}, and is not as relay run declares it, which therefore does not publish");
        checkup.fail(
            check,
            what,
            format!("{anew}; relay run declares it anew, without a limit of deliveries"),
        );
    } else {
        let without = match ward.major {
            Some(..LIMIT_BY_DEFAULT_SINCE) => "without x-delivery-limit",
            _ => "with x-delivery-limit = -1",
        };
        checkup.warn(check, what, format!("{anew}; declare it anew {without}"));
    }
}

/// Whether letters get to the queue. That can't be asked of a broker without a letter, which would stay there.
async fn binding(checkup: &mut Checkup, ward: &Ward<'_>, letters: Option<&Letters>) {
    let (check, topology) = (Check::DeadLetterBinding, ward.topology);
    let (exchange, queue) = (&topology.dead_letter_exchange, &topology.dead_letter_queue);
    let bind = format!(
        "rabbitmqadmin declare binding source={exchange} destination_type=queue destination={queue} routing_key=#"
    );
    if let Some(Letters { rows: rows @ 1.., error, .. }) = letters {
        let error = error.as_deref().unwrap_or("not confirmed");
        let what = format!("{rows} rows wait because their dead letters could not be published: {error}");
        let cure =
            if error.starts_with("312") { bind } else { "relay dlq list, and the broker's log".to_owned() };
        return checkup.fail(check, what, cure);
    }
    if ward.settings.declare {
        let Some(may) = checkup.in_time(check, probe::may_bind(&ward.session, topology)).await else {
            return;
        };
        return match may {
            Ok(()) | Err(AmqpError::Missing { .. }) => checkup.ok(check, "relay run binds it, by #"),
            Err(error) => checkup.fail(check, chain(&error), cure(&error, ward.settings)),
        };
    }
    match letters.and_then(|letters| letters.confirmed) {
        Some(at) => {
            let at = timestamp(at);
            checkup.ok(check, format!("a letter got there at {}Z", at.get(..19).unwrap_or_default()));
        }
        None => {
            let what =
                format!("no letter was sent yet, and no broker tells whether {queue} is bound to {exchange}");
            let vhost = ward.settings.amqp.uri.vhost();
            let see = format!(
                "rabbitmqctl list_bindings -p {vhost} source_name destination_name routing_key; {bind}"
            );
            checkup.add(check, Verdict::Skipped, what, Some(see));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_limit_comes_to_depends_on_the_broker() {
        for major in [Some(3), Some(4), None] {
            assert_eq!(keeping(Some(5), major), Keeping::Times(5));
        }
        assert_eq!([keeping(None, Some(3)), keeping(Some(-1), Some(3))], [Keeping::Ever, Keeping::Times(0)]);
        for major in [Some(4), Some(5), None] {
            assert_eq!([keeping(None, major), keeping(Some(-1), major)], [Keeping::Unknown, Keeping::Ever]);
        }
    }
}
