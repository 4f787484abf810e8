//! Several outboxes in one process: what must differ between them.

use std::collections::BTreeSet;

use super::error::ConfigError;
use super::file::Block;
use super::keys::KEYS;
use super::load::Loaded;
use super::secret::Secret;
use super::settings::Config;
use super::url;

/// What two outboxes share and must not, and what to do about it.
type Trouble = (&'static str, &'static str);

/// Checks that no two outboxes get into each other's way.
pub(super) fn apart(outboxes: &[Loaded], blocks: &[Block], errors: &mut Vec<ConfigError>) {
    let outboxes: Vec<_> = outboxes.iter().map(|loaded| &loaded.config).zip(blocks).collect();
    for (at, (config, block)) in outboxes.iter().enumerate() {
        for (before, its_block) in &outboxes[..at] {
            if let Some((reason, cure)) = entangled(before, config).or_else(|| confused(its_block, block)) {
                let names = [before.outbox.name.clone(), config.outbox.name.clone()];
                errors.push(ConfigError::Entangled { names, reason, cure });
            }
        }
    }
}

fn entangled(one: &Config, other: &Config) -> Option<Trouble> {
    let meet = |one: &Option<Secret>, other: &Option<Secret>, same_place: fn(&Secret, &Secret) -> bool| {
        one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| same_place(one, other))
    };
    if one.outbox.name == other.outbox.name {
        return Some(("they have the same name", "give each one of its own"));
    }
    if meet(&one.database.url, &other.database.url, url::same_database)
        && one.database.schema == other.database.schema
    {
        return Some((
            "they are the same table, for database.url leads to the same database, and database.schema is the same",
            "give one of them another database.schema or database.url, or remove it",
        ));
    }
    let letters = (&one.dead_letter, &other.dead_letter);
    let one_broker = meet(&one.amqp.url, &other.amqp.url, url::same_vhost);
    if one_broker && (letters.0.queue == letters.1.queue || letters.0.exchange == letters.1.exchange) {
        return Some((
            "they share dead letters, and each would take the other's for stale ones of its own",
            "give one of them another dead_letter.exchange and dead_letter.queue",
        ));
    }
    if one_broker && (buries_alive(one, other) || buries_alive(other, one)) {
        return Some((
            "the dead letters of one would be published as if they were alive, where the other's rows are",
            "give dead letters an exchange of their own",
        ));
    }
    None
}

/// Whether the dead letters of one go to an exchange that the other publishes to.
fn buries_alive(one: &Config, other: &Config) -> bool {
    let dead = &one.dead_letter.exchange;
    other.outbox.exchange == *dead || other.outbox.allowed_exchanges.contains(dead)
}

fn confused(one: &Block, other: &Block) -> Option<Trouble> {
    let variables =
        |block: &Block| KEYS.iter().filter_map(|key| block.variable(key)).collect::<BTreeSet<_>>();
    (!variables(one).is_disjoint(&variables(other))).then_some((
        "by their names they would have the same variables in the environment",
        "choose names that differ by letters or digits",
    ))
}
