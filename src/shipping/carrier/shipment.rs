//! What the carrier knows, in words of ours. Pure.

use std::time::SystemTime;

use super::tracking::TrackingStatus;

/// A postal address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// Person; a name or a company is needed.
    pub name: Option<String>,
    /// Company.
    pub company: Option<String>,
    /// Street and number.
    pub street1: String,
    /// Flat, floor and so on.
    pub street2: Option<String>,
    /// City.
    pub city: String,
    /// State or province, where there are any.
    pub state: Option<String>,
    /// Postal code.
    pub zip: String,
    /// ISO 3166, two letters.
    pub country: String,
    /// Phone number.
    pub phone: Option<String>,
    /// Mail address.
    pub email: Option<String>,
}

/// An address that the carrier found deliverable, as it writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAddress {
    /// The carrier's id of it.
    pub id: String,
    /// Corrected: spelling, postal code.
    pub address: Address,
}

/// A parcel's size and weight. The carrier's units are inches and ounces; one decimal is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parcel {
    /// Inches.
    pub length: f64,
    /// Inches.
    pub width: f64,
    /// Inches.
    pub height: f64,
    /// Ounces.
    pub weight: f64,
}

/// What to create.
#[derive(Debug, Clone, PartialEq)]
pub struct NewShipment {
    /// Ours, made up and persisted before the call; how the shipment is found when the answer is lost.
    pub reference: String,
    /// The sender.
    pub from: Address,
    /// The recipient.
    pub to: Address,
    /// The parcel.
    pub parcel: Parcel,
}

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// In the currency's smallest unit, such as cents.
    pub minor: i64,
    /// ISO 4217, three letters.
    pub currency: String,
}

/// What one service of one carrier would cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// To buy it by.
    pub id: String,
    /// Such as `USPS`.
    pub carrier: String,
    /// Such as `Priority`.
    pub service: String,
    /// What it costs.
    pub price: Price,
}

/// A label that was bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The carrier's id of the shipment.
    pub shipment_id: String,
    /// Where to fetch it.
    pub url: String,
    /// The number on it.
    pub tracking_code: String,
    /// The tracker's id.
    pub tracker_id: Option<String>,
    /// Where anybody can follow the parcel.
    pub tracking_url: Option<String>,
    /// What was bought.
    pub rate: Rate,
}

/// Whether a shipment's label was bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Postage {
    /// No.
    None,
    /// Yes.
    Bought(Box<Label>),
    /// Some signs say so, but not all: what is missing.
    Unclear(&'static str),
}

/// Where a refund stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundStatus {
    /// Asked for; the answer may take weeks.
    Submitted,
    /// The money is back.
    Refunded,
    /// No. The same request may be made again.
    Rejected,
    /// There is nothing to refund, such as with a carrier that bills when it scans. Asking again changes nothing.
    NotApplicable,
    /// A status that did not exist when this was written.
    Other(String),
}

impl RefundStatus {
    /// Reads the carrier's name for it.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "submitted" => Self::Submitted,
            "refunded" => Self::Refunded,
            "rejected" => Self::Rejected,
            "not_applicable" => Self::NotApplicable,
            other => Self::Other(other.chars().take(100).collect()),
        }
    }
}

/// A shipment, as the carrier has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarrierShipment {
    /// The carrier's id.
    pub id: String,
    /// Ours, if it was given one.
    pub reference: Option<String>,
    /// When it was created.
    pub created_at: SystemTime,
    /// What can be bought.
    pub rates: Vec<Rate>,
    /// What was bought.
    pub postage: Postage,
    /// A refund, if one was asked for.
    pub refund: Option<RefundStatus>,
    /// Where the parcel is, once bought.
    pub tracking: TrackingStatus,
}

impl CarrierShipment {
    /// The cheapest rate in a currency, of one service if one is asked for; the same one each time.
    #[must_use]
    pub fn cheapest(&self, currency: &str, service: Option<&str>) -> Option<&Rate> {
        self.rates
            .iter()
            .filter(|rate| rate.price.currency == currency)
            .filter(|rate| service.is_none_or(|service| rate.service == service))
            .min_by_key(|rate| (rate.price.minor, rate.id.as_str()))
    }
}

/// Currencies without a smaller unit (ISO 4217); of those with three decimals the carrier has none.
const WHOLE: [&str; 5] = ["JPY", "KRW", "CLP", "VND", "ISK"];

impl Price {
    /// Reads a decimal such as `5.93` or `5.93000`, exactly. `None` when it is none, or finer than the currency.
    #[must_use]
    pub fn parse(decimal: &str, currency: &str) -> Option<Self> {
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let places = if WHOLE.contains(&currency) { 0 } else { 2 };
        let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return None;
        }
        let (kept, rest) = fraction.split_at(fraction.len().min(places));
        if rest.bytes().any(|byte| byte != b'0') {
            return None;
        }
        let minor = format!("{whole}{kept:0<places$}").parse().ok()?;
        Some(Self { minor, currency: currency.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prices_are_read_exactly_or_not_at_all() {
        for (decimal, currency, minor) in [
            ("5.93", "USD", Some(593)),
            ("5.9", "USD", Some(590)),
            ("6", "USD", Some(600)),
            ("5.93000", "USD", Some(593)),
            ("0.00000", "USD", Some(0)),
            ("830", "JPY", Some(830)),
            ("830.00", "JPY", Some(830)),
            ("830.5", "JPY", None),
            ("5.935", "USD", None),
            ("-5.93", "USD", None),
            ("5,93", "USD", None),
            (".5", "USD", None),
            ("", "USD", None),
            ("1e3", "USD", None),
            ("99999999999999999999", "USD", None),
            ("5.93", "usd", None),
            ("5.93", "", None),
        ] {
            assert_eq!(
                Price::parse(decimal, currency).map(|price| price.minor),
                minor,
                "{decimal} {currency}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_amount_of_cents_survives(minor in 0_i64..1_000_000_000) {
            let decimal = format!("{}.{:02}", minor / 100, minor % 100);
            prop_assert_eq!(Price::parse(&decimal, "EUR").map(|price| price.minor), Some(minor));
        }

        #[test]
        fn no_text_makes_it_panic(decimal in ".*", currency in "[A-Z]{3}|.*") {
            let _ = Price::parse(&decimal, &currency);
        }
    }
}
