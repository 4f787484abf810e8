//! Who shall have which lane.
//!
//! Every relay works it out for itself from what the database shows, so nobody has to be in charge. Safety does not hang on
//! it: only a lease lets a relay publish for a lane, and only one relay has it. So it does no harm that two may for a
//! moment see things differently; they agree when they see the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::row::Lane;

/// Spreads the lanes over the relays that live: as evenly as can be, and with as few changes as that takes. `owners` is who
/// holds a lease now. A lane whose owner does not live is free, or will be when its lease has run out.
///
/// Of relays with the same number of lanes the lower goes first, so that all find the same. No lane has an owner if no
/// relay lives.
#[must_use]
pub fn assign<R: Ord + Copy>(owners: &BTreeMap<Lane, Option<R>>, live: &BTreeSet<R>) -> BTreeMap<Lane, R> {
    let mut shares: BTreeMap<R, Vec<Lane>> = live.iter().map(|relay| (*relay, Vec::new())).collect();
    let mut free = Vec::new();
    for (lane, owner) in owners {
        match owner.and_then(|owner| shares.get_mut(&owner)) {
            Some(share) => share.push(*lane),
            None => free.push(*lane),
        }
    }
    // Those with the most get what is left of an even division: so they need give the least away.
    let mut by_size: Vec<(R, usize)> = shares.iter().map(|(relay, share)| (*relay, share.len())).collect();
    by_size.sort_by(|(one, size), (other, other_size)| other_size.cmp(size).then(one.cmp(other)));
    let quota = |place: usize| {
        let (each, rest) = (owners.len() / by_size.len(), owners.len() % by_size.len());
        each + usize::from(place < rest)
    };
    let quotas: Vec<(R, usize)> =
        by_size.iter().enumerate().map(|(place, (relay, _))| (*relay, quota(place))).collect();
    for (relay, quota) in &quotas {
        if let Some(share) = shares.get_mut(relay) {
            free.extend(share.split_off(share.len().min(*quota)));
        }
    }
    free.sort_unstable();
    let mut free = free.into_iter();
    for (relay, quota) in quotas {
        if let Some(share) = shares.get_mut(&relay) {
            share.extend(free.by_ref().take(quota.saturating_sub(share.len())));
        }
    }
    shares.into_iter().flat_map(|(relay, share)| share.into_iter().map(move |lane| (lane, relay))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::row::LANES;

    type Owners = BTreeMap<Lane, Option<u8>>;

    fn world() -> impl Strategy<Value = (Owners, BTreeSet<u8>)> {
        let owners = prop::collection::vec(prop::option::of(0_u8..8), usize::from(LANES));
        let owners = owners.prop_map(|owners| (0..LANES).zip(owners).collect());
        (owners, prop::collection::btree_set(0_u8..40, 0..40))
    }

    fn sizes(assigned: &BTreeMap<Lane, u8>, live: &BTreeSet<u8>) -> Vec<usize> {
        live.iter().map(|relay| assigned.values().filter(|owner| *owner == relay).count()).collect()
    }

    fn kept(owners: &Owners, assigned: &BTreeMap<Lane, u8>) -> usize {
        assigned.iter().filter(|(lane, relay)| owners[lane] == Some(**relay)).count()
    }

    proptest! {
        #[test]
        fn every_lane_goes_to_a_relay_that_lives_and_all_have_about_as_many((owners, live) in world()) {
            let assigned = assign(&owners, &live);
            prop_assert_eq!(assigned.len(), if live.is_empty() { 0 } else { owners.len() });
            prop_assert!(assigned.values().all(|relay| live.contains(relay)));
            let sizes = sizes(&assigned, &live);
            let (most, least) = (sizes.iter().max().copied().unwrap_or(0), sizes.iter().min().copied().unwrap_or(0));
            prop_assert!(most - least <= 1, "{sizes:?}");
        }

        #[test]
        fn no_even_spread_leaves_more_lanes_where_they_are((owners, live) in world()) {
            let mut held: Vec<usize> = live
                .iter()
                .map(|relay| owners.values().filter(|owner| **owner == Some(*relay)).count())
                .collect();
            held.sort_unstable_by(|one, other| other.cmp(one));
            // At best, those who hold the most keep one more than the others.
            let best: usize = if live.is_empty() {
                0
            } else {
                let (each, rest) = (owners.len() / live.len(), owners.len() % live.len());
                held.iter().enumerate().map(|(place, held)| (*held).min(each + usize::from(place < rest))).sum()
            };
            prop_assert_eq!(kept(&owners, &assign(&owners, &live)), best);
        }

        #[test]
        fn what_is_spread_already_stays((owners, live) in world()) {
            let assigned = assign(&owners, &live);
            let settled = assigned.iter().map(|(lane, relay)| (*lane, Some(*relay))).collect();
            prop_assert_eq!(assign(&settled, &live), assigned);
        }
    }

    #[test]
    fn a_relay_that_joins_two_gets_a_third_and_moves_nothing_between_them() {
        let live = BTreeSet::from(['a', 'b']);
        let before = assign(&(0..LANES).map(|lane| (lane, None)).collect(), &live);
        let held = before.iter().map(|(lane, relay)| (*lane, Some(*relay))).collect();
        let after = assign(&held, &BTreeSet::from(['a', 'b', 'c']));
        let moved: Vec<char> =
            after.iter().filter(|(lane, relay)| before[lane] != **relay).map(|(_, relay)| *relay).collect();
        assert_eq!(moved.len(), 10);
        assert!(moved.iter().all(|relay| *relay == 'c'));
    }
}
