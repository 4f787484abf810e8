//! What operators pause: everything, a route, or a key. And whether a message is paused.

use rustc_hash::FxHashMap;

use crate::{
    named::{UnknownName, named},
    row::KeyHash,
};

/// Names a pause.
pub type PauseId = i64;

named! {
    /// How much a pause is about (`scope`, `relay_paused{scope}`).
    Scope, "scope of a pause" {
        /// Every row.
        All = "all",
        /// What is published to an exchange, by some or all routing keys.
        Route = "route",
        /// One aggregate key.
        Key = "key",
    }
}

/// What a pause is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Every row.
    All,
    /// Rows published to this exchange by such a routing key.
    Route {
        /// The exchange.
        exchange: String,
        /// A routing key, or a pattern as of a topic exchange's bindings: `*` is any word, `#` any number of words.
        routing_key: String,
    },
    /// Rows of this aggregate key.
    Key {
        /// `aggregate_type`.
        aggregate_type: String,
        /// `aggregate_id`.
        aggregate_id: String,
    },
}

impl Target {
    /// How much it is about.
    #[must_use]
    pub fn scope(&self) -> Scope {
        match self {
            Self::All => Scope::All,
            Self::Route { .. } => Scope::Route,
            Self::Key { .. } => Scope::Key,
        }
    }

    /// From the columns of `relay.pauses`.
    ///
    /// # Errors
    /// When the scope is none that this version knows.
    pub fn of(
        scope: &str,
        route: (Option<String>, Option<String>),
        key: (Option<String>, Option<String>),
    ) -> Result<Self, UnknownName> {
        Ok(match scope.parse()? {
            Scope::All => Self::All,
            Scope::Route => Self::Route {
                exchange: route.0.unwrap_or_default(),
                routing_key: route.1.unwrap_or_default(),
            },
            Scope::Key => Self::Key {
                aggregate_type: key.0.unwrap_or_default(),
                aggregate_id: key.1.unwrap_or_default(),
            },
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Route { exchange, routing_key } => write!(f, "exchange {exchange}, {routing_key}"),
            Self::Key { aggregate_type, aggregate_id } => write!(f, "key {aggregate_type}/{aggregate_id}"),
        }
    }
}

/// Every pause that stands, as relay asks for them: once a row. There are few routes, and keys are found by their hash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pauses {
    all: Vec<PauseId>,
    routes: Vec<(PauseId, String, String)>,
    keys: FxHashMap<KeyHash, (PauseId, String)>,
}

impl Pauses {
    /// Whether everything is paused.
    #[must_use]
    pub fn all(&self) -> bool {
        !self.all.is_empty()
    }

    /// Whether there is none of any route or key.
    #[must_use]
    pub fn spare_all(&self) -> bool {
        self.routes.is_empty() && self.keys.is_empty()
    }

    /// How many there are of a scope.
    #[must_use]
    pub fn count(&self, scope: Scope) -> usize {
        match scope {
            Scope::All => self.all.len(),
            Scope::Route => self.routes.len(),
            Scope::Key => self.keys.len(),
        }
    }

    /// The pause of a route or a key that such a row is under, if any.
    #[must_use]
    pub fn find(
        &self,
        key: KeyHash,
        aggregate_id: &str,
        exchange: &str,
        routing_key: &str,
    ) -> Option<PauseId> {
        // That the hash is this key's is as good as certain; the id is there to be compared.
        let of_key = self.keys.get(&key).filter(|(_, id)| id == aggregate_id).map(|(pause, _)| *pause);
        of_key.or_else(|| {
            let mut routes = self.routes.iter();
            let found = routes.find(|(_, of, pattern)| of == exchange && matches(pattern, routing_key));
            found.map(|(pause, ..)| *pause)
        })
    }

    /// A pause is known to be over.
    pub fn forget(&mut self, pause: PauseId) {
        self.all.retain(|one| *one != pause);
        self.routes.retain(|(one, ..)| *one != pause);
        self.keys.retain(|_, (one, _)| *one != pause);
    }
}

impl FromIterator<(PauseId, Target)> for Pauses {
    fn from_iter<T: IntoIterator<Item = (PauseId, Target)>>(pauses: T) -> Self {
        let mut all = Self::default();
        for (pause, target) in pauses {
            match target {
                Target::All => all.all.push(pause),
                Target::Route { exchange, routing_key } => all.routes.push((pause, exchange, routing_key)),
                Target::Key { aggregate_type, aggregate_id } => {
                    all.keys.insert(KeyHash::of(&aggregate_type, &aggregate_id), (pause, aggregate_id));
                }
            }
        }
        all
    }
}

/// Whether a routing key is one that a topic exchange's binding by this pattern would take.
fn matches(pattern: &str, routing_key: &str) -> bool {
    let (pattern, words): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), routing_key.split('.').collect());
    let (mut at, mut word) = (0, 0);
    // Where the last # was, and how many words it has taken: when nothing else helps, it takes one more.
    let mut many = None;
    while let Some(text) = words.get(word) {
        match pattern.get(at) {
            Some(&"#") => {
                many = Some((at, word));
                at += 1;
            }
            Some(part) if *part == "*" || part == text => (at, word) = (at + 1, word + 1),
            _ => {
                let Some((before, taken)) = many else { return false };
                many = Some((before, taken + 1));
                (at, word) = (before + 1, taken + 1);
            }
        }
    }
    pattern.iter().skip(at).all(|part| *part == "#")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_a_topic_exchange() {
        for (pattern, routing_key, expected) in [
            ("#", "", true),
            ("#", "order.placed", true),
            ("order.placed", "order.placed", true),
            ("order.placed", "order.placed.late", false),
            ("order.*", "order.placed", true),
            ("order.*", "order", false),
            ("order.*", "order.placed.late", false),
            ("order.#", "order", true),
            ("order.#", "order.placed.late", true),
            ("#.late", "order.placed.late", true),
            ("#.late", "order.placed", false),
            ("*.#.late.#", "order.late", true),
            ("*.#.late.#", "order.late.placed.late.now", true),
            ("*.#.late.#", "late", false),
            ("ord*", "order", false),
        ] {
            assert_eq!(matches(pattern, routing_key), expected, "{pattern} {routing_key}");
        }
    }

    #[test]
    fn a_row_is_under_the_pause_of_its_key_or_its_route_until_that_is_forgotten() {
        let key = |id: &str| Target::Key { aggregate_type: "order".to_owned(), aggregate_id: id.to_owned() };
        let route = |to: &str| Target::Route { exchange: "events".to_owned(), routing_key: to.to_owned() };
        let mut pauses: Pauses =
            [(7, key("1")), (8, route("order.placed")), (9, Target::All)].into_iter().collect();
        assert!(pauses.all());
        assert_eq!(Scope::ALL.iter().map(|scope| pauses.count(*scope)).collect::<Vec<_>>(), [1, 1, 1]);
        let find = |pauses: &Pauses, id: &str, exchange: &str, to: &str| {
            pauses.find(KeyHash::of("order", id), id, exchange, to)
        };
        assert_eq!(find(&pauses, "1", "events", "order.placed"), Some(7));
        assert_eq!(find(&pauses, "2", "events", "order.placed"), Some(8));
        assert_eq!(find(&pauses, "2", "others", "order.placed"), None);
        assert_eq!(find(&pauses, "2", "events", "order.shipped"), None);
        [7, 8, 9].into_iter().for_each(|pause| pauses.forget(pause));
        assert_eq!(pauses, Pauses::default());
        assert_eq!(find(&pauses, "1", "events", "order.placed"), None);
    }
}
