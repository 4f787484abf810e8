//! Where rows went lately, and what became of them there.
//!
//! Whether a message would find a queue can't be asked of a broker: AMQP lists no bindings, and who sends a message to find
//! out has sent it. So this is learnt from the rows themselves: one that was published was confirmed and not returned.

use std::collections::BTreeMap;

use super::{Check, Checkup};
use crate::{
    envelope::{Policy, timestamp},
    postgres::{client::Client, connect::DatabaseError, sql::in_schema, value::Micros},
};

/// The newest rows that are looked at.
const ROWS: i64 = 10_000;
/// Destinations told apart.
const DESTINATIONS: i64 = 1_000;
/// Findings about one destination each, at most, and names in the one about the others.
const TOLD: usize = 10;

/// Where a row goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    pub(super) exchange: String,
    pub(super) routing_key: String,
}

/// What became of the rows that went there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fate {
    rows: i64,
    /// When one was last published.
    routed: Option<i64>,
    /// When one was last returned.
    returned: Option<i64>,
}

/// What became of dead letters.
#[derive(Debug, Clone, Default)]
pub(super) struct Letters {
    /// When one was last confirmed, of a row that is still dead.
    pub(super) confirmed: Option<i64>,
    /// Rows that wait because theirs was not.
    pub(super) rows: i64,
    /// Why, of one of them.
    pub(super) error: Option<String>,
}

/// What rows tell about the broker.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) routes: BTreeMap<Route, Fate>,
    pub(super) letters: Letters,
}

impl Seen {
    pub(super) async fn read(client: &Client, schema: &str, policy: &Policy) -> Result<Self, DatabaseError> {
        let statement = in_schema(include_str!("../../../sql/queries/outbox/routes.sql"), schema);
        let of_each = policy.routing_key.is_of_each_aggregate();
        let mut seen = Self::default();
        for row in client.query(&statement, &[&ROWS, &of_each, &DESTINATIONS]).await? {
            let text = |index: usize| row.try_get::<_, Option<&str>>(index);
            let routing_key = match text(1)? {
                Some(named) => named.to_owned(),
                None => {
                    let part = |index: usize| Ok::<_, DatabaseError>(text(index)?.unwrap_or_default());
                    policy.routing_key.render(part(2)?, part(3)?, part(4)?)
                }
            };
            let exchange = text(0)?.unwrap_or(&policy.exchange).to_owned();
            let at = |index: usize| {
                Ok::<_, DatabaseError>(row.try_get::<_, Option<Micros>>(index)?.map(|at| at.0))
            };
            let fate = seen.routes.entry(Route { exchange, routing_key }).or_default();
            fate.rows += row.try_get::<_, i64>(5)?;
            fate.routed = fate.routed.max(at(6)?);
            fate.returned = fate.returned.max(at(7)?);
        }
        let statement = in_schema(include_str!("../../../sql/queries/outbox/letters_sent.sql"), schema);
        let row = client.query_one(&statement, &[&ROWS]).await?;
        let confirmed = row.try_get::<_, Option<Micros>>(0)?.map(|at| at.0);
        seen.letters = Letters { confirmed, rows: row.try_get(1)?, error: row.try_get(2)? };
        Ok(seen)
    }

    /// Exchanges that rows name.
    pub(super) fn exchanges(&self) -> impl Iterator<Item = &str> {
        // They are sorted by exchange.
        let mut last = None;
        self.routes.keys().filter_map(move |route| {
            let exchange = route.exchange.as_str();
            (last.replace(exchange) != Some(exchange)).then_some(exchange)
        })
    }
}

/// Says which routing keys found a queue and which did not.
pub(super) fn told(checkup: &mut Checkup, seen: &Seen, policy: &Policy) {
    let allowed = |exchange: &str| exchange == policy.exchange || policy.allowed_exchanges.contains(exchange);
    for exchange in seen.exchanges().filter(|exchange| !allowed(exchange)).take(TOLD) {
        let rows: i64 = seen
            .routes
            .iter()
            .filter(|(route, _)| route.exchange == exchange)
            .map(|(_, fate)| fate.rows)
            .sum();
        // The default exchange can't be allowed.
        let (reason, cure) = if exchange.is_empty() {
            (
                "invalid_name",
                "have their producer name an exchange, or none for outbox.exchange; then relay dlq discard \
                 --reason invalid_name"
                    .to_owned(),
            )
        } else {
            (
                "forbidden_exchange",
                format!(
                    "add {exchange:?} to outbox.allowed_exchanges; then relay replay-dlq --reason forbidden_exchange"
                ),
            )
        };
        let what =
            format!("{rows} rows name the exchange {exchange:?}, which is not allowed: they die as {reason}");
        checkup.warn(Check::Routes, what, cure);
    }
    let (mut routed, mut returned, mut untried) = (0_usize, Vec::new(), Vec::new());
    for (route, fate) in seen.routes.iter().filter(|(route, _)| allowed(&route.exchange)) {
        match (fate.routed, fate.returned) {
            (routed, Some(at)) if routed.is_none_or(|routed| routed < at) => returned.push((route, at)),
            (Some(_), _) => routed += 1,
            (None, _) => untried.push(route),
        }
    }
    for (Route { exchange, routing_key }, at) in returned.iter().take(TOLD) {
        let at = timestamp(*at);
        let at = at.get(..19).unwrap_or_default();
        checkup.warn(
            Check::Routes,
            format!("no queue took {routing_key:?} from the exchange {exchange:?} at {at}Z"),
            format!(
                "rabbitmqadmin declare binding source={exchange} destination_type=queue destination=QUEUE \
                 routing_key={routing_key}; then relay replay-dlq --reason unroutable"
            ),
        );
    }
    let more = returned.len().saturating_sub(TOLD);
    if more > 0 {
        checkup.warn(
            Check::Routes,
            format!("and {more} more found no queue"),
            "relay dlq list --reason unroutable",
        );
    }
    if seen.routes.is_empty() {
        return checkup.ok(Check::Routes, "no rows yet");
    }
    let newest = format!("of the destinations of the newest rows {routed} found a queue when last tried");
    if untried.is_empty() {
        return checkup.ok(Check::Routes, newest);
    }
    let names: Vec<String> = untried
        .iter()
        .take(TOLD)
        .map(|route| format!("{:?} of {:?}", route.routing_key, route.exchange))
        .collect();
    let more = untried.len().saturating_sub(TOLD);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    checkup
        .ok(Check::Routes, format!("{newest}; not tried yet, so nobody knows: {}{more}", names.join(", ")));
}
