//! What is decided from what was looked up. Pure.

use std::time::Duration;

use super::shipment::{CarrierShipment, Label, Postage, RefundStatus};

/// How long the carrier may still be at work on a call whose answer was lost, and how long a list may lag behind. Only
/// after that does "it is not there" mean that it will not come.
pub const SETTLING: Duration = Duration::from_secs(60);

/// What a lookup after an unknown purchase shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purchase {
    /// It was done; this is what came of it.
    Done(Box<Label>),
    /// It was not done, and will not be: the same shipment may be bought.
    NotDone,
    /// Look again after this.
    TooSoon(Duration),
    /// Somebody has to look: why.
    Unclear(&'static str),
}

/// Reads a purchase's outcome from the shipment, `age` after its last attempt ended, of a carrier that settles within
/// `settling`: [`SETTLING`], if nobody knows better.
#[must_use]
pub fn purchase(shipment: &CarrierShipment, age: Duration, settling: Duration) -> Purchase {
    match &shipment.postage {
        Postage::Bought(label) => Purchase::Done(label.clone()),
        Postage::None if age >= settling => Purchase::NotDone,
        Postage::Unclear(why) if age >= settling => Purchase::Unclear(why),
        Postage::None | Postage::Unclear(_) => Purchase::TooSoon(settling - age),
    }
}

/// What a lookup by our reference shows after an unknown creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    /// Go on with this one.
    Adopt(String),
    /// There is none, and none will come: it may be created again.
    NotDone,
    /// Look again after this.
    TooSoon(Duration),
    /// Several of them were bought, which nobody here would do: these.
    SeveralBought(Vec<String>),
}

/// Chooses among all shipments found, `age` after the creation's last attempt ended. References are not unique, and a
/// creation that was repeated leaves several; they cost nothing until bought. A bought one goes first, then the
/// oldest: the same one whoever looks, and however often.
#[must_use]
pub fn creation(found: &[CarrierShipment], reference: &str, age: Duration, settling: Duration) -> Creation {
    let ours = || found.iter().filter(|shipment| shipment.reference.as_deref() == Some(reference));
    let bought: Vec<&CarrierShipment> = ours()
        .filter(|shipment| shipment.postage != Postage::None)
        .filter(|shipment| !matches!(shipment.refund, Some(RefundStatus::Submitted | RefundStatus::Refunded)))
        .collect();
    if bought.len() > 1 {
        let mut ids: Vec<String> = bought.into_iter().map(|shipment| shipment.id.clone()).collect();
        ids.sort();
        return Creation::SeveralBought(ids);
    }
    let oldest = || {
        ours()
            .filter(|shipment| shipment.postage == Postage::None)
            .min_by_key(|shipment| (shipment.created_at, &shipment.id))
    };
    match bought.first().copied().or_else(oldest) {
        Some(shipment) => Creation::Adopt(shipment.id.clone()),
        None if age >= settling => Creation::NotDone,
        None => Creation::TooSoon(settling - age),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::shipping::carrier::{
        shipment::{Price, Rate},
        tracking::TrackingStatus,
    };

    fn shipment(number: u64, reference: &str, bought: bool, refund: Option<RefundStatus>) -> CarrierShipment {
        let id = format!("shp_{number}");
        let price = Price { minor: 593, currency: "USD".to_owned() };
        let rate = Rate { id: "rate_1".into(), carrier: "USPS".into(), service: "Ground".into(), price };
        let label = Label {
            shipment_id: id.clone(),
            url: "https://labels/1".into(),
            tracking_code: "9400".into(),
            tracker_id: None,
            tracking_url: None,
            rate,
        };
        CarrierShipment {
            id,
            reference: Some(reference.to_owned()),
            created_at: SystemTime::UNIX_EPOCH + Duration::from_secs(number),
            rates: vec![],
            postage: if bought { Postage::Bought(Box::new(label)) } else { Postage::None },
            refund,
            tracking: TrackingStatus::Unknown,
        }
    }

    #[test]
    fn not_bought_counts_only_once_the_carrier_must_be_done() {
        let open = shipment(1, "a", false, None);
        assert_eq!(purchase(&open, Duration::ZERO, SETTLING), Purchase::TooSoon(SETTLING));
        assert_eq!(purchase(&open, SETTLING, SETTLING), Purchase::NotDone);
        let bought = shipment(1, "a", true, None);
        assert!(matches!(purchase(&bought, Duration::ZERO, SETTLING), Purchase::Done(_)));
        let half = CarrierShipment { postage: Postage::Unclear("half"), ..open };
        assert_eq!(purchase(&half, SETTLING, SETTLING), Purchase::Unclear("half"));
        assert!(matches!(purchase(&half, Duration::ZERO, SETTLING), Purchase::TooSoon(_)));
    }

    #[test]
    fn a_bought_shipment_is_adopted_before_the_oldest_and_others_references_are_not() {
        let found = [
            shipment(1, "other", true, None),
            shipment(2, "ours", false, None),
            shipment(3, "ours", true, Some(RefundStatus::Rejected)),
            shipment(4, "ours", true, Some(RefundStatus::Refunded)),
        ];
        assert_eq!(creation(&found, "ours", SETTLING, SETTLING), Creation::Adopt("shp_3".into()));
        assert_eq!(creation(&found[..2], "ours", SETTLING, SETTLING), Creation::Adopt("shp_2".into()));
        assert_eq!(creation(&found[..1], "ours", Duration::ZERO, SETTLING), Creation::TooSoon(SETTLING));
        assert_eq!(creation(&found[3..], "ours", SETTLING, SETTLING), Creation::NotDone);
    }

    #[test]
    fn two_bought_ones_are_for_a_person_to_look_at() {
        let found = [shipment(2, "a", true, None), shipment(1, "a", true, None)];
        let ids = vec!["shp_1".to_owned(), "shp_2".to_owned()];
        assert_eq!(creation(&found, "a", SETTLING, SETTLING), Creation::SeveralBought(ids));
    }

    proptest! {
        #[test]
        fn the_choice_does_not_depend_on_the_order_of_the_list(
            (found, shuffled) in prop::collection::vec((0_u64..9, prop::bool::ANY, prop::bool::ANY), 0..8)
                .prop_map(|all| {
                    all.into_iter()
                        .enumerate()
                        .map(|(index, (time, ours, bought))| {
                            let mut shipment = shipment(time, if ours { "a" } else { "b" }, bought, None);
                            shipment.id = format!("shp_{index}");
                            shipment
                        })
                        .collect::<Vec<_>>()
                })
                .prop_flat_map(|found| (Just(found.clone()), Just(found).prop_shuffle()))
        ) {
            prop_assert_eq!(creation(&found, "a", SETTLING, SETTLING), creation(&shuffled, "a", SETTLING, SETTLING));
        }
    }
}
