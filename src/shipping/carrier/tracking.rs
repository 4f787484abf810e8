//! Where a parcel is. Pure.

/// The statuses of EasyPost's trackers, in the order in which one replaces another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrackingStatus {
    /// Nothing is known; also what a status means that did not exist when this was written.
    Unknown,
    /// The tracking went wrong, not the parcel.
    Error,
    /// The label exists, the parcel has not been handed in.
    PreTransit,
    /// On its way.
    InTransit,
    /// In the van.
    OutForDelivery,
    /// To be fetched.
    AvailableForPickup,
    /// It could not be delivered; it may be tried again, or go back.
    Failure,
    /// The label was cancelled.
    Cancelled,
    /// On its way back.
    ReturnToSender,
    /// There. A fact, whatever was said before or comes late.
    Delivered,
}

impl TrackingStatus {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Unknown,
        Self::Error,
        Self::PreTransit,
        Self::InTransit,
        Self::OutForDelivery,
        Self::AvailableForPickup,
        Self::Failure,
        Self::Cancelled,
        Self::ReturnToSender,
        Self::Delivered,
    ];

    /// The carrier's name for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Error => "error",
            Self::PreTransit => "pre_transit",
            Self::InTransit => "in_transit",
            Self::OutForDelivery => "out_for_delivery",
            Self::AvailableForPickup => "available_for_pickup",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
            Self::ReturnToSender => "return_to_sender",
            Self::Delivered => "delivered",
        }
    }

    /// Reads the carrier's name.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        Self::ALL.into_iter().find(|status| status.as_str() == name).unwrap_or(Self::Unknown)
    }

    /// The status after an update: the later of the two in the order above, so it never moves back, and updates that
    /// come late, twice or in another order end in the same status.
    #[must_use]
    pub fn updated(self, update: Self) -> Self {
        self.max(update)
    }

    /// The order as a number, as it is stored; from 2 on the carrier has the parcel, but for a cancelled label.
    #[must_use]
    pub fn rank(self) -> i16 {
        match self {
            Self::Unknown | Self::Error => 0,
            Self::PreTransit => 1,
            Self::InTransit => 2,
            Self::OutForDelivery => 3,
            Self::AvailableForPickup => 4,
            Self::Failure => 5,
            Self::Cancelled => 6,
            Self::ReturnToSender => 7,
            Self::Delivered => 8,
        }
    }

    /// Whether nothing is expected any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Cancelled | Self::ReturnToSender | Self::Delivered)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_status_is_read_as_it_is_written_and_what_is_new_is_unknown() {
        for status in TrackingStatus::ALL {
            assert_eq!(TrackingStatus::parse(status.as_str()), status);
        }
        assert_eq!(TrackingStatus::parse("beamed_up"), TrackingStatus::Unknown);
        assert!(
            TrackingStatus::ALL.is_sorted() && TrackingStatus::ALL.is_sorted_by_key(|status| status.rank())
        );
    }

    proptest! {
        #[test]
        fn updates_in_any_order_and_number_end_in_the_same_status_and_never_move_back(
            (updates, shuffled) in prop::collection::vec(prop::sample::select(TrackingStatus::ALL.to_vec()), 1..12)
                .prop_flat_map(|updates| (Just(updates.clone()), Just(updates).prop_shuffle()))
        ) {
            let apply = |updates: &[TrackingStatus]| {
                updates.iter().fold((TrackingStatus::Unknown, true), |(status, ok), update| {
                    let next = status.updated(*update);
                    (next, ok && next >= status)
                })
            };
            let twice: Vec<_> = shuffled.iter().chain(&shuffled).copied().collect();
            prop_assert!(apply(&updates).1);
            prop_assert_eq!(apply(&updates), apply(&twice));
        }
    }
}
